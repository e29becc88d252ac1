/* What comes from the primary, in whatever pieces, and what does not come. The clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "protocol/msg.h"
#include "secondary/session/input.h"

enum { FRAMES = 40, SILENCE_MS = 45000, CRAWL_MS = 60000 };

static uint64_t now_ms;

uint64_t __wrap_io_now_ms(void);
uint64_t __wrap_io_now_ms(void)
{
    return now_ms;
}

uint64_t __wrap_io_now_us(void);
uint64_t __wrap_io_now_us(void)
{
    return now_ms * 1000;
}

struct world {
    struct input in;
    int far;
};

static void make(struct world *w)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    now_ms = 1000;
    *w = (struct world){
        .in = {.fd = fds[0], .silence_ms = SILENCE_MS, .crawl_ms = CRAWL_MS, .heard_ms = now_ms},
        .far = fds[1],
    };
}

static void unmake(struct world *w)
{
    input_free(&w->in);
    close(w->in.fd);
    if (w->far >= 0)
        close(w->far);
}

static void send_bytes(struct world *w, const void *p, size_t n)
{
    struct err err = {0};
    assert_int_equal(write(w->far, p, n), (ssize_t)n);
    assert_int_equal(input_read(&w->in, &err), 0);
}

/* PINGs with tokens from 0 on. */
static void put_pings(struct wire_writer *w)
{
    for (uint64_t i = 0; i < FRAMES; i++)
        msg_put_ping(w, &(struct msg_ping){.token = i});
}

static void in_pieces(size_t piece)
{
    struct world w;
    struct wire_writer all = {.max = 4096};
    struct frame f;
    struct err err = {0};
    uint64_t token = 0;
    make(&w);
    put_pings(&all);
    for (size_t at = 0; at < all.len; at += piece) {
        int n;
        send_bytes(&w, all.data + at, all.len - at < piece ? all.len - at : piece);
        while ((n = input_next(&w.in, &f, &err)) > 0) {
            struct msg_ping m;
            assert_int_equal(f.type, MSG_PING);
            assert_true(msg_get_ping(f.payload, &m));
            assert_int_equal(m.token, token++);
            input_drain(&w.in, n);
        }
        assert_int_equal(n, 0);
        assert_int_equal(input_check(&w.in, &err), 0);
    }
    assert_int_equal(token, FRAMES);
    wire_free(&all);
    unmake(&w);
}

static void pieces_of_any_size(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 7, 15, 16, 17, 64, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        in_pieces(pieces[i]);
}

static void no_frame(void **state)
{
    static const uint8_t bytes[8] = {0};
    struct world w;
    struct frame f;
    struct err err = {0};
    (void)state;
    make(&w);
    send_bytes(&w, bytes, sizeof bytes);
    assert_int_equal(input_next(&w.in, &f, &err), -1);
    assert_string_equal(err.text, "a frame of a length that is not allowed");
    unmake(&w);
}

static void ends(void **state)
{
    static const uint8_t length[2] = {9};
    struct world w;
    struct err err = {0};
    (void)state;
    make(&w);
    assert_int_equal(input_read(&w.in, &err), 0); /* nothing is there */
    close(w.far);
    w.far = -1;
    assert_int_equal(input_read(&w.in, &err), INPUT_ENDED);
    unmake(&w);
    make(&w);
    send_bytes(&w, length, sizeof length);
    close(w.far);
    w.far = -1;
    assert_int_equal(input_read(&w.in, &err), -1);
    assert_string_equal(err.text, "the stream ended within a message");
    assert_int_equal(err.sys, 0);
    unmake(&w);
}

static void silence(void **state)
{
    struct world w;
    struct err err = {0};
    (void)state;
    make(&w);
    assert_int_equal(input_wait_ms(&w.in), SILENCE_MS);
    now_ms += SILENCE_MS - 1;
    assert_int_equal(input_wait_ms(&w.in), 1);
    assert_int_equal(input_check_silence(&w.in, &err), 0);
    send_bytes(&w, "\0", 1); /* a byte is a sign of life, and has to be looked after */
    assert_int_equal(input_wait_ms(&w.in), CRAWL_GAP_MS);
    now_ms += SILENCE_MS;
    assert_int_equal(input_wait_ms(&w.in), 0);
    assert_int_equal(input_check_silence(&w.in, &err), -1);
    assert_string_equal(err.text, "nothing was heard for 45 seconds");
    unmake(&w);
}

/* A byte a second: never silent. */
static void a_frame_that_never_ends(void **state)
{
    struct world w;
    struct err err = {0};
    int r = 0;
    unsigned seconds = 0;
    (void)state;
    make(&w);
    static const uint8_t length[2] = {0, 4};
    send_bytes(&w, length, sizeof length);
    assert_int_equal(input_check(&w.in, &err), 0);
    for (; r == 0 && seconds < 100; seconds++) {
        now_ms += 1000;
        send_bytes(&w, "x", 1);
        assert_int_equal(input_check_silence(&w.in, &err), 0);
        r = input_check(&w.in, &err);
    }
    assert_int_equal(r, -1);
    assert_int_equal(seconds, 59);
    assert_string_equal(err.text, "a message has been coming for 60 seconds and is not whole");
    unmake(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size),
        cmocka_unit_test(no_frame),
        cmocka_unit_test(ends),
        cmocka_unit_test(silence),
        cmocka_unit_test(a_frame_that_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
