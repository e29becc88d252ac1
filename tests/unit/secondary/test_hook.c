/* Commands after a commit, as the process outside of the sandbox runs them: what they are told,
 * when they run, how long, and what is kept of a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "protocol/path.h"
#include "secondary/hook/hook.h"

static char *dir, *command;
static int state_dir = -1;

#define SITE          bytes_of("s")
#define RECORDS(text) ((struct bytes){text, sizeof text - 1})

static int setup(void **state)
{
    char name[] = "/dev/shm/mirrord-hook-XXXXXX";
    (void)state;
    dir = mem_copy_string(mkdtemp(name));
    command = mem_format("%s/command", dir);
    state_dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return state_dir < 0;
}

static int teardown(void **state)
{
    char *remove CLEANUP_FREE = mem_format("rm -rf %s", dir);
    (void)state;
    close(state_dir);
    free(command);
    int bad = system(remove);
    free(dir);
    return bad;
}

static void write_command(const char *body)
{
    char *text CLEANUP_FREE = mem_format("#!/bin/sh\ncd %s\n%s\n", dir, body);
    int fd CLEANUP_FD = open(command, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static struct hooks *begin(unsigned timeout_ms)
{
    char *argv[] = {command, NULL};
    struct receive_hook order = {argv, geteuid() == 0 ? (char *)"root" : NULL, timeout_ms};
    struct hooks *h = hooks_new(dir);
    hooks_know(h, SITE, dir, &order, state_dir);
    return h;
}

/* Until what is due was done; whether it failed. */
static struct hook_state finish(struct hooks *h)
{
    struct hook_state now;
    struct pollfd fd = {.fd = hooks_fd(h), .events = POLLIN};
    for (hooks_step(h); hooks_pending(h); hooks_step(h))
        poll(&fd, 1, hooks_due_ms(h));
    hooks_state(h, SITE, &now);
    return now;
}

static void expect_file(const char *name, struct bytes wanted)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err err;
    assert_int_equal(io_slurp(state_dir, name, 1 << 24, &text, &len, &err), 0);
    assert_int_equal(len, wanted.len);
    assert_memory_equal(text, wanted.data, len);
}

static size_t lines_of(const char *name)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0, n = 0;
    struct err err;
    if (io_slurp(state_dir, name, 1 << 20, &text, &len, &err) != 0)
        return 0;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    return n;
}

/* --- what it is told --- */

static void records_that_are_none(void **state)
{
    static const struct bytes bad[] = {RECORDS("+a"), RECORDS("+\0"), RECORDS("\0"),
        RECORDS("?a\0"), RECORDS("+../a\0"), RECORDS("+/a\0"), RECORDS("+a//\0"), RECORDS("+/\0"),
        RECORDS("*a\0"), RECORDS("+a/.mirrord-x\0"), RECORDS("+a\0\0")};
    struct hook_changes *c = hook_changes_new();
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(hook_changes_add(c, bad[i]));
    char large[HOOK_PATH_MAX + 4];
    memset(large, 'x', sizeof large);
    for (size_t i = 2; i < sizeof large; i += 2)
        large[i] = '/';
    large[0] = '+';
    large[sizeof large - 1] = '\0';
    assert_false(hook_changes_add(c, (struct bytes){large, sizeof large}));
    assert_true(hook_changes_add(c, RECORDS("+a\nb\xff\0-d/\0*\0")));
    hook_changes_free(c);
}

static void expect_merged(struct bytes records, struct bytes wanted)
{
    struct hook_changes *c = hook_changes_new();
    int fd CLEANUP_FD = openat(state_dir, "merged", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(hook_changes_add(c, records));
    assert_int_equal(hook_changes_write(c, fd), 0);
    expect_file("merged", wanted);
    hook_changes_free(c);
}

static void changes_of_one_path(void **state)
{
    (void)state;
    expect_merged(RECORDS("+a\0~a\0"), RECORDS("+a\0"));
    expect_merged(RECORDS("-a\0+a\0"), RECORDS("!a\0"));
    expect_merged(RECORDS("!a\0~a\0"), RECORDS("!a\0"));
    expect_merged(RECORDS("~a\0!a\0"), RECORDS("!a\0"));
    expect_merged(RECORDS("~a\0~a\0"), RECORDS("~a\0"));
    expect_merged(RECORDS("~a\0-a\0"), RECORDS("-a\0"));
    expect_merged(RECORDS("+a\0@a\0"), RECORDS("@a\0"));
    expect_merged(RECORDS("-a/\0+a\0"), RECORDS("-a/\0+a\0"));
    expect_merged(RECORDS("+a\0*\0+b\0"), RECORDS("*\0"));
}

static void too_many_are_everything(void **state)
{
    struct hook_changes *c = hook_changes_new();
    char record[32];
    (void)state;
    for (int i = 0; i < HOOK_CHANGES_MAX; i++) {
        int n = snprintf(record, sizeof record, "+f%d", i);
        hook_changes_add(c, (struct bytes){record, (size_t)n + 1});
    }
    size_t held = hook_changes_bytes(c);
    assert_true(held > 0 && held <= HOOK_CHANGES_BYTES);
    assert_true(hook_changes_add(c, RECORDS("+one more\0")));
    assert_int_equal(hook_changes_bytes(c), 0);
    int fd CLEANUP_FD = openat(state_dir, "all", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(hook_changes_write(c, fd), 0);
    expect_file("all", RECORDS("*\0"));
    hook_changes_free(c);
}

/* --- when it runs --- */

static void it_is_told_all(void **state)
{
    (void)state;
    write_command("cat >told; env >env; ls /proc/self/fd >fds; pwd >cwd");
    struct hooks *h = begin(60000);
    assert_true(hooks_add(h, SITE, RECORDS("+a\nb\xff\0-c\0")));
    assert_true(hooks_add(h, bytes_of("another"), RECORDS("+x\0")));
    assert_int_equal(finish(h).failing.count, 0);
    expect_file("told", RECORDS("+a\nb\xff\0-c\0"));
    assert_int_equal(lines_of("fds"), 4); /* 0, 1, 2, and the directory that ls reads */
    char *text CLEANUP_FREE = NULL;
    size_t len;
    struct err err;
    assert_int_equal(io_slurp(state_dir, "env", 4096, &text, &len, &err), 0);
    assert_non_null(strstr(text, "MIRRORD_SITE=s\n"));
    assert_null(strstr(text, "HOME="));
    expect_file("on-commit", (struct bytes){0});
    hooks_free(h);
}

/* The first run does not end before the others' changes are there: they are one more run. */
static void what_comes_meanwhile_is_one_run(void **state)
{
    struct hook_state now;
    (void)state;
    write_command("echo >>runs; tr '\\0' '\\n' >>told; while [ ! -e go ]; do sleep 0.01; done");
    struct hooks *h = begin(60000);
    assert_true(hooks_add(h, SITE, RECORDS("+a\0")));
    while (lines_of("told") < 1) {
        hooks_step(h);
        poll(NULL, 0, 5);
    }
    for (int i = 0; i < 50; i++) {
        char record[16];
        int n = snprintf(record, sizeof record, "+b%d", i % 5);
        assert_true(hooks_add(h, SITE, (struct bytes){record, (size_t)n + 1}));
        hooks_step(h);
    }
    hooks_state(h, SITE, &now);
    assert_true(now.pending);
    assert_int_equal(lines_of("runs"), 1);
    close(openat(state_dir, "go", O_CREAT | O_WRONLY, 0600));
    assert_int_equal(finish(h).failing.count, 0);
    assert_int_equal(lines_of("runs"), 2);
    assert_int_equal(lines_of("told"), 6);
    hooks_free(h);
}

/* What comes right after a run waits until a second after its start; unless this machine took that
 * long itself. */
static void once_a_second(void **state)
{
    bool waited = false;
    (void)state;
    write_command("echo >>runs");
    for (int i = 0; i < 20 && !waited; i++) {
        unlinkat(state_dir, "runs", 0);
        struct hooks *h = begin(60000);
        hooks_add(h, SITE, RECORDS("+a\0"));
        while (hooks_pending(h)) {
            hooks_step(h);
            poll(NULL, 0, 1);
        }
        hooks_add(h, SITE, RECORDS("+b\0"));
        hooks_step(h);
        waited = lines_of("runs") == 1 && hooks_due_ms(h) > 0 && hooks_due_ms(h) <= 1000;
        assert_int_equal(finish(h).failing.count, 0);
        assert_int_equal(lines_of("runs"), 2);
        hooks_free(h);
    }
    assert_true(waited);
}

/* --- how it fails --- */

static void failures_are_kept_until_it_works(void **state)
{
    (void)state;
    write_command("echo one >&2; printf 'the \\033 reason\\n' >&2; exit 3");
    struct hooks *h = begin(60000);
    hooks_add(h, SITE, RECORDS("+a\0"));
    struct hook_state now = finish(h);
    assert_int_equal(now.failing.count, 1);
    assert_string_equal(now.failing.text, "it ended with exit code 3: the \033 reason");
    hooks_free(h);
    write_command("cat >told"); /* the next process knows, and runs it for everything */
    h = begin(60000);
    hooks_state(h, SITE, &now);
    assert_true(now.pending && now.failing.count == 1 && now.failing.since > 0);
    now = finish(h);
    assert_int_equal(now.failing.count, 0);
    expect_file("told", RECORDS("*\0"));
    expect_file("on-commit", (struct bytes){0});
    hooks_free(h);
}

static void its_time_ends(void **state)
{
    (void)state;
    write_command("sleep 1000 & echo $! >child; echo waiting; wait");
    struct hooks *h = begin(200);
    hooks_add(h, SITE, RECORDS("+a\0"));
    struct hook_state now = finish(h);
    assert_int_equal(now.failing.count, 1);
    assert_non_null(strstr(now.failing.text, "ended after 0.2 s (on-commit-timeout): waiting"));
    char *pid CLEANUP_FREE = NULL;
    size_t len;
    struct err err;
    assert_int_equal(io_slurp(state_dir, "child", 32, &pid, &len, &err), 0);
    while (kill(atoi(pid), 0) == 0) /* with its group */
        poll(NULL, 0, 5);
    hooks_free(h);
}

static void what_cannot_be_started(void **state)
{
    struct err err;
    (void)state;
    write_command("exit 0");
    assert_int_equal(chmod(command, 0777), 0);
    assert_int_equal(hook_check_command(command, &err), -1);
    struct hooks *h = begin(60000);
    hooks_add(h, SITE, RECORDS("+a\0"));
    struct hook_state now = finish(h);
    assert_int_equal(now.failing.count, 1);
    assert_non_null(strstr(now.failing.text, "can be changed by others"));
    hooks_free(h);
    assert_int_equal(chmod(command, 0644), 0);
    assert_int_equal(hook_check_command(command, &err), -1);
    assert_int_equal(hook_check_command(dir, &err), -1);
    assert_int_equal(hook_check_command("/nonexistent", &err), -1);
}

/* A root that belongs to root, as a primary may have it, makes no command run as root. */
static void not_as_root_unasked(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return;
    write_command("echo >>runs");
    char *argv[] = {command, NULL};
    struct receive_hook order = {argv, NULL, 60000};
    struct hooks *h = hooks_new(dir);
    hooks_know(h, SITE, dir, &order, state_dir);
    hooks_add(h, SITE, RECORDS("+a\0"));
    struct hook_state now = finish(h);
    assert_non_null(strstr(now.failing.text, "on-commit-user"));
    assert_int_equal(lines_of("runs"), 0);
    hooks_free(h);
}

/* Another receiver has all places: it waits, and the next one runs it. */
static void places_are_shared(void **state)
{
    char *path CLEANUP_FREE = mem_format("%s/on-commit.slots", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = HOOKS_AT_ONCE};
    (void)state;
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &all), 0);
    write_command("echo >>runs");
    struct hooks *h = begin(60000);
    hooks_add(h, SITE, RECORDS("+a\0"));
    hooks_step(h);
    assert_true(hooks_pending(h) && lines_of("runs") == 0);
    close(fd);
    assert_int_equal(finish(h).failing.count, 0);
    assert_int_equal(lines_of("runs"), 1);
    hooks_free(h);
}

static void what_is_left_is_noted(void **state)
{
    (void)state;
    write_command("cat >>told; sleep 1000");
    struct hooks *h = begin(60000);
    hooks_add(h, SITE, RECORDS("+a\0"));
    hooks_finish(h, 100);
    assert_false(hooks_pending(h));
    hooks_free(h);
    write_command("cat >told");
    h = begin(60000);
    assert_true(hooks_pending(h));
    hooks_finish(h, 0);
    expect_file("told", RECORDS("*\0"));
    hooks_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_of_one_path, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_are_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_told_all, setup, teardown),
        cmocka_unit_test_setup_teardown(what_comes_meanwhile_is_one_run, setup, teardown),
        cmocka_unit_test_setup_teardown(once_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_are_kept_until_it_works, setup, teardown),
        cmocka_unit_test_setup_teardown(its_time_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_started, setup, teardown),
        cmocka_unit_test_setup_teardown(not_as_root_unasked, setup, teardown),
        cmocka_unit_test_setup_teardown(places_are_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_left_is_noted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
