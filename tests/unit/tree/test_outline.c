/*
 * What is known of a file: made of bytes that come in pieces of any size; and gaps refined by it
 * are the gap again, of pieces of the known file and new ones.
 */
#include "tree/content/outline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tree/content/digest.h"

enum { EXT = MSG_EXTENT, BLOCK = OUTLINE_BLOCK, SIZE = 3 * EXT + 5 * BLOCK + 100 };

static void add_random(struct buf *b, size_t n, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    uint8_t *p = buf_room(b, n);
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (uint8_t)(x >> 32);
    }
    buf_fill(b, n);
}

static void add_part(struct buf *b, const struct buf *from, size_t at, size_t n)
{
    buf_append(b, buf_bytes(from) + at, n);
}

static struct outline *outline_of(const struct buf *b, size_t piece)
{
    struct digest digest;
    struct outline *k = outline_new(buf_len(b));
    for (size_t at = 0; at < buf_len(b); at += piece)
        outline_add(k, buf_bytes(b) + at, buf_len(b) - at < piece ? buf_len(b) - at : piece);
    digest_of(buf_bytes(b), buf_len(b), &digest);
    assert_true(outline_settle(k, &digest));
    assert_memory_equal(outline_digest(k), &digest, sizeof digest);
    return k;
}

static void check_extents(const struct outline *k, const struct buf *b)
{
    struct gear gear;
    size_t count;
    gear_init(&gear);
    const struct msg_extent *all = outline_extents(k, &count);
    assert_int_equal(count, msg_extent_count(buf_len(b)));
    for (size_t i = 0; i < count; i++) {
        struct msg_extent want;
        size_t left = buf_len(b) - i * EXT;
        extent_of(&gear, buf_bytes(b) + i * EXT, left < EXT ? left : EXT, &want);
        assert_memory_equal(&all[i].digest, &want.digest, sizeof want.digest);
        assert_true(all[i].anchor == want.anchor);
    }
}

static void test_pieces_of_any_size(void **state)
{
    static const size_t sizes[] = {1, 63, 64, BLOCK, EXT - 1, EXT, EXT + 1, SIZE};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf b = {0};
        add_random(&b, sizes[i], i + 1);
        for (size_t piece = 1; piece < 2 * EXT; piece = piece * 7 + (piece > 300)) {
            if (piece < 100 && sizes[i] > EXT)
                continue; /* takes long, and says no more */
            struct outline *k = outline_of(&b, piece);
            check_extents(k, &b);
            outline_unref(k);
        }
        buf_free(&b);
    }
}

static void test_whole_leaves(void **state)
{
    (void)state;
    struct buf b = {0};
    struct digest digest;
    add_random(&b, SIZE, 1);
    struct outline *k = outline_new(SIZE);
    for (size_t at = 0; at < SIZE; at += EXT) {
        size_t n = SIZE - at < EXT ? SIZE - at : EXT;
        digest_plain(buf_bytes(&b) + at, n, &digest);
        outline_add_leaf(k, buf_bytes(&b) + at, n, &digest);
    }
    assert_true(outline_settle(k, &digest));
    check_extents(k, &b);
    outline_unref(k);
    buf_free(&b);
}

static void test_some_was_not_read(void **state)
{
    (void)state;
    char bytes[100] = {0};
    struct digest digest = {0};
    struct outline *k = outline_new(101);
    outline_add(k, bytes, sizeof bytes);
    assert_false(outline_settle(k, &digest));
    struct outline *more = outline_ref(k);
    outline_unref(k);
    assert_int_equal(outline_size(more), 101);
    outline_unref(more);
    k = outline_new(99);
    outline_add(k, bytes, sizeof bytes); /* the file grew */
    assert_true(outline_settle(k, &digest));
    outline_unref(k);
}

/* ---- refining ---- */

struct refined {
    const struct buf *old, *new;
    uint64_t at; /* where the next run must begin */
    uint64_t left, copied;
    unsigned gaps;
};

static void take(void *ctx, const struct extents_run *run)
{
    struct refined *r = ctx;
    assert_int_equal(run->at, r->at);
    assert_true(run->length > 0);
    r->at += run->length;
    assert_true(run->from <= buf_len(r->old) && run->range <= buf_len(r->old) - run->from);
    if (!run->copy) {
        r->left += run->length;
        r->gaps++;
        return;
    }
    assert_int_equal(run->range, run->length);
    r->copied += run->length;
    assert_memory_equal(buf_bytes(r->old) + run->from, buf_bytes(r->new) + run->at, run->length);
}

/* All of the new file is one gap. */
static struct refined refine(const struct buf *old, const struct buf *new)
{
    struct outline *k = outline_of(old, 10000);
    struct refined r = {.old = old, .new = new};
    struct extents_run gap = {.length = buf_len(new), .range = buf_len(old)};
    gap.back = (int64_t)buf_len(old) - (int64_t)buf_len(new);
    outline_refine(k, &gap, buf_bytes(new), take, &r);
    assert_int_equal(r.at, buf_len(new));
    outline_unref(k);
    return r;
}

static void test_edits_in_place(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, SIZE, 1);
    uint8_t *p = buf_room(&new, SIZE);
    memcpy(p, buf_bytes(&old), SIZE);
    p[5 * BLOCK + 1] ^= 1;
    p[EXT + 1] ^= 1;
    p[SIZE - 1] ^= 1;
    buf_fill(&new, SIZE);
    struct refined r = refine(&old, &new);
    assert_int_equal(r.left, 2 * BLOCK + 100);
    assert_int_equal(r.gaps, 3);
    buf_free(&old);
    buf_free(&new);
}

static void test_one_insertion(void **state)
{
    (void)state;
    for (size_t at = 0; at <= SIZE; at += 54321) {
        struct buf old = {0}, new = {0};
        add_random(&old, SIZE, 1);
        add_part(&new, &old, 0, at);
        add_random(&new, 1000, 2);
        add_part(&new, &old, at, SIZE - at);
        struct refined r = refine(&old, &new);
        assert_true(r.left <= 1000 + 2 * BLOCK);
        assert_true(r.gaps == 1);
        buf_free(&old);
        buf_free(&new);
    }
}

static void test_removed_and_appended(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0}, longer = {0};
    add_random(&old, SIZE, 1);
    add_part(&new, &old, 0, 2 * EXT);
    add_part(&new, &old, 2 * EXT + 777, SIZE - 2 * EXT - 777);
    struct refined r = refine(&old, &new);
    assert_true(r.left <= 2 * BLOCK);
    add_part(&longer, &old, 0, SIZE);
    add_random(&longer, 5000, 3);
    r = refine(&old, &longer);
    assert_true(r.left <= 5000 + BLOCK);
    buf_free(&old);
    buf_free(&new);
    buf_free(&longer);
}

static void test_nothing_alike(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0}, none = {0};
    add_random(&old, SIZE, 1);
    add_random(&new, 2 * EXT, 2);
    struct refined r = refine(&old, &new);
    assert_int_equal(r.copied, 0);
    assert_int_equal(r.gaps, 1);
    add_random(&none, 10, 3);
    assert_int_equal(refine(&none, &old).copied, 0);
    assert_int_equal(refine(&old, &none).copied, 0);
    buf_free(&old);
    buf_free(&new);
    buf_free(&none);
}

static void test_as_bytes(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    struct wire_writer w = {0};
    add_random(&old, SIZE, 1);
    add_part(&new, &old, BLOCK, EXT);
    add_random(&new, 10, 2);
    struct outline *k = outline_of(&old, 1000), *same = NULL, *none = outline_new(0);
    outline_encode(k, &w);
    assert_non_null(same = outline_decode((struct bytes){w.data, w.len}));
    assert_int_equal(outline_size(same), SIZE);
    assert_memory_equal(outline_digest(same), outline_digest(k), sizeof(struct digest));
    check_extents(same, &old);
    for (size_t i = 0; i < w.len; i += 97) {
        assert_null(outline_decode((struct bytes){w.data, i}));
        w.data[i] ^= 4;
        assert_null(outline_decode((struct bytes){w.data, w.len}));
        w.data[i] ^= 4;
    }
    wire_reset(&w);
    outline_settle(none, &(struct digest){{7}});
    outline_encode(none, &w);
    struct outline *empty = outline_decode((struct bytes){w.data, w.len});
    assert_int_equal(outline_size(empty), 0);
    outline_unref(empty);
    outline_unref(none);
    outline_unref(same);
    outline_unref(k);
    wire_free(&w);
    buf_free(&old);
    buf_free(&new);
}

/* A size that there are no bytes for, with the right digest behind it. */
static void test_bytes_of_no_outline(void **state)
{
    (void)state;
    struct outline *k = outline_new(0);
    struct wire_writer w = {0}, other = {0};
    struct digest sum;
    outline_settle(k, &(struct digest){{7}});
    outline_encode(k, &w);
    size_t head = w.len - sizeof sum - 8;
    static const uint64_t sizes[] = {1, BLOCK, EXT + 1, 100 * BLOCK, (uint64_t)1 << 40, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        wire_reset(&other);
        wire_raw(&other, w.data, head);
        wire_u64(&other, sizes[i]);
        digest_plain(other.data, other.len, &sum);
        wire_raw(&other, sum.b, sizeof sum);
        assert_null(outline_decode((struct bytes){other.data, other.len}));
    }
    outline_unref(k);
    wire_free(&w);
    wire_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_of_any_size),
        cmocka_unit_test(test_whole_leaves),
        cmocka_unit_test(test_some_was_not_read),
        cmocka_unit_test(test_edits_in_place),
        cmocka_unit_test(test_one_insertion),
        cmocka_unit_test(test_removed_and_appended),
        cmocka_unit_test(test_nothing_alike),
        cmocka_unit_test(test_as_bytes),
        cmocka_unit_test(test_bytes_of_no_outline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
