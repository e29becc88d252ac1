/* Which state directories the sandbox of `receive --root DIR` has: those of roots beneath DIR, by
 * what they are named after, whatever they say of themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/confine/grounds.h"
#include "secondary/confine/states.h"
#include "tree/state/epoch.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

static char *dir, *state_dir, *top;

static char *beside(const char *name)
{
    return mem_format("%s/%s", dir, name);
}

static int setup(void **state)
{
    char name[] = "/dev/shm/mirrord-states-XXXXXX";
    struct err err;
    (void)state;
    dir = mem_copy_string(mkdtemp(name));
    state_dir = beside("state");
    top = beside("top");
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    return io_make_path(a, 0755, &err) < 0 || io_make_path(near, 0755, &err) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", dir);
    (void)state;
    int bad = system(command);
    free(dir);
    free(state_dir);
    free(top);
    return bad;
}

/* As a receiver leaves it. */
static void serve(const char *root)
{
    struct digest nobody = {0};
    struct state *s = NULL;
    struct err err;
    assert_int_equal(state_open(state_dir, root, &nobody, 0, &s, &err), 0);
    state_close(s);
}

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool knows(const char *root)
{
    struct sandbox *box = sandbox_new();
    struct states *s = states_find(state_dir, top, box);
    char *path CLEANUP_FREE = state_root_dir(state_dir, root);
    bool has = states_has(s, name_of(path));
    states_free(s);
    sandbox_free(box);
    return has;
}

static void write_path(const char *root, const char *text, size_t len)
{
    struct err err;
    int fd CLEANUP_FD = state_make_dir(state_dir, root, &err);
    assert_int_equal(io_replace(fd, STATE_PATH_FILE, text, len, &err), 0);
}

static void those_beneath_and_no_others(void **state)
{
    (void)state;
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    serve(top);
    serve(a);
    serve(near);
    assert_true(knows(top));
    assert_true(knows(a));
    assert_false(knows(near));
}

/* What a directory says of itself is not believed: it lets itself in, at most, where it belongs. */
static void a_lie_lets_nothing_in(void **state)
{
    (void)state;
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    serve(a);
    serve(near);
    write_path(near, a, strlen(a));
    assert_false(knows(near));
    char *climbs CLEANUP_FREE = mem_format("%s/../top-other", top);
    write_path(near, climbs, strlen(climbs));
    assert_false(knows(near));
    write_path(a, near, strlen(near));
    assert_false(knows(a));
    write_path(a, a, strlen(a) + 1); /* and its NUL */
    assert_false(knows(a));
    write_path(a, a, strlen(a));
    assert_true(knows(a));
}

static void a_link_is_none(void **state)
{
    (void)state;
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    serve(near);
    write_path(near, a, strlen(a));
    char *path CLEANUP_FREE = state_root_dir(state_dir, a);
    char *other CLEANUP_FREE = state_root_dir(state_dir, near);
    assert_int_equal(symlink(other, path), 0);
    assert_false(knows(a));
    struct err err;
    struct sandbox *box = sandbox_new();
    struct states *s = states_find(state_dir, top, box);
    assert_int_equal(states_know(s, a, &err), -1);
    states_free(s);
    sandbox_free(box);
}

/* One that is missing, or says something else, is in the next sandbox. */
static void what_is_asked_for_comes_with_the_next(void **state)
{
    struct err err;
    (void)state;
    char *a CLEANUP_FREE = beside("top/a");
    for (int forged = 0; forged < 2; forged++) {
        struct sandbox *box = sandbox_new();
        struct states *s = states_find(state_dir, top, box);
        assert_int_equal(states_know(s, a, &err), 0);
        assert_int_equal(states_know(s, a, &err), 0); /* this sandbox never has it */
        states_free(s);
        sandbox_free(box);
        assert_true(knows(a));
        write_path(a, "/etc", 4);
    }
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return __LINE__;                                                                       \
    } while (0)

static int open_in_state(const char *root, int flags)
{
    char *path CLEANUP_FREE = state_root_dir(state_dir, root);
    char *file CLEANUP_FREE = mem_format("%s/lock", path);
    int fd = open(file, flags | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int confined(struct sandbox *box)
{
    struct err err;
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    CHECK(sandbox_enter(box, SANDBOX_LANDLOCK, &(struct sandbox_alarm){0}, &err) == 0);
    CHECK(open_in_state(top, O_RDWR) == 0);
    CHECK(open_in_state(a, O_RDWR) == 0);
    CHECK(open_in_state(near, O_RDWR) == EACCES);
    CHECK(open_in_state(near, O_RDONLY) == EACCES);
    int epoch = epochs_open_resolved(state_dir, a, false, &err);
    CHECK(openat(epoch, EPOCH_LOCK, O_RDONLY | O_CLOEXEC) >= 0);
    CHECK(openat(epoch, EPOCH_LOCK, O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
    int other = epochs_open_resolved(state_dir, near, false, &err);
    CHECK(openat(other, EPOCH_LOCK, O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
    return 0;
}

/* The receiver's own way: its fence, its grounds, and a process that is confined to them. */
static void the_sandbox_has_no_other(void **state)
{
    struct receive_fence fence;
    struct err err;
    int status = 0;
    (void)state;
    if (syscall(444 /* landlock_create_ruleset */, NULL, 0, 1) < 2)
        skip();
    char *a CLEANUP_FREE = beside("top/a"), *near CLEANUP_FREE = beside("top-other");
    char *b CLEANUP_FREE = beside("top/b"), *gone CLEANUP_FREE = beside("top/c/d");
    char stage[PATH_NAME_MAX + 1];
    serve(a);
    serve(near);
    int epoch CLEANUP_FD = epochs_open_resolved(state_dir, near, true, &err);
    assert_true(epoch >= 0);
    assert_int_equal(receive_fence_root(top, &fence, &err), 0);
    struct receive_options options = {.fence = &fence, .state_dir = state_dir, .host = "here"};
    struct sandbox *box = sandbox_new();
    struct grounds *grounds = grounds_prepare(&options, box);
    serve(top);
    pid_t pid = fork();
    if (pid == 0)
        _exit(confined(box) & 255);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);

    char *own CLEANUP_FREE = state_root_dir(state_dir, a);
    char *others CLEANUP_FREE = state_root_dir(state_dir, near);
    assert_true(grounds_has_state(grounds, name_of(own)));
    assert_false(grounds_has_state(grounds, name_of(others)));
    assert_int_equal(grounds_cover(grounds, a, false, stage, &err), 1);
    assert_int_equal(grounds_cover(grounds, b, false, stage, &err), 1); /* it says: not there */
    assert_int_equal(grounds_cover(grounds, gone, true, stage, &err), 1);
    assert_int_equal(grounds_cover(grounds, b, true, stage, &err), 0);
    grounds_free(grounds);
    sandbox_free(box);

    box = sandbox_new();
    grounds = grounds_prepare(&options, box);
    assert_int_equal(grounds_cover(grounds, b, true, stage, &err), 1);
    grounds_free(grounds);
    sandbox_free(box);
    receive_fence_free(&fence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(those_beneath_and_no_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lie_lets_nothing_in, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_asked_for_comes_with_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sandbox_has_no_other, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
