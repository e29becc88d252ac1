/* Links that are a local process, and the process helper beneath them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "link/conn.h"
#include "link/process/proc.h"
#include "stream.h"

static struct conn *open_child(char *const *argv)
{
    struct conn_options o = {.transport = TRANSPORT_CHILD, .argv = argv};
    struct conn *c = NULL;
    struct err err = {0};
    if (conn_open(&o, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

static struct conn *open_shell(const char *script)
{
    return open_child(WORDS("sh", "-c", script));
}

static void test_echo(void **state)
{
    (void)state;
    struct conn *c = open_child(WORDS("cat"));
    assert_string_equal(conn_kind(c), "child");
    stream_echo(c, 64 << 20);
    conn_close(c);
}

static void test_explains(void **state)
{
    (void)state;
    char text[64];
    struct err err = {0};
    struct conn *c = open_shell("echo out; echo first >&2; echo 'not here' >&2; exit 3");
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "out\n");
    assert_int_equal(conn_explain(c, &err), -1);
    assert_int_equal(err.code, 3);
    assert_string_equal(err.text, "sh on this host ended with status 3 (not here)");
    assert_string_equal(conn_stderr(c), "first\nnot here\n");
    assert_int_equal(conn_exit_status(c), 3);
    conn_close(c);

    c = open_shell("kill -TERM $$");
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    conn_explain(c, &err);
    assert_int_equal(conn_exit_status(c), 128 + SIGTERM);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_non_null(strstr(err.text, "signal 15"));
    conn_close(c);

    c = open_shell("exit 0");
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    conn_explain(c, &err);
    assert_non_null(strstr(err.text, "too early"));
    conn_close(c);
}

static void test_much_stderr(void **state)
{
    (void)state;
    /* More than the pipe holds, before the first byte of the stream: it must be drained meanwhile.
     */
    struct conn *c =
        open_shell("head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo done");
    char text[64];
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "done\n");
    struct err err = {0};
    conn_explain(c, &err);
    const char *said = conn_stderr(c);
    assert_int_equal(strlen(said), 4096);
    assert_string_equal(said + 4096 - 5, "xend\n");
    conn_close(c);
}

static void test_no_program(void **state)
{
    (void)state;
    struct conn_options o = {.transport = TRANSPORT_CHILD, .argv = WORDS("no-such-program-here")};
    struct conn *c = NULL;
    struct err err = {0};
    assert_int_equal(conn_open(&o, &c, &err), -1);
    assert_null(c);
    assert_int_equal(err.code, ERR_FAILED);
    assert_non_null(strstr(err.text, "no-such-program-here"));
    o.argv = (char *[]){NULL};
    assert_int_equal(conn_open(&o, &c, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
}

static void test_write_after_end(void **state)
{
    (void)state;
    struct conn *c = open_shell("exec <&- >&-; sleep 20"); /* close must not wait for it either */
    char text[16];
    struct err err = {0};
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_int_equal(conn_write(c, "x", 1, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    uint64_t before = io_now_ms();
    conn_close(c);
    assert_true(io_now_ms() - before < 2000);
}

/* A child that ignores everything polite is killed, and reaped. */
static void test_stubborn(void **state)
{
    (void)state;
    struct conn *c = open_shell("trap '' TERM; echo up; while :; do sleep 5; done");
    char text[4] = {0};
    struct err err;
    ssize_t n;
    while ((n = conn_read(c, text, 3, &err)) == CONN_AGAIN)
        usleep(1000);
    assert_int_equal(n, 3);
    conn_close(c);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    conn_close(NULL);
}

static void test_capture(void **state)
{
    (void)state;
    struct patience p = patience_for(10000, NULL);
    struct proc_result r = {0};
    struct err err = {0};
    assert_int_equal(
        proc_capture(WORDS("sh", "-c", "cat; echo a; echo b >&2; exit 4"), 100, &p, &r, &err), 0);
    assert_string_equal(r.output, "a\n");
    assert_string_equal(r.said.text, "b\n");
    assert_int_equal(r.status, 4);
    free(r.output);
    assert_int_equal(proc_capture(WORDS("no-such-program-here"), 9, &p, &r, &err), 1);
    assert_int_equal(proc_capture(WORDS("yes"), 9, &p, &r, &err), -1);
    p = patience_for(50, NULL);
    assert_int_equal(proc_capture(WORDS("sleep", "20"), 9, &p, &r, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_explains),
        cmocka_unit_test(test_much_stderr),
        cmocka_unit_test(test_no_program),
        cmocka_unit_test(test_write_after_end),
        cmocka_unit_test(test_stubborn),
        cmocka_unit_test(test_capture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
