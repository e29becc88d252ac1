/* Digests of content: the same however the bytes come, and the sums of digests. */
#include "tree/content/digest.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"

enum { BIG = 2 * DIGEST_LEAF + 12345 };

static const size_t sizes[] = {0, 1, 240, 4096, DIGEST_LEAF - 1, DIGEST_LEAF, DIGEST_LEAF + 1,
    2 * DIGEST_LEAF, 2 * DIGEST_LEAF + 1, BIG};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static uint8_t *bytes; /* BIG of them */

static int setup(void **state)
{
    (void)state;
    bytes = mem_alloc(BIG);
    uint32_t x = 1;
    for (size_t i = 0; i < BIG; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(x >> 24);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(bytes);
    return 0;
}

static void assert_same(const struct digest *a, const struct digest *b)
{
    assert_memory_equal(a->b, b->b, sizeof a->b);
    assert_true(digest_equal(a, b));
}

static struct digest from_hex(const char *hex)
{
    struct digest d;
    for (size_t i = 0; i < sizeof d.b; i++)
        assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &d.b[i]), 1);
    return d;
}

/* XXH3-128's own value of nothing: the canonical form and no seed. */
static void test_known(void **state)
{
    (void)state;
    struct digest d, plain, expected = from_hex("99aa06d3014798d86001c324468d497f");
    digest_of("", 0, &d);
    assert_same(&d, &expected);
    digest_of(bytes, DIGEST_LEAF, &d);
    digest_plain(bytes, DIGEST_LEAF, &plain);
    assert_same(&d, &plain);
}

/* The leaves' digests, then the length: what the header promises to the other end. */
static void test_leaves(void **state)
{
    (void)state;
    uint8_t outer[3 * 16 + 8];
    struct digest d, expected;
    for (size_t i = 0; i < 3; i++) {
        size_t at = i * DIGEST_LEAF;
        digest_plain(bytes + at, i < 2 ? DIGEST_LEAF : BIG - at, &d);
        memcpy(outer + i * 16, d.b, 16);
    }
    for (size_t i = 0; i < 8; i++)
        outer[48 + i] = (uint8_t)((uint64_t)BIG >> (8 * i));
    digest_plain(outer, sizeof outer, &expected);
    digest_of(bytes, BIG, &d);
    assert_same(&d, &expected);
}

static void test_stream(void **state)
{
    (void)state;
    static const size_t chunks[] = {7, 4096, 65536, DIGEST_LEAF - 1, DIGEST_LEAF, BIG};
    struct digest_stream *s = digest_stream_new();
    for (size_t i = 0; i < SIZES; i++)
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
            digest_stream_reset(s);
            for (size_t at = 0, n; at < sizes[i]; at += n) {
                n = sizes[i] - at < chunks[c] ? sizes[i] - at : chunks[c];
                digest_stream_add(s, bytes + at, n);
            }
            struct digest whole, streamed;
            digest_of(bytes, sizes[i], &whole);
            digest_stream_end(s, &streamed);
            assert_same(&whole, &streamed);
            assert_int_equal(digest_stream_length(s), sizes[i]);
        }
    digest_stream_free(s);
    digest_stream_free(NULL);
}

/* Leaves by their digests, and bytes, in any order. */
static void test_stream_of_leaves(void **state)
{
    (void)state;
    struct digest_stream *s = digest_stream_new();
    for (unsigned given = 0; given < 4; given++)
        for (size_t end = DIGEST_LEAF; end <= BIG; end += end < BIG ? DIGEST_LEAF : 1) {
            end = end > 2 * DIGEST_LEAF ? BIG : end;
            struct digest d, leaf, expected;
            digest_stream_reset(s);
            for (size_t i = 0, at = 0; at < end; i++, at += DIGEST_LEAF) {
                size_t n = end - at < DIGEST_LEAF ? end - at : DIGEST_LEAF;
                digest_plain(bytes + at, n, &leaf);
                if (n == DIGEST_LEAF && given >> i & 1)
                    digest_stream_add_leaf(s, &leaf);
                else
                    digest_stream_add(s, bytes + at, n);
            }
            digest_stream_end(s, &d);
            digest_of(bytes, end, &expected);
            assert_same(&d, &expected);
            assert_int_equal(digest_stream_length(s), end);
        }
    digest_stream_free(s);
}

/* Ending tells the digest so far; more may come. */
static void test_stream_goes_on(void **state)
{
    (void)state;
    struct digest_stream *s = digest_stream_new();
    struct digest d, expected;
    size_t at = 0;
    for (size_t i = 0; i < SIZES; at = sizes[i++]) {
        digest_stream_add(s, bytes + at, sizes[i] - at);
        digest_stream_end(s, &d);
        digest_of(bytes, sizes[i], &expected);
        assert_same(&d, &expected);
    }
    digest_stream_free(s);
}

static void test_different(void **state)
{
    (void)state;
    struct digest before, after;
    for (size_t i = 1; i < SIZES; i++) {
        digest_of(bytes, sizes[i], &before);
        bytes[sizes[i] - 1] ^= 1;
        digest_of(bytes, sizes[i], &after);
        bytes[sizes[i] - 1] ^= 1;
        assert_false(digest_equal(&before, &after));
        digest_of(bytes, sizes[i] - 1, &after);
        assert_false(digest_equal(&before, &after));
    }
}

static void test_fd(void **state)
{
    (void)state;
    int fd CLEANUP_FD = memfd_create("digest", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, bytes, BIG), 0);
    struct err err = {0};
    for (size_t i = 0; i < SIZES; i++) {
        struct digest read, expected;
        assert_int_equal(digest_of_fd(fd, sizes[i], &read, &err), 0);
        digest_of(bytes, sizes[i], &expected);
        assert_same(&read, &expected);
    }
    assert_int_equal(lseek(fd, 0, SEEK_CUR), BIG); /* pread only */
}

static void test_fd_errors(void **state)
{
    (void)state;
    int fd CLEANUP_FD = memfd_create("digest", MFD_CLOEXEC);
    assert_int_equal(io_write_full(fd, bytes, 1000), 0);
    struct err err = {0};
    struct digest d;
    assert_int_equal(digest_of_fd(fd, 1001, &d, &err), 1);
    assert_int_equal(digest_of_fd(fd, UINT64_MAX, &d, &err), 1);
    int null CLEANUP_FD = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(digest_of_fd(null, 10, &d, &err), -1);
    assert_string_equal(err.text, "read: Bad file descriptor");
}

static void test_sums(void **state)
{
    (void)state;
    struct digest sum = {0};
    struct digest one = from_hex("00000000000000000000000000000001");
    struct digest low = from_hex("0000000000000000ffffffffffffffff");
    struct digest high = from_hex("00000000000000010000000000000000");
    struct digest all = from_hex("ffffffffffffffffffffffffffffffff");
    digest_add(&sum, &low);
    digest_add(&sum, &one);
    assert_same(&sum, &high); /* carries through the middle, big-endian */
    digest_subtract(&sum, &one);
    assert_same(&sum, &low);
    digest_subtract(&sum, &low);
    digest_subtract(&sum, &one);
    assert_same(&sum, &all); /* and around */
    digest_add(&sum, &one);
    assert_same(&sum, &(struct digest){0});
}

static void test_sums_have_no_order(void **state)
{
    (void)state;
    struct digest d[20], up = {0}, down = {0};
    for (size_t i = 0; i < 20; i++)
        digest_plain(bytes, i, &d[i]);
    for (size_t i = 0; i < 20; i++) {
        digest_add(&up, &d[i]);
        digest_add(&down, &d[19 - i]);
    }
    assert_same(&up, &down);
    for (size_t i = 0; i < 20; i++)
        digest_subtract(&up, &d[i]);
    assert_same(&up, &(struct digest){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_of_leaves),
        cmocka_unit_test(test_stream_goes_on),
        cmocka_unit_test(test_different),
        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_fd_errors),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_sums_have_no_order),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
