/* The byte buffer: what went in comes out, in order, however it grows and moves. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_empty(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_len(&b), 0);
    assert_null(buf_bytes(&b));
    buf_append(&b, NULL, 0);
    assert_int_equal(buf_len(&b), 0);
    assert_non_null(buf_room(&b, 0));
    buf_free(&b);
    buf_free(&b);
    assert_null(b.data);
}

static void test_room_and_fill(void **state)
{
    (void)state;
    struct buf b = {0};
    memcpy(buf_room(&b, 100), "abc", 3);
    assert_int_equal(buf_len(&b), 0);
    buf_fill(&b, 3);
    buf_append(&b, "de", 2);
    assert_int_equal(buf_len(&b), 5);
    assert_memory_equal(buf_bytes(&b), "abcde", 5);
    buf_drain(&b, 2);
    assert_memory_equal(buf_bytes(&b), "cde", 3);
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    buf_append(&b, "x", 1);
    assert_memory_equal(buf_bytes(&b), "x", 1);
    buf_free(&b);
}

/* Drained bytes stay where they are until room is asked for. */
static void test_drained_bytes_stay(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append(&b, "abc", 3);
    const uint8_t *p = buf_bytes(&b);
    buf_drain(&b, 3);
    assert_memory_equal(p, "abc", 3);
    assert_int_equal(buf_len(&b), 0);
    buf_free(&b);
}

/* A queue of counting bytes, filled and drained in odd pieces through growing and moving down. */
static void test_stream(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t in = 0, out = 0, piece[10000];
    for (size_t round = 0; round < 300; round++) {
        size_t n = round * 37 % sizeof piece, drop;
        for (size_t i = 0; i < n; i++)
            piece[i] = in++;
        buf_append(&b, piece, n);
        drop = buf_len(&b) * (round % 4) / 3;
        drop = drop < buf_len(&b) ? drop : buf_len(&b);
        for (size_t i = 0; i < drop; i++)
            assert_int_equal(buf_bytes(&b)[i], out++);
        buf_drain(&b, drop);
    }
    for (size_t i = 0; i < buf_len(&b); i++)
        assert_int_equal(buf_bytes(&b)[i], out++);
    assert_int_equal(in, out);
    buf_free(&b);
}

/* A buffer that is drained as fast as it is filled does not grow. */
static void test_does_not_creep(void **state)
{
    (void)state;
    struct buf b = {0};
    char piece[1000] = {0};
    buf_append(&b, piece, 1);
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, piece, sizeof piece);
        buf_drain(&b, sizeof piece);
    }
    assert_int_equal(buf_len(&b), 1);
    assert_true(b.cap <= 4096);
    buf_append(&b, piece, 0);
    memset(buf_room(&b, 1 << 20), 1, 1 << 20);
    assert_true(b.cap >= (1 << 20) + 1 && b.cap <= 1 << 22);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_room_and_fill),
        cmocka_unit_test(test_drained_bytes_stay),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_does_not_creep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
