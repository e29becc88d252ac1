/*
 * Signature, delta and patch: over kinds of edits, sizes and the pieces in which the bytes come,
 * and with every kind of bad input that the far end could send.
 */
#include "tree/content/delta.h"

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

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"

enum { KIB = 1024, MIB = 1024 * 1024, HEADER = 12 };

static const size_t chunks[] = {1, 2, 3, 7, 15, 4096, 65536};
enum { CHUNKS = sizeof chunks / sizeof chunks[0] };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static uint32_t random_next(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

static void random_append(struct buf *b, size_t n, uint32_t seed)
{
    uint8_t *p = buf_room(b, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)random_next(&seed);
    buf_fill(b, n);
}

static int file_of(const struct buf *b)
{
    int fd = memfd_create("delta", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, buf_bytes(b), buf_len(b)), 0);
    return fd;
}

/* ---- the three jobs, run in pieces of a given size ---- */

static void sign(const struct buf *old, size_t cap, struct buf *signature)
{
    int fd CLEANUP_FD = file_of(old);
    struct delta_sign *s = delta_sign_new(fd, buf_len(old));
    struct err err = {0};
    int result;
    do {
        size_t n = 0;
        result = delta_sign_step(s, buf_room(signature, cap), cap, &n, &err);
        assert_true(result >= 0);
        buf_fill(signature, n);
    } while (result == DELTA_MORE);
    delta_sign_free(s);
}

static struct delta_make *make_with(const struct buf *signature, size_t chunk)
{
    struct delta_make *d = delta_make_new();
    struct err err = {0};
    size_t len = buf_len(signature);
    for (size_t at = 0, n; at < len; at += n) {
        n = smaller(chunk, len - at);
        assert_int_equal(
            delta_make_signature(d, buf_bytes(signature) + at, n, at + n == len, &err), 0);
    }
    return d;
}

static void make(const struct buf *signature, const struct buf *new, size_t in, size_t out,
    struct buf *delta, uint64_t *matched, uint64_t *literal)
{
    struct delta_make *d = make_with(signature, in);
    struct err err = {0};
    int result = DELTA_MORE;
    for (size_t at = 0; result == DELTA_MORE;) {
        size_t n = smaller(in, buf_len(new) - at), used = 0, produced = 0;
        bool eof = at + n == buf_len(new);
        result = delta_make_step(d, n ? buf_bytes(new) + at : NULL, n, eof, &used,
            buf_room(delta, out), out, &produced, &err);
        assert_true(result >= 0);
        assert_true(used == n || produced == out);
        buf_fill(delta, produced);
        at += used;
        if (result == DELTA_DONE)
            assert_int_equal(at, buf_len(new));
    }
    delta_make_counts(d, matched, literal);
    delta_make_free(d);
}

static int collect(void *ctx, const void *p, size_t n, struct err *err)
{
    (void)err;
    assert_true(n > 0);
    buf_append(ctx, p, n);
    return 0;
}

/* Returns the last step's result. */
static int patch(const struct buf *old, const struct buf *delta, size_t chunk, size_t limit,
    struct buf *result, struct err *err)
{
    int fd CLEANUP_FD = file_of(old);
    struct delta_patch *p = delta_patch_new(fd, collect, result);
    delta_patch_limit(p, limit);
    int state = DELTA_MORE;
    for (size_t at = 0, n; at < buf_len(delta) && state >= 0; at += n) {
        n = smaller(chunk, buf_len(delta) - at);
        state = delta_patch_step(p, buf_bytes(delta) + at, n, err);
        while (state == DELTA_BUSY) {
            size_t before = buf_len(result);
            state = delta_patch_step(p, NULL, 0, err);
            assert_true(buf_len(result) - before < limit + 64 * KIB);
        }
    }
    delta_patch_free(p);
    return state;
}

static void assert_equal_bytes(const struct buf *a, const struct buf *b)
{
    assert_int_equal(buf_len(a), buf_len(b));
    if (buf_len(a) > 0)
        assert_memory_equal(buf_bytes(a), buf_bytes(b), buf_len(a));
}

/* The whole way; returns the bytes sent as they are. */
static uint64_t round_trip(
    const struct buf *old, const struct buf *new, size_t chunk, size_t out, size_t limit)
{
    struct buf signature = {0}, delta = {0}, result = {0};
    uint64_t matched, literal;
    struct err err = {0};
    sign(old, out < KIB ? KIB : out, &signature);
    make(&signature, new, chunk, out, &delta, &matched, &literal);
    assert_int_equal(matched + literal, buf_len(new));
    assert_int_equal(patch(old, &delta, chunk, limit, &result, &err), DELTA_DONE);
    assert_equal_bytes(new, &result);
    if (chunk >= 4096) /* fed in crumbs, librsync makes crumbs of literals */
        assert_true(buf_len(&delta) <= literal + 64 + matched / 32 + literal / 32);
    buf_free(&signature);
    buf_free(&delta);
    buf_free(&result);
    return literal;
}

/* ---- edits ---- */

static void edit_insert(const struct buf *old, struct buf *new)
{
    size_t half = buf_len(old) / 2;
    buf_append(new, buf_bytes(old), half);
    buf_append(new, "inserted", 8);
    buf_append(new, buf_bytes(old) + half, buf_len(old) - half);
}

static void edit_delete(const struct buf *old, struct buf *new)
{
    size_t third = buf_len(old) / 3, from = smaller(third + 100, buf_len(old));
    buf_append(new, buf_bytes(old), third);
    buf_append(new, buf_bytes(old) + from, buf_len(old) - from);
}

static void edit_change(const struct buf *old, struct buf *new)
{
    buf_append(new, buf_bytes(old), buf_len(old));
    for (size_t i = buf_len(old) / 5, end = smaller(i + 50, buf_len(old)); i < end; i++)
        new->data[new->start + i] ^= 0x55;
}

static void edit_append(const struct buf *old, struct buf *new)
{
    buf_append(new, buf_bytes(old), buf_len(old));
    random_append(new, 777, 5);
}

static void edit_truncate(const struct buf *old, struct buf *new)
{
    buf_append(new, buf_bytes(old), buf_len(old) - buf_len(old) / 4);
}

static void edit_nothing(const struct buf *old, struct buf *new)
{
    buf_append(new, buf_bytes(old), buf_len(old));
}

static void edit_zeros(const struct buf *old, struct buf *new)
{
    memset(buf_room(new, buf_len(old)), 0, buf_len(old));
    buf_fill(new, buf_len(old));
}

static void edit_other(const struct buf *old, struct buf *new)
{
    random_append(new, buf_len(old), 99);
}

static void edit_empty(const struct buf *old, struct buf *new)
{
    (void)old;
    (void)new;
}

typedef void edit_fn(const struct buf *old, struct buf *new);
static const struct {
    edit_fn *edit;
    uint64_t literal; /* at most, for files of 64 KiB and more; 0: nothing to promise */
} edits[] = {
    {edit_insert, 8 * KIB},
    {edit_delete, 8 * KIB},
    {edit_change, 8 * KIB},
    {edit_append, 4 * KIB},
    {edit_truncate, 4 * KIB},
    {edit_nothing, 1},
    {edit_zeros, 0},
    {edit_other, 0},
    {edit_empty, 1},
};
enum { EDITS = sizeof edits / sizeof edits[0] };

static void run_edits(size_t size, size_t chunk, size_t out, size_t limit)
{
    size_t kinds = chunk < 7 && size >= 64 * KIB ? 2 : EDITS; /* crumbs take their time */
    for (size_t i = 0; i < kinds; i++) {
        struct buf old = {0}, new = {0};
        random_append(&old, size, 1);
        edits[i].edit(&old, &new);
        uint64_t literal = round_trip(&old, &new, chunk, out, limit);
        if (size >= 64 * KIB && edits[i].literal > 0)
            assert_true(literal < edits[i].literal);
        buf_free(&old);
        buf_free(&new);
    }
}

static void test_small_files(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 1023, 1024, 1025, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t c = 0; c < CHUNKS; c++) {
            run_edits(sizes[s], chunks[c], chunks[c], c % 2 ? 1 : 0);
            run_edits(sizes[s], chunks[c], chunks[CHUNKS - 1 - c], c % 2 ? 0 : 1);
        }
}

static void test_large_files(void **state)
{
    (void)state;
    static const size_t sizes[] = {64 * KIB, 64 * KIB + 1};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t c = 0; c < CHUNKS; c++)
            run_edits(sizes[s], chunks[c], chunks[CHUNKS - 1 - c], c % 2 ? 4096 : 0);
    run_edits(MIB + 7, 15, 65536, 0);
    run_edits(MIB + 7, 4096, 4096, 1);
    run_edits(MIB + 7, 65536, 1000, 0);
    run_edits(MIB + 7, 8 * MIB, 8 * MIB, 128 * KIB); /* one piece; over every inner bound */
}

/* Zeros to zeros: one block stands for all. */
static void test_zeros(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0};
    struct buf length = {.end = 300 * KIB + 5};
    edit_zeros(&length, &old);
    length.end = 200 * KIB;
    edit_zeros(&length, &new);
    assert_true(round_trip(&old, &new, 65536, 65536, 0) < 4 * KIB);
    buf_free(&old);
    buf_free(&new);
}

static void test_can_sign(void **state)
{
    (void)state;
    const uint64_t gib = 1 << 30;
    assert_true(delta_can_sign(0));
    assert_true(delta_can_sign(60 * gib));
    assert_false(delta_can_sign(65 * gib));
    assert_false(delta_can_sign(UINT64_MAX));
}

/* ---- bad signatures ---- */

static void put32(uint8_t *p, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(n >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Whether a signature is taken, and that a refusal has words and is final. */
static bool signature_taken(const void *p, size_t n)
{
    struct delta_make *d = delta_make_new();
    struct err err = {0};
    bool taken = delta_make_signature(d, p, n, true, &err) == 0;
    if (!taken) {
        size_t used, produced;
        char out[64];
        assert_memory_equal(err.text, "signature: ", 11);
        assert_int_equal(delta_make_signature(d, "", 0, true, &err), -1);
        assert_int_equal(
            delta_make_step(d, "x", 1, true, &used, out, sizeof out, &produced, &err), -1);
    }
    delta_make_free(d);
    return taken;
}

static void test_signature_header(void **state)
{
    (void)state;
    struct buf old = {0}, signature = {0};
    random_append(&old, 3000, 1);
    sign(&old, KIB, &signature);
    uint8_t *header = signature.data + signature.start;
    size_t len = buf_len(&signature);
    assert_int_equal(get32(header + 4), KIB);
    assert_int_equal(len, HEADER + 3 * (4 + get32(header + 8)));
    assert_true(signature_taken(header, len));
    static const uint32_t bad[][2] = {{0, 0}, {0, 0x72730136}, {0, 0xffffffff}, {4, 0}, {4, 255},
        {4, 65537}, {4, 0x80000000}, {4, 0xffffffff}, {8, 0}, {8, 7}, {8, 33}, {8, 0xffffffff}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t good = get32(header + bad[i][0]);
        put32(header + bad[i][0], bad[i][1]);
        assert_false(signature_taken(header, len));
        put32(header + bad[i][0], good);
    }
    buf_free(&old);
    buf_free(&signature);
}

/* A signature cut between two blocks cannot be told from one of a shorter file; any other can. */
static void test_signature_truncated(void **state)
{
    (void)state;
    struct buf old = {0}, signature = {0};
    random_append(&old, 3000, 1);
    sign(&old, KIB, &signature);
    size_t entry = 4 + get32(buf_bytes(&signature) + 8);
    for (size_t cut = 0; cut < buf_len(&signature); cut++) {
        bool whole = cut >= HEADER && (cut - HEADER) % entry == 0;
        assert_int_equal(signature_taken(buf_bytes(&signature), cut), whole);
    }
    buf_free(&old);
    buf_free(&signature);
}

static void test_signature_too_long(void **state)
{
    (void)state;
    struct buf old = {0}, signature = {0};
    struct err err = {0};
    sign(&old, KIB, &signature);
    struct delta_make *d = delta_make_new();
    assert_int_equal(
        delta_make_signature(d, buf_bytes(&signature), buf_len(&signature), false, &err), 0);
    struct buf more = {0};
    random_append(&more, MIB, 3);
    for (int i = 0; i < 15; i++)
        assert_int_equal(delta_make_signature(d, buf_bytes(&more), MIB, false, &err), 0);
    assert_int_equal(delta_make_signature(d, buf_bytes(&more), MIB - HEADER, false, &err), 0);
    assert_int_equal(delta_make_signature(d, buf_bytes(&more), 1, false, &err), -1);
    assert_int_equal(delta_make_signature(d, buf_bytes(&more), SIZE_MAX, false, &err), -1);
    delta_make_free(d);
    buf_free(&old);
    buf_free(&signature);
    buf_free(&more);
}

static void test_steps_out_of_turn(void **state)
{
    (void)state;
    struct buf old = {0}, signature = {0};
    struct err err = {0};
    struct delta_make *d = delta_make_new();
    size_t used, produced;
    uint64_t matched = 1, literal = 1;
    char out[64];
    delta_make_counts(d, &matched, &literal);
    assert_true(matched == 0 && literal == 0);
    assert_int_equal(delta_make_step(d, "x", 1, true, &used, out, sizeof out, &produced, &err), -1);
    delta_make_free(d);
    sign(&old, KIB, &signature);
    d = make_with(&signature, 5);
    assert_int_equal(delta_make_signature(d, "x", 1, false, &err), -1);
    delta_make_free(d);
    d = make_with(&signature, 12);
    int result = delta_make_step(d, "x", 1, true, &used, out, sizeof out, &produced, &err);
    assert_int_equal(result, DELTA_DONE);
    assert_int_equal(delta_make_step(d, "", 0, true, &used, out, sizeof out, &produced, &err), -1);
    delta_make_free(d);
    buf_free(&signature);
}

static uint32_t rolling_sum(int byte, size_t n)
{
    uint32_t sum = 1; /* librsync's Rabin-Karp */
    while (n-- > 0)
        sum = sum * 0x08104225u + (uint32_t)byte;
    return sum;
}

static void assert_takes_too_long(const struct buf *signature, size_t chunk)
{
    struct delta_make *d = make_with(signature, chunk);
    static char content[MIB], out[2 * MIB];
    memset(content, 'a', sizeof content);
    struct err err = {0};
    size_t used = 0, produced = 0;
    assert_int_equal(
        delta_make_step(d, content, sizeof content, true, &used, out, sizeof out, &produced, &err),
        -1);
    assert_string_equal(err.text, "delta: this content takes too long to compare");
    delta_make_free(d);
}

/* One block with the rolling sum of the new content's every place but other bytes: a strong sum for
 * each byte. It must give up, and soon. */
static void test_hostile_content(void **state)
{
    (void)state;
    struct buf signature = {0};
    uint8_t *p = buf_room(&signature, HEADER + 16);
    memset(p, 0, HEADER + 16);
    put32(p, 0x72730147);
    put32(p + 4, 32 * KIB);
    put32(p + 8, 12);
    put32(p + HEADER, rolling_sum('a', 32 * KIB));
    buf_fill(&signature, HEADER + 16);
    assert_takes_too_long(&signature, KIB);
    buf_free(&signature);
}

/* As many blocks as a range may have, all with the rolling sum of the new content's every place:
 * each place is compared with all of them. */
static void test_equal_weak_sums(void **state)
{
    (void)state;
    enum { BLOCKS = 16 * KIB };
    struct buf signature = {0};
    uint8_t *p = buf_room(&signature, HEADER + BLOCKS * 16);
    memset(p, 0, HEADER + BLOCKS * 16);
    put32(p, 0x72730147);
    put32(p + 4, KIB);
    put32(p + 8, 12);
    for (size_t i = 0; i < BLOCKS; i++) {
        put32(p + HEADER + i * 16, rolling_sum('a', KIB));
        put32(p + HEADER + i * 16 + 4, (uint32_t)i);
    }
    buf_fill(&signature, HEADER + BLOCKS * 16);
    assert_takes_too_long(&signature, MIB);
    buf_free(&signature);
}

static void test_free_early(void **state)
{
    (void)state;
    struct buf old = {0}, signature = {0};
    struct err err = {0};
    random_append(&old, 300 * KIB, 1);
    sign(&old, KIB, &signature);
    int fd CLEANUP_FD = file_of(&old);
    size_t n;
    char out[KIB];
    struct delta_sign *s = delta_sign_new(fd, buf_len(&old));
    assert_int_equal(delta_sign_step(s, out, sizeof out, &n, &err), DELTA_MORE);
    delta_sign_free(s);
    struct delta_make *d = delta_make_new();
    assert_int_equal(delta_make_signature(d, buf_bytes(&signature), 100, false, &err), 0);
    delta_make_free(d);
    struct delta_patch *p = delta_patch_new(fd, collect, NULL);
    assert_int_equal(delta_patch_step(p, "rs\2", 3, &err), DELTA_MORE);
    delta_patch_free(p);
    delta_sign_free(NULL);
    delta_make_free(NULL);
    delta_patch_free(NULL);
    buf_free(&old);
    buf_free(&signature);
}

static void test_sign_errors(void **state)
{
    (void)state;
    struct buf old = {0};
    random_append(&old, 5000, 1);
    int fd CLEANUP_FD = file_of(&old);
    struct err err = {0};
    size_t n;
    char out[KIB];
    struct delta_sign *s = delta_sign_new(fd, 5001);
    assert_int_equal(delta_sign_step(s, out, sizeof out, &n, &err), -1);
    assert_string_equal(err.text, "signature: the file became shorter");
    assert_int_equal(delta_sign_step(s, out, sizeof out, &n, &err), -1);
    delta_sign_free(s);
    s = delta_sign_new(-1, 5000);
    assert_int_equal(delta_sign_step(s, out, sizeof out, &n, &err), -1);
    assert_string_equal(err.text, "signature: read: Bad file descriptor");
    delta_sign_free(s);
    buf_free(&old);
}

/* Of a large file, a step reads about 1 MiB however much room there is for the result. */
static void test_sign_step_is_short(void **state)
{
    (void)state;
    int fd CLEANUP_FD = memfd_create("delta", MFD_CLOEXEC);
    const uint64_t size = 4ull << 30;
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    struct delta_sign *s = delta_sign_new(fd, size);
    struct err err = {0};
    static char out[256 * KIB];
    size_t n = 0;
    assert_int_equal(delta_sign_step(s, out, sizeof out, &n, &err), DELTA_MORE);
    assert_int_equal(get32((uint8_t *)out + 4), 64 * KIB);
    assert_true(n > HEADER + 8 * 16 && n < HEADER + 20 * 16);
    delta_sign_free(s);
}

/* ---- bad deltas ---- */

/* The format: magic, then commands: 0 ends; 1 to 0x40 are that many bytes as they are, 0x41 to 0x44
 * with a length of 1, 2, 4, 8 bytes; 0x45 to 0x54 copy, with 1, 2, 4, 8 bytes of offset times the
 * same of length. */
static int patch_bytes(const void *commands, size_t n, struct buf *result, struct err *err)
{
    struct buf old = {0}, in = {0};
    random_append(&old, 1000, 1);
    buf_append(&in, "rs\2\x36", 4);
    buf_append(&in, commands, n);
    int state = patch(&old, &in, n + 4, 0, result, err);
    buf_free(&old);
    buf_free(&in);
    return state;
}

#define PATCH(text, result, err) patch_bytes(text, sizeof(text) - 1, result, err)

static void test_delta_by_hand(void **state)
{
    (void)state;
    struct buf old = {0}, result = {0};
    struct err err = {0};
    random_append(&old, 1000, 1);
    assert_int_equal(PATCH("\0", &result, &err), DELTA_DONE);
    assert_int_equal(buf_len(&result), 0);
    assert_int_equal(PATCH("\3abc\0", &result, &err), DELTA_DONE);
    assert_int_equal(buf_len(&result), 3);
    assert_int_equal(PATCH("\3abc", &result, &err), DELTA_MORE); /* no end yet */
    buf_clear(&result);
    assert_int_equal(PATCH("\x46\x03\x03\xe5\0", &result, &err), DELTA_DONE); /* to the last byte */
    assert_int_equal(buf_len(&result), 997);
    assert_memory_equal(buf_bytes(&result), buf_bytes(&old) + 3, 997);
    buf_free(&old);
    buf_free(&result);
}

static void assert_malformed(const char *commands, size_t n)
{
    struct buf result = {0};
    struct err err = {0};
    assert_int_equal(patch_bytes(commands, n, &result, &err), -1);
    assert_memory_equal(err.text, "delta: ", 7);
    assert_true(buf_len(&result) <= 1000);
    buf_free(&result);
}

#define MALFORMED(text) assert_malformed(text, sizeof(text) - 1)

static void test_delta_malformed(void **state)
{
    (void)state;
    MALFORMED("\x55");                                       /* no such command */
    MALFORMED("\xff");                                       /* nor this */
    MALFORMED("\0x");                                        /* behind the end */
    MALFORMED("\3abc\0\0");                                  /* a second end */
    MALFORMED("\x46\x03\x03\xe6\0");                         /* one byte beyond the old file */
    MALFORMED("\x4a\xff\xff\x00\x01\0");                     /* far beyond */
    MALFORMED("\x45\x01\x00\0");                             /* nothing to copy */
    MALFORMED("\x41\x00\0");                                 /* nothing literal */
    MALFORMED("\x44\xff\xff\xff\xff\xff\xff\xff\xff");       /* a negative length */
    MALFORMED("\x51\x7f\xff\xff\xff\xff\xff\xff\xff\x02\0"); /* wraps around */
    MALFORMED("\x51\x80\x00\x00\x00\x00\x00\x00\x00\x02\0"); /* a negative offset */
    MALFORMED("\x48\x00\xff\xff\xff\xff\xff\xff\xff\xff\0");
}

/* Lengths that an int cannot hold: fail, and neither loop nor copy what was not asked for. */
static void test_delta_long_copies(void **state)
{
    (void)state;
    MALFORMED("\x48\x00\x40\x00\x00\x00\x00\x00\x00\x00\0"); /* 2^62 */
    MALFORMED("\x48\x00\x7f\xff\xff\xff\xff\xff\xff\xff\0");
    MALFORMED("\x48\x00\x00\x00\x00\x01\x00\x00\x00\x00\0"); /* 2^32 */
    MALFORMED("\x48\x00\x00\x00\x00\x01\x00\x00\x00\x0a\0"); /* 2^32 + 10 */
    MALFORMED("\x47\x00\x80\x00\x00\x00\0");                 /* 2^31 */
    MALFORMED("\x47\x00\xff\xff\xff\xff\0");
}

static void test_delta_bad_magic(void **state)
{
    (void)state;
    struct buf old = {0}, in = {0}, result = {0};
    struct err err = {0};
    buf_append(&in, "rs\2\x37\0", 5);
    assert_int_equal(patch(&old, &in, 1, 0, &result, &err), -1);
    assert_memory_equal(err.text, "delta: ", 7);
    buf_free(&in);
}

struct sample {
    struct buf old, new, delta;
};

static struct sample sample_new(void)
{
    struct sample s = {0};
    struct buf signature = {0};
    uint64_t matched, literal;
    random_append(&s.old, 4000, 1);
    edit_insert(&s.old, &s.new);
    sign(&s.old, KIB, &signature);
    make(&signature, &s.new, 4096, 4096, &s.delta, &matched, &literal);
    buf_free(&signature);
    return s;
}

static void sample_free(struct sample *s)
{
    buf_free(&s->old);
    buf_free(&s->new);
    buf_free(&s->delta);
}

static void test_delta_truncated(void **state)
{
    (void)state;
    struct sample s = sample_new();
    size_t whole = buf_len(&s.delta);
    assert_true(whole > 1000); /* a block sent as it is, and copies */
    for (size_t cut = 0; cut < whole; cut++) {
        struct buf result = {0};
        struct err err = {0};
        s.delta.end = s.delta.start + cut;
        assert_int_equal(patch(&s.old, &s.delta, 100, 0, &result, &err), DELTA_MORE);
        assert_true(buf_len(&result) <= buf_len(&s.new));
        buf_free(&result);
    }
    sample_free(&s);
}

/* Wrong bytes give an error, a wrong file or one without an end, nothing worse; most of the time
 * and under sanitizers this is what the test is for. What comes out stays in proportion. */
static void test_corrupted(void **state)
{
    (void)state;
    struct sample s = sample_new();
    size_t refused = 0;
    for (size_t i = 0; i < buf_len(&s.delta); i++)
        for (int bit = 0; bit < 8; bit += 1 + (i > 40) * 3) {
            struct buf result = {0};
            struct err err = {0};
            s.delta.data[s.delta.start + i] ^= (uint8_t)(1 << bit);
            refused += patch(&s.old, &s.delta, 4096, 0, &result, &err) < 0;
            s.delta.data[s.delta.start + i] ^= (uint8_t)(1 << bit);
            assert_true(buf_len(&result) < 4000 * buf_len(&s.delta));
            buf_free(&result);
        }
    assert_true(refused > 32); /* the magic at least */
    sample_free(&s);
}

static void test_signature_corrupted(void **state)
{
    (void)state;
    struct buf old = {0}, new = {0}, signature = {0};
    random_append(&old, 4000, 1);
    edit_insert(&old, &new);
    sign(&old, KIB, &signature);
    for (size_t i = HEADER; i < buf_len(&signature); i++) { /* sums: only matches get lost */
        struct buf delta = {0}, result = {0};
        struct err err = {0};
        uint64_t matched, literal;
        signature.data[signature.start + i] ^= 0x10;
        make(&signature, &new, 4096, 4096, &delta, &matched, &literal);
        assert_int_equal(patch(&old, &delta, 4096, 0, &result, &err), DELTA_DONE);
        assert_equal_bytes(&new, &result);
        signature.data[signature.start + i] ^= 0x10;
        buf_free(&delta);
        buf_free(&result);
    }
    buf_free(&old);
    buf_free(&new);
    buf_free(&signature);
}

static int refuse(void *ctx, const void *p, size_t n, struct err *err)
{
    (void)p;
    size_t *room = ctx;
    if (n > *room)
        return err_set(err, ERR_FAILED, "no more room");
    *room -= n;
    return 0;
}

static void test_sink_refuses(void **state)
{
    (void)state;
    struct buf old = {0};
    random_append(&old, 200 * KIB, 1);
    int fd CLEANUP_FD = file_of(&old);
    size_t room = 100 * KIB;
    struct err err = {0};
    struct delta_patch *p = delta_patch_new(fd, refuse, &room);
    /* the whole old file, ten times */
    assert_int_equal(delta_patch_step(p, "rs\2\x36", 4, &err), DELTA_MORE);
    int result = DELTA_MORE;
    for (int i = 0; i < 10 && result == DELTA_MORE; i++)
        result = delta_patch_step(p, "\x47\x00\x00\x03\x20\x00", 6, &err);
    assert_int_equal(result, -1);
    assert_string_equal(err.text, "no more room");
    assert_int_equal(delta_patch_step(p, "\0", 1, &err), -1);
    delta_patch_free(p);
    buf_free(&old);
}

/* Both ends keep to a part of the file: offsets count from its start, its end is an end. */
static void test_ranges(void **state)
{
    (void)state;
    enum { AT = 12345, LENGTH = 20 * KIB };
    struct buf old = {0}, range = {0}, new = {0}, whole = {0}, part = {0}, delta = {0}, out = {0};
    uint64_t matched, literal;
    struct err err = {0};
    random_append(&old, 100 * KIB, 1);
    buf_append(&range, buf_bytes(&old) + AT, LENGTH);
    edit_insert(&range, &new);
    sign(&range, KIB, &whole);
    int fd CLEANUP_FD = file_of(&old);
    struct delta_sign *s = delta_sign_new(fd, LENGTH);
    size_t n;
    delta_sign_from(s, AT);
    assert_int_equal(delta_sign_step(s, buf_room(&part, 64 * KIB), 64 * KIB, &n, &err), DELTA_DONE);
    buf_fill(&part, n);
    assert_equal_bytes(&whole, &part);
    delta_sign_free(s);
    make(&part, &new, 65536, 65536, &delta, &matched, &literal);
    struct delta_patch *p = delta_patch_new(fd, collect, &out);
    delta_patch_range(p, AT, LENGTH);
    assert_int_equal(delta_patch_step(p, buf_bytes(&delta), buf_len(&delta), &err), DELTA_DONE);
    assert_equal_bytes(&new, &out);
    delta_patch_free(p);
    for (uint64_t length = 99; length <= 100; length++) { /* a copy of 100 bytes */
        p = delta_patch_new(fd, collect, &out);
        delta_patch_range(p, AT, length);
        int result = delta_patch_step(p, "rs\2\x36\x45\0\x64\0", 8, &err);
        assert_int_equal(result, length == 100 ? DELTA_DONE : -1);
        delta_patch_free(p);
    }
    buf_free(&old);
    buf_free(&range);
    buf_free(&new);
    buf_free(&whole);
    buf_free(&part);
    buf_free(&delta);
    buf_free(&out);
}

static void test_old_file_unreadable(void **state)
{
    (void)state;
    struct buf result = {0};
    struct err err = {0};
    struct delta_patch *p = delta_patch_new(-1, collect, &result);
    assert_int_equal(delta_patch_step(p, "rs\2\x36\x45\x00\x01", 7, &err), -1);
    assert_string_equal(err.text, "delta: read the old file: Bad file descriptor");
    delta_patch_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_files),
        cmocka_unit_test(test_large_files),
        cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_can_sign),
        cmocka_unit_test(test_signature_header),
        cmocka_unit_test(test_signature_truncated),
        cmocka_unit_test(test_signature_too_long),
        cmocka_unit_test(test_signature_corrupted),
        cmocka_unit_test(test_steps_out_of_turn),
        cmocka_unit_test(test_hostile_content),
        cmocka_unit_test(test_equal_weak_sums),
        cmocka_unit_test(test_free_early),
        cmocka_unit_test(test_sign_errors),
        cmocka_unit_test(test_sign_step_is_short),
        cmocka_unit_test(test_delta_by_hand),
        cmocka_unit_test(test_delta_malformed),
        cmocka_unit_test(test_delta_long_copies),
        cmocka_unit_test(test_delta_bad_magic),
        cmocka_unit_test(test_delta_truncated),
        cmocka_unit_test(test_corrupted),
        cmocka_unit_test(test_sink_refuses),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_old_file_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
