/* Commands around the switch of units, as the process outside of the sandbox runs them: when
 * readers are held, what the command is told, how long it may take, and what follows when it fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook.h"

enum { LONG_MS = 60000, SHORT_MS = 200 };

static char *dir, *command;
static int scratch = -1;

#define SITE          bytes_of("s")
#define RECORDS(text) ((struct bytes){text, sizeof text - 1})

static int setup(void **state)
{
    char name[] = "/dev/shm/mirrord-hold-XXXXXX";
    (void)state;
    dir = mem_copy_string(mkdtemp(name));
    command = mem_format("%s/command", dir);
    scratch = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return scratch < 0;
}

static int teardown(void **state)
{
    char *remove CLEANUP_FREE = mem_format("rm -rf %s", dir);
    (void)state;
    close(scratch);
    free(command);
    int bad = system(remove);
    free(dir);
    return bad;
}

/* With the site's command. */
static struct hooks *begin(const char *body, unsigned timeout_ms)
{
    char *text CLEANUP_FREE = mem_format("#!/bin/sh\ncd %s\n%s\n", dir, body);
    int fd = open(command, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    char *argv[] = {command, NULL};
    struct receive_hook order = {argv, geteuid() == 0 ? (char *)"root" : NULL, timeout_ms};
    struct hooks *h = hooks_new(dir);
    holds_know(hooks_holds(h), SITE, dir, &order);
    return h;
}

/* Where the wait ends. */
static enum hold_state ask(struct hooks *h)
{
    enum hold_state now;
    while ((now = holds_begin(hooks_holds(h), SITE)) == HOLD_WAITS) {
        struct pollfd fd = {.fd = hooks_fd(h), .events = POLLIN};
        poll(&fd, 1, hooks_due_ms(h));
        hooks_step(h);
    }
    return now;
}

static void finish(struct hooks *h)
{
    for (hooks_step(h); holds_any(hooks_holds(h)); hooks_step(h)) {
        struct pollfd fd = {.fd = hooks_fd(h), .events = POLLIN};
        poll(&fd, 1, hooks_due_ms(h));
    }
}

static unsigned failures(struct hooks *h)
{
    struct hook_state now;
    hooks_state(h, SITE, &now);
    return now.failing.count;
}

static bool is_there(const char *name)
{
    return faccessat(scratch, name, F_OK, 0) == 0;
}

static void make(const char *name)
{
    close(openat(scratch, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void expect_file(const char *name, struct bytes wanted)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err err;
    assert_int_equal(io_slurp(scratch, name, 1 << 24, &text, &len, &err), 0);
    assert_int_equal(len, wanted.len);
    assert_memory_equal(text, wanted.data, len);
}

static void held_until_the_switch(void **state)
{
    (void)state;
    struct hooks *h = begin("echo is; echo ready; cat >told; echo >gone", LONG_MS);
    struct holds *holds = hooks_holds(h);
    assert_int_equal(holds_begin(holds, bytes_of("another")), HOLD_NONE);
    assert_true(holds_end(holds, bytes_of("another"), RECORDS("+a\0"), true));
    assert_int_equal(ask(h), HOLD_READY);
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(holds_busy(holds, SITE));
    assert_false(holds_end(holds, SITE, RECORDS("+../a\0"), false));
    assert_true(holds_end(holds, SITE, RECORDS("+a\0~b\0"), false));
    assert_false(is_there("gone"));
    assert_true(holds_end(holds, SITE, RECORDS("-c/\0"), true));
    finish(h);
    expect_file("told", RECORDS("+a\0~b\0-c/\0"));
    assert_true(is_there("gone"));
    assert_int_equal(failures(h), 0);
    hooks_free(h);
}

/* It is at its end when the next switch is due: that one waits for another run. */
static void one_after_the_other(void **state)
{
    (void)state;
    struct hooks *h = begin(
        "echo ready; cat >>told; while [ ! -e go ]; do sleep 0.01; done; echo . >>runs", LONG_MS);
    struct holds *holds = hooks_holds(h);
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(holds_end(holds, SITE, RECORDS("+a\0"), true));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(holds_begin(holds, SITE), HOLD_WAITS);
        hooks_step(h);
    }
    make("go");
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(is_there("runs"));
    assert_true(holds_end(holds, SITE, RECORDS("+b\0"), true));
    finish(h);
    expect_file("told", RECORDS("+a\0+b\0"));
    expect_file("runs", RECORDS(".\n.\n"));
    assert_int_equal(failures(h), 0);
    hooks_free(h);
}

/* More than a pipe takes, for one who does not hurry. */
static void much_is_told(void **state)
{
    enum { MANY = 12000 };
    (void)state;
    struct hooks *h =
        begin("echo ready; sleep 0.1; tr '\\0' '\\n' >told; wc -l <told >lines", LONG_MS);
    assert_int_equal(ask(h), HOLD_READY);
    for (int i = 0; i < MANY; i++) {
        char record[300];
        int n = snprintf(record, sizeof record, "+%0200d", i);
        assert_true(
            holds_end(hooks_holds(h), SITE, (struct bytes){record, (size_t)n + 1}, i == MANY - 1));
    }
    finish(h);
    expect_file("lines", RECORDS("12000\n"));
    assert_int_equal(failures(h), 0);
    hooks_free(h);
}

static void no_command_keeps_a_switch_waiting(void **state)
{
    struct hook_state now;
    (void)state;
    struct hooks *h = begin("sleep 1000", SHORT_MS);
    assert_int_equal(ask(h), HOLD_NONE);
    hooks_state(h, SITE, &now);
    assert_int_equal(now.failing.count, 1);
    assert_true(now.failing.since > 0);
    assert_string_equal(
        now.failing.text, "on-switch: it was ended after 0.2 s (on-switch-timeout)");
    assert_true(holds_end(hooks_holds(h), SITE, RECORDS("+a\0"), true));
    assert_false(holds_any(hooks_holds(h)));
    assert_int_equal(ask(h), HOLD_NONE); /* it is tried again */
    assert_int_equal(failures(h), 2);
    hooks_free(h);
}

/* Readers are held no longer than that, should the switch take its time. */
static void nor_readers(void **state)
{
    (void)state;
    struct hooks *h = begin("echo ready; sleep 1000", SHORT_MS);
    unsigned before = 0;
    while (ask(h) != HOLD_READY) /* where all is slow it was late */
        before++;
    finish(h);
    assert_int_equal(failures(h), before + 1);
    assert_true(holds_end(hooks_holds(h), SITE, RECORDS("+a\0"), true));
    hooks_free(h);
}

static void what_fails_is_gone_on_without(void **state)
{
    struct hook_state now;
    (void)state;
    struct hooks *h = begin("echo no pool >&2; exit 3", LONG_MS);
    assert_int_equal(ask(h), HOLD_NONE);
    hooks_state(h, SITE, &now);
    assert_string_equal(now.failing.text, "on-switch: it ended with exit code 3: no pool");
    hooks_free(h);
    h = begin("exit 0", LONG_MS);
    assert_int_equal(ask(h), HOLD_NONE);
    hooks_state(h, SITE, &now);
    assert_string_equal(now.failing.text, "on-switch: it ended before the switch");
    assert_int_equal(chmod(command, 0644), 0);
    assert_int_equal(ask(h), HOLD_NONE);
    assert_int_equal(failures(h), 2);
    hooks_free(h);
    h = begin("echo ready; cat; exit 1", LONG_MS); /* after the switch */
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(holds_end(hooks_holds(h), SITE, RECORDS("+a\0"), true));
    finish(h);
    assert_int_equal(failures(h), 1);
    hooks_free(h);
    h = begin("echo ready; cat >told", LONG_MS);
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(holds_end(hooks_holds(h), SITE, RECORDS("+a\0"), true));
    finish(h);
    assert_int_equal(failures(h), 0);
    hooks_free(h);
}

/* Who asked for it is gone before the switch. */
static void nobody_is_left_behind(void **state)
{
    (void)state;
    struct hooks *h = begin("echo ready; cat >told; echo >gone", LONG_MS);
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(hooks_pending(h));
    hooks_finish(h, 0);
    assert_true(is_there("gone"));
    expect_file("told", RECORDS(""));
    hooks_free(h);
}

/* The command after a commit does not begin meanwhile. */
static void not_beside_the_other(void **state)
{
    (void)state;
    struct hooks *h = begin("echo ready; cat >>both", LONG_MS);
    char *argv[] = {command, NULL};
    struct receive_hook order = {argv, geteuid() == 0 ? (char *)"root" : NULL, LONG_MS};
    hooks_know(h, SITE, dir, &order, scratch);
    assert_int_equal(ask(h), HOLD_READY);
    assert_true(hooks_add(h, SITE, RECORDS("+after\0")));
    for (int i = 0; i < 10; i++)
        hooks_step(h);
    assert_true(holds_end(hooks_holds(h), SITE, RECORDS("+before\0"), true));
    while (hooks_pending(h)) {
        struct pollfd fd = {.fd = hooks_fd(h), .events = POLLIN};
        poll(&fd, 1, hooks_due_ms(h));
        hooks_step(h);
    }
    expect_file("both", RECORDS("+before\0+after\0"));
    hooks_free(h);
}

/* A receiver that was taken over asks as often as it likes. */
static void failures_do_not_fill_the_log(void **state)
{
    enum { ASKED = 20 };
    char line[1024];
    unsigned lines = 0;
    FILE *log = tmpfile();
    int before CLEANUP_FD = dup(STDERR_FILENO);
    (void)state;
    struct hooks *h = begin("exit 3", LONG_MS);
    assert_true(log && dup2(fileno(log), STDERR_FILENO) >= 0);
    for (int i = 0; i < ASKED; i++)
        assert_int_equal(ask(h), HOLD_NONE);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    rewind(log);
    while (fgets(line, sizeof line, log))
        lines += strstr(line, "in a row") != NULL;
    fclose(log);
    assert_int_equal(lines, 5); /* 1, 2, 4, 8, 16 */
    assert_int_equal(holds_failing(hooks_holds(h), SITE)->count, ASKED);
    hooks_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(held_until_the_switch, setup, teardown),
        cmocka_unit_test_setup_teardown(one_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(much_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(no_command_keeps_a_switch_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(nor_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fails_is_gone_on_without, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_is_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(not_beside_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_do_not_fill_the_log, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
