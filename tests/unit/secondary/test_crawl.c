/*
 * A primary that sends, or reads, by single bytes: what counts as one frame's time, and that
 * writing ends where little is taken for long. The clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/session/crawl.h"
#include "secondary/session/outbox.h"

enum { PIECE = 4096, PIECES = 64, KEEPALIVE_MS = 15000 };

/* Whenever somebody asks for the time, so much of it has passed, and the other end has read a
 * piece. */
static struct {
    uint64_t now_ms, step_ms;
    int fd;
    size_t read;
} far_end;

uint64_t __wrap_io_now_ms(void);
uint64_t __wrap_io_now_ms(void)
{
    char piece[PIECE];
    ssize_t n = read(far_end.fd, piece, sizeof piece);
    if (n > 0)
        far_end.read += (size_t)n;
    return far_end.now_ms += far_end.step_ms;
}

static int write_to_far_end(uint64_t step_ms, struct err *err)
{
    int fds[2];
    uint8_t *content CLEANUP_FREE = mem_alloc(PIECE * PIECES);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, PIECE), PIECE);
    far_end = (typeof(far_end)){.step_ms = step_ms, .fd = fds[0]};
    struct outbox o = {
        .fd = fds[1],
        .patience_ms = 3 * KEEPALIVE_MS,
        .crawl_ms = CRAWL_KEEPALIVES * KEEPALIVE_MS,
        .signals = -1,
    };
    wire_raw(&o.writer, content, PIECE * PIECES);
    int result = outbox_flush(&o, err);
    wire_free(&o.writer);
    close(fds[0]);
    close(fds[1]);
    return result;
}

/* 1.4 KB a second: all of it goes out, in three minutes. */
static void taken_slowly(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(write_to_far_end(3000, &err), 0);
    assert_true(far_end.now_ms > 2 * CRAWL_KEEPALIVES * KEEPALIVE_MS);
    assert_true(far_end.read >= PIECE * (PIECES - 2));
}

/* 0.8 KB a second: never without a byte for long, and still no link. */
static void taken_too_slowly(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(write_to_far_end(5000, &err), -1);
    assert_string_equal(err.text, "the other end has read too little for 60 seconds");
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_true(far_end.read > 0 && far_end.read < OUTBOX_FULL);
}

static void time_of_one_frame(void **state)
{
    struct crawl c = {0};
    (void)state;
    assert_int_equal(crawl_look(&c, true, 5000), 0);
    assert_int_equal(crawl_look(&c, false, 5400), 400);
    assert_int_equal(crawl_look(&c, false, 6400), 1400);
    assert_int_equal(crawl_look(&c, true, 6500), 0);
    assert_int_equal(crawl_look(&c, false, 6600), 100);
}

/* This end did not look for an hour: what came then has not been taken yet. */
static void time_without_a_look(void **state)
{
    struct crawl c = {0};
    (void)state;
    crawl_look(&c, true, 1000);
    assert_int_equal(crawl_look(&c, false, 1000 + 3600 * 1000), CRAWL_GAP_MS);
    assert_int_equal(crawl_look(&c, false, 1001 + 3600 * 1000), CRAWL_GAP_MS + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_slowly),
        cmocka_unit_test(taken_too_slowly),
        cmocka_unit_test(time_of_one_frame),
        cmocka_unit_test(time_without_a_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
