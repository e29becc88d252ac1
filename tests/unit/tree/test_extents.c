/*
 * Extents: whatever was done to a file, the runs make the new one of the old one and the gaps, in
 * order and without holes; and what is alike is found. However the extents come: at once, or as
 * they are waited for.
 */
#include "tree/content/extents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tree/content/digest.h"

enum { KIB = 1024, EXT = MSG_EXTENT };

static uint32_t random_next(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

static void add_random(struct buf *b, size_t n, uint32_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    uint8_t *p = buf_room(b, n);
    for (size_t i = 0; i < n; i += sizeof x) { /* xorshift: nothing comes twice */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + i, &x, n - i < sizeof x ? n - i : sizeof x);
    }
    buf_fill(b, n);
}

static void add_zeros(struct buf *b, size_t n)
{
    memset(buf_room(b, n), 0, n);
    buf_fill(b, n);
}

static void add_part(struct buf *b, const struct buf *from, size_t at, size_t n)
{
    buf_append(b, buf_bytes(from) + at, n);
}

/* ---- one comparison ---- */

struct result {
    uint64_t gap;          /* bytes of the new file that were not found */
    unsigned gaps, copies; /* copies: in one piece where they follow each other */
    unsigned reads, waits; /* extents of the new file that were read */
    uint64_t widest;       /* range that a gap resembles */
};

struct reading {
    const struct buf *new;
    unsigned reads;
};

static ssize_t read_new(void *ctx, uint64_t at, void *p, struct digest *digest, struct err *err)
{
    struct reading *r = ctx;
    (void)err;
    assert_int_equal(at % EXT, 0);
    size_t left = at < buf_len(r->new) ? buf_len(r->new) - at : 0;
    size_t n = left < EXT ? left : EXT;
    assert_true(n > 0);
    memcpy(p, buf_bytes(r->new) + at, n);
    digest_plain(p, n, digest);
    r->reads++;
    return (ssize_t)n;
}

/* A frame of `most` extents from number on; the next number. */
static size_t feed(struct extents *x, const struct buf *old, size_t number, size_t most)
{
    struct wire_writer items = {0};
    struct gear gear;
    struct err err;
    size_t count = msg_extent_count(buf_len(old));
    gear_init(&gear);
    for (; number < count && most > 0; number++, most--) {
        struct msg_extent e;
        size_t left = buf_len(old) - number * EXT;
        extent_of(&gear, buf_bytes(old) + number * EXT, left < EXT ? left : EXT, &e);
        msg_extent_encode(&items, &e);
    }
    struct msg_extents m = {
        .last = number == count, .size = buf_len(old), .items = {items.data, items.len}};
    assert_int_equal(extents_add(x, &m, &err), 0);
    wire_free(&items);
    return number;
}

static void check_copy(const struct buf *old, const struct buf *new, const struct extents_run *run)
{
    assert_true(run->from <= buf_len(old) && run->length <= buf_len(old) - run->from);
    assert_int_equal(run->length, run->range);
    assert_memory_equal(buf_bytes(old) + run->from, buf_bytes(new) + run->at, run->length);
}

static void check_gap(const struct buf *old, const struct extents_run *run)
{
    assert_true(run->length <= EXTENTS_GAP_MAX);
    assert_true(run->range <= MSG_RANGE_MAX);
    assert_true(run->from <= buf_len(old) && run->range <= buf_len(old) - run->from);
}

/* piece: extents that come at a time, when they are waited for; 0: all, first. */
static struct result compare(const struct buf *old, const struct buf *new, size_t piece)
{
    struct reading reading = {new, 0};
    struct extents *x = extents_new(buf_len(new), read_new, &reading);
    struct result r = {0};
    struct extents_run run = {0};
    struct err err;
    uint64_t at = 0, copied_to = UINT64_MAX;
    size_t number = piece ? 0 : feed(x, old, 0, SIZE_MAX);
    bool complete = !piece;
    int more;
    while ((more = extents_next(x, &run, &err)) != EXTENTS_END) {
        assert_true(more > 0);
        if (more == EXTENTS_WAITS) {
            assert_false(complete);
            number = feed(x, old, number, piece);
            complete = number == msg_extent_count(buf_len(old));
            r.waits++;
        }
        if (more != EXTENTS_RUN)
            continue;
        assert_int_equal(run.at, at);
        assert_true(run.length > 0 && run.length <= buf_len(new) - at);
        at += run.length;
        if (run.copy) {
            check_copy(old, new, &run);
            r.copies += run.from != copied_to;
            copied_to = run.from + run.length;
        } else {
            check_gap(old, &run);
            r.gap += run.length;
            r.gaps++;
            r.widest = run.range > r.widest ? run.range : r.widest;
            copied_to = UINT64_MAX;
        }
    }
    assert_int_equal(at, buf_len(new));
    r.reads = reading.reads;
    extents_free(x);
    return r;
}

/* At once and piecemeal; the larger gap. */
static struct result run(struct buf *old, struct buf *new)
{
    struct result all = compare(old, new, 0);
    for (size_t piece = 1; piece < 50; piece = piece * 4 + 1) {
        struct result r = compare(old, new, piece);
        if (r.gap > all.gap)
            all = r;
    }
    buf_free(old);
    buf_free(new);
    return all;
}

/* ---- edits ---- */

static void test_equal(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        1, 63, 64, 65, EXT - 1, EXT, EXT + 1, EXT + 63, EXT + 64, 2 * EXT, 7 * EXT + 100, 20 * EXT};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct buf old = {0}, new = {0};
        add_random(&old, sizes[i], 1);
        add_part(&new, &old, 0, sizes[i]);
        struct result r = run(&old, &new);
        assert_int_equal(r.gap, 0);
        assert_int_equal(r.copies, 1);
        assert_int_equal(r.reads, msg_extent_count(sizes[i])); /* once each */
    }
}

static void test_nothing(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 3 * EXT, 1);
    assert_int_equal(run(&old, &new).gap, 0); /* an empty new file */
    add_random(&new, 3 * EXT + 5, 1);
    assert_int_equal(run(&old, &new).gap, 3 * EXT + 5); /* an empty old file */
}

/* Of any length, at any place: the extent that it is in, and itself. */
static void test_insertion(void **state)
{
    (void)state;
    static const size_t places[] = {0, 1, EXT - 1, EXT, EXT + 1, 9 * EXT + 777, 20 * EXT - 1};
    static const size_t lengths[] = {
        1, 10, 63, 64, 65, EXT - 1, EXT, EXT + 1, 4 * EXT, 5 * EXT + 3};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
            struct buf old = {0}, new = {0};
            add_random(&old, 20 * EXT, 1);
            add_part(&new, &old, 0, places[i]);
            add_random(&new, lengths[j], 2);
            add_part(&new, &old, places[i], 20 * EXT - places[i]);
            struct result r = run(&old, &new);
            assert_true(r.gap <= lengths[j] + EXT);
            assert_int_equal(r.gaps, 1 + (r.gap > EXTENTS_GAP_MAX));
            assert_true(r.widest <= EXT);
        }
}

static void test_removal(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 64, EXT - 1, EXT, EXT + 1, 3 * EXT, 30 * EXT, 30 * EXT + 9};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct buf old = {0}, new = {0};
        add_random(&old, 40 * EXT, 1);
        add_part(&new, &old, 0, 3 * EXT + 50);
        add_part(&new, &old, 3 * EXT + 50 + lengths[i], 37 * EXT - 50 - lengths[i]);
        struct result r = run(&old, &new);
        assert_true(r.gap <= EXT + 50); /* what is left of two extents */
        assert_true(r.copies <= 2);
        assert_true(r.widest <= 4 * (EXT + 50) + EXT);
    }
}

/* The gap is the extent that was edited, and resembles it. */
static void test_scattered_edits(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 60 * EXT + 1000, 1);
    add_part(&new, &old, 0, 60 * EXT + 1000);
    for (size_t i = 0; i < 10; i++)
        new.data[i * 6 * EXT + i * 1000] ^= 1;
    struct result r = run(&old, &new);
    assert_int_equal(r.gaps, 10);
    assert_int_equal(r.gap, 10 * EXT);
    assert_int_equal(r.widest, EXT);
}

/* Neighbours, too, and the last extents of the file. */
static void test_edits_side_by_side(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 30 * EXT + 1000, 1);
    add_part(&new, &old, 0, 30 * EXT + 1000);
    for (size_t i = 4; i < 12; i++)
        new.data[i * EXT] ^= 1; /* anchors */
    new.data[30 * EXT + 1] ^= 1;
    struct result r = run(&old, &new);
    assert_int_equal(r.gap, 8 * EXT + 1000);
    assert_int_equal(r.gaps, 2);
}

static void test_appends_and_cuts(void **state)
{
    (void)state;
    static const size_t sizes[] = {10 * EXT, 10 * EXT + 1, 11 * EXT - 1};
    for (size_t i = 0; i < 3; i++) {
        struct buf old = {0}, new = {0};
        add_random(&old, sizes[i], 1);
        add_part(&new, &old, 0, sizes[i]);
        add_random(&new, 5000, 2);
        struct result r = run(&old, &new);
        assert_int_equal(r.gap, 5000);
        assert_int_equal(r.widest, 0); /* nothing it could resemble */
        struct buf whole = {0}, cut = {0};
        add_random(&whole, sizes[i], 1);
        add_part(&cut, &whole, 0, 7 * EXT + 9);
        r = run(&whole, &cut);
        assert_int_equal(r.gap, 9);
    }
}

static void test_small_insertions(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 100 * EXT, 1);
    uint32_t seed = 5;
    for (size_t i = 0; i < 20; i++) {
        add_part(&new, &old, i * 5 * EXT, 5 * EXT);
        add_random(&new, 10 + random_next(&seed) % 90, seed);
    }
    struct result r = run(&old, &new);
    assert_true(r.gap < 20 * (EXT + 100));
    struct buf back_old = {0}, back_new = {0}; /* and a shift that goes back again */
    add_random(&back_old, 30 * EXT, 1);
    add_part(&back_new, &back_old, 0, 5 * EXT + 5);
    add_random(&back_new, 1000, 7);
    add_part(&back_new, &back_old, 5 * EXT + 5, 15 * EXT);
    add_part(&back_new, &back_old, 20 * EXT + 1005, 10 * EXT - 1005);
    r = run(&back_old, &back_new);
    assert_true(r.gap < 3 * EXT);
    assert_int_equal(r.copies, 3);
}

/* The order does not matter. */
static void test_moved_blocks(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 60 * EXT, 1);
    add_part(&new, &old, 40 * EXT, 20 * EXT);
    add_part(&new, &old, 0, 20 * EXT);
    add_part(&new, &old, 20 * EXT, 20 * EXT);
    struct result r = run(&old, &new);
    assert_int_equal(r.gap, 0);
    assert_int_equal(r.copies, 2);
    struct buf once = {0}, thrice = {0};
    add_random(&once, 5 * EXT, 1);
    for (int i = 0; i < 3; i++)
        add_part(&thrice, &once, 0, 5 * EXT);
    assert_int_equal(run(&once, &thrice).gap, 0);
}

static void test_repeated_blocks(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0}, block = {0};
    add_random(&block, 4 * EXT, 4);
    add_part(&old, &block, 0, 4 * EXT);
    add_zeros(&old, 4 * EXT);
    add_part(&old, &block, 0, 4 * EXT);
    add_zeros(&new, 4 * EXT);
    for (int i = 0; i < 3; i++)
        add_part(&new, &block, 0, 4 * EXT);
    assert_int_equal(compare(&old, &new, 0).gap, 0);
    assert_true(run(&old, &new).gap <= 4 * EXT); /* of the zeros nothing is known in time */
    buf_free(&block);
}

static void test_zeros(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_zeros(&old, 12 * EXT);
    add_zeros(&new, 16 * EXT + 77);
    assert_int_equal(run(&old, &new).gap, 77);
    /* Data, zeros, data; something is inserted at the start. */
    add_random(&old, 5 * EXT + 3, 1);
    add_zeros(&old, 20 * EXT);
    add_random(&old, 5 * EXT, 2);
    add_random(&new, 500, 3);
    add_part(&new, &old, 0, buf_len(&old));
    struct result r = run(&old, &new);
    assert_true(r.gap < 4 * EXT);
    assert_true(r.widest < 4 * EXT);
}

/* Extents that begin alike are told apart by their digests; one that is met for nothing, again and
 * again, is forgotten. */
static void test_anchors_met_for_nothing(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    for (int i = 0; i < 20; i++) {
        add_zeros(&old, MSG_EXTENT_WINDOW);
        add_random(&old, EXT - MSG_EXTENT_WINDOW, (uint32_t)i);
    }
    add_zeros(&new, 3 * EXT + 1000);
    add_part(&new, &old, 0, 20 * EXT);
    struct result r = run(&old, &new); /* all of it is accounted for, whatever was found */
    assert_true(r.reads < 4 * 25);
}

static void test_other_content(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    add_random(&old, 50 * EXT, 1);
    add_random(&new, 50 * EXT + 5, 2);
    struct result r = run(&old, &new);
    assert_int_equal(r.gap, 50 * EXT + 5);
    assert_true(r.gaps >= 4);
}

/* ---- random edits: a property, not a figure ---- */

static void edit_randomly(struct buf *old, struct buf *new, uint32_t *seed)
{
    for (size_t at = 0; at < buf_len(old);) {
        size_t n = random_next(seed) % (3 * EXT) + 1;
        size_t left = buf_len(old) - at;
        n = n < left ? n : left;
        switch (random_next(seed) % 6) {
        case 0: add_random(new, random_next(seed) % 3000, *seed); break; /* inserted */
        case 1: at += n / 2; break;                                      /* removed */
        case 2: add_zeros(new, n / 4); break;
        case 3: /* moved or doubled */
            add_part(new, old, random_next(seed) % buf_len(old) / 2, left / 4);
            break;
        default: add_part(new, old, at, n); at += n;
        }
    }
}

static void test_random_edits(void **state)
{
    (void)state;
    uint32_t seed = 42;
    for (int i = 0; i < 40; i++) {
        struct buf old = {0}, new = {0};
        size_t parts = random_next(&seed) % 4;
        for (size_t j = 0; j <= parts; j++) {
            add_random(&old, random_next(&seed) % (4 * EXT), random_next(&seed) % 4);
            add_zeros(&old, random_next(&seed) % (2 * EXT));
        }
        edit_randomly(&old, &new, &seed);
        run(&old, &new);
    }
}

/* ---- what the far end may get wrong ---- */

static struct extents *some(struct reading *reading, struct buf *new)
{
    add_random(new, 3 * EXT, 1);
    *reading = (struct reading){new, 0};
    return extents_new(buf_len(new), read_new, reading);
}

static int tell(struct extents *x, uint64_t size, size_t count, bool last)
{
    struct wire_writer items = {0};
    struct err err = {0};
    for (size_t i = 0; i < count; i++)
        msg_extent_encode(&items, &(struct msg_extent){.anchor = i + 1});
    struct msg_extents m = {.size = size, .last = last, .items = {items.data, items.len}};
    int result = extents_add(x, &m, &err);
    assert_true(result == 0 || strncmp(err.text, "extents: ", 9) == 0);
    wire_free(&items);
    return result;
}

static void test_extents_that_contradict(void **state)
{
    (void)state;
    struct buf new = {0};
    struct reading reading;
    struct extents *x = some(&reading, &new);
    assert_int_equal(tell(x, 5 * EXT, 2, false), 0);
    assert_int_equal(extents_old_size(x), 5 * EXT);
    assert_int_equal(tell(x, 5 * EXT + 1, 2, false), -1); /* another size */
    assert_int_equal(tell(x, 5 * EXT, 4, false), -1);     /* too many */
    extents_free(x);
    x = extents_new(buf_len(&new), read_new, &reading);
    assert_int_equal(tell(x, EXT + 1, 2, true), 0);
    assert_int_equal(tell(x, EXT + 1, 0, true), -1); /* behind the last */
    struct extents_run run;
    struct err err;
    int more;
    while ((more = extents_next(x, &run, &err)) != EXTENTS_END)
        assert_true(more > 0 && (more != EXTENTS_RUN || !run.copy)); /* nothing is believed */
    extents_free(x);
    x = extents_new(buf_len(&new), read_new, &reading);
    assert_int_equal(tell(x, 5 * EXT, 0, true), 0); /* it could not be read after all */
    while ((more = extents_next(x, &run, &err)) != EXTENTS_END)
        assert_true(more > 0);
    extents_free(x);
    buf_free(&new);
    extents_free(NULL);
}

static ssize_t read_short(void *ctx, uint64_t at, void *p, struct digest *digest, struct err *err)
{
    (void)at;
    (void)p;
    (void)digest;
    return *(bool *)ctx ? err_set(err, ERR_FAILED, "no reading today") : 100;
}

static void test_reading_fails(void **state)
{
    (void)state;
    struct extents_run run;
    struct err err = {0};
    for (int fails = 0; fails < 2; fails++) {
        bool bad = fails;
        struct extents *x = extents_new(2 * EXT, read_short, &bad);
        assert_int_equal(extents_next(x, &run, &err), EXTENTS_WAITS);
        assert_int_equal(tell(x, 2 * EXT, 2, true), 0);
        assert_int_equal(extents_next(x, &run, &err), -1);
        assert_string_equal(err.text, fails ? "no reading today" : "the file became shorter");
        extents_free(x);
    }
}

static void test_pays(void **state)
{
    (void)state;
    const uint64_t small = EXTENTS_MIN_SIZE, most = (uint64_t)MSG_EXTENTS_MAX * EXT;
    assert_true(extents_pay(small, small));
    assert_false(extents_pay(small - 1, small));
    assert_false(extents_pay(small, small - 1));
    assert_true(extents_pay(small, most));
    assert_true(extents_pay(most, small));
    assert_false(extents_pay(most + 1, most));
}

/* As PROTOCOL.md has it; both ends must have the same. */
static void test_anchor(void **state)
{
    (void)state;
    struct gear gear;
    struct msg_extent e;
    uint8_t bytes[100] = {0};
    uint64_t expected = 0;
    gear_init(&gear);
    for (unsigned i = 0; i < 64; i++) {
        struct digest d;
        uint64_t value = 0;
        bytes[i] = (uint8_t)(i * 7);
        digest_plain(&bytes[i], 1, &d);
        for (unsigned j = 0; j < 8; j++)
            value = value << 8 | d.b[j];
        expected += value << (63 - i);
    }
    extent_of(&gear, bytes, sizeof bytes, &e);
    assert_true(e.anchor == expected);
    bytes[64] ^= 1;
    extent_of(&gear, bytes, 64, &e);
    assert_true(e.anchor == expected);
    extent_of(&gear, bytes, 63, &e);
    assert_true(e.anchor == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_insertion),
        cmocka_unit_test(test_removal),
        cmocka_unit_test(test_scattered_edits),
        cmocka_unit_test(test_edits_side_by_side),
        cmocka_unit_test(test_appends_and_cuts),
        cmocka_unit_test(test_small_insertions),
        cmocka_unit_test(test_moved_blocks),
        cmocka_unit_test(test_repeated_blocks),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_anchors_met_for_nothing),
        cmocka_unit_test(test_other_content),
        cmocka_unit_test(test_random_edits),
        cmocka_unit_test(test_extents_that_contradict),
        cmocka_unit_test(test_reading_fails),
        cmocka_unit_test(test_pays),
        cmocka_unit_test(test_anchor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
