/* Whatever may change what a glob matches is noticed, and what cannot is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/glob_watch.h"

enum { LONG_MS = 20000 };

struct place {
    char dir[64];
    struct glob_watch *w;
};

static int setup(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    strcpy(p->dir, "/dev/shm/mirrord-globs-XXXXXX");
    *state = p;
    return mkdtemp(p->dir) ? 0 : -1;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char *command CLEANUP_FREE = mem_format("rm -rf %s", p->dir);
    glob_watch_free(p->w);
    int bad = system(command);
    free(p);
    return bad;
}

static void run(const struct place *p, const char *command)
{
    char *all CLEANUP_FREE = mem_format("cd %s && %s", p->dir, command);
    assert_int_equal(system(all), 0);
}

static void watch(struct place *p, const char *pattern)
{
    char *glob CLEANUP_FREE = mem_format("%s/%s", p->dir, pattern);
    const char *const globs[] = {glob};
    struct pollfd fds[GLOB_WATCH_FDS];
    unsigned wait;
    p->w = glob_watch_new();
    assert_false(glob_watch_due(p->w, &wait)); /* there is nothing to look at */
    glob_watch_set(p->w, globs, 1);
    assert_true(glob_watch_due(p->w, &wait));
    assert_false(glob_watch_due(p->w, &wait));
    glob_watch_fds(p->w, fds);
    if (fds[0].fd < 0)
        skip(); /* others have all instances */
}

/* Reads what there is. When is the next look? */
static unsigned next_look(const struct place *p)
{
    struct pollfd fds[GLOB_WATCH_FDS];
    unsigned wait;
    glob_watch_fds(p->w, fds);
    poll(fds, GLOB_WATCH_FDS, 0);
    fds[1].revents = 0; /* others may mount what they like meanwhile */
    glob_watch_read(p->w, fds);
    return glob_watch_due(p->w, &wait) ? 0 : wait;
}

/* What the kernel has told by now brings a look soon, and no minute later. */
static void noticed(const struct place *p)
{
    uint64_t until = io_now_ms() + LONG_MS;
    unsigned wait = next_look(p);
    assert_true(wait < 5000);
    while (wait && io_now_ms() < until) {
        poll(NULL, 0, (int)wait);
        wait = next_look(p);
    }
    assert_int_equal(wait, 0);
}

static void unnoticed(const struct place *p)
{
    assert_true(next_look(p) > 5000);
}

static void the_last_component(void **state)
{
    struct place *p = *state;
    run(p, "mkdir -p v/a");
    watch(p, "v/*");
    run(p, "touch v/file && mkdir v/a/deeper v/.mirrord-stage && rmdir v/.mirrord-stage");
    unnoticed(p);
    run(p, "mkdir v/b");
    noticed(p);
    unnoticed(p);
    run(p, "rmdir v/b");
    noticed(p);
    run(p, "mv v/a a");
    noticed(p);
    run(p, "mv a v/a");
    noticed(p);
}

static void behind_the_star(void **state)
{
    struct place *p = *state;
    run(p, "mkdir -p v/a/x/y");
    watch(p, "v/*/x/y");
    run(p, "mkdir v/a/x/y/z");
    unnoticed(p);
    run(p, "mv v/a/x/y v/a/x/z");
    noticed(p);
    run(p, "mkdir v/b");
    noticed(p);
    run(p, "mkdir v/b/x");
    noticed(p);
    run(p, "mkdir v/b/x/y");
    noticed(p);
    run(p, "rm -r v/b");
    noticed(p);
}

/* The directory is not there, comes, and is moved away by the one above it. */
static void the_way(void **state)
{
    struct place *p = *state;
    watch(p, "u/v/site-*");
    run(p, "mkdir w");
    noticed(p);
    run(p, "mkdir u");
    noticed(p);
    run(p, "mkdir u/v");
    noticed(p);
    run(p, "mkdir u/v/site-1");
    noticed(p);
    run(p, "mkdir w/x");
    unnoticed(p);
    run(p, "mv u t");
    noticed(p);
    run(p, "mv t u");
    noticed(p);
    run(p, "mkdir u/v/site-2");
    noticed(p);
}

static void no_globs_any_more(void **state)
{
    struct place *p = *state;
    unsigned wait;
    run(p, "mkdir v");
    watch(p, "v/*");
    glob_watch_set(p->w, NULL, 0);
    assert_true(glob_watch_due(p->w, &wait)); /* what is watched is let go */
    run(p, "mkdir v/a");
    assert_false(glob_watch_due(p->w, &wait));
    unnoticed(p);
    struct pollfd fds[GLOB_WATCH_FDS];
    glob_watch_fds(p->w, fds);
    assert_int_equal(fds[0].fd, -1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_last_component),
        T(behind_the_star),
        T(the_way),
        T(no_globs_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
