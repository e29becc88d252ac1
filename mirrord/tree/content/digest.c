/*
 * Digests of content and sums of digests; see digest.h.
 *
 * Knows how bytes become a digest: leaf by leaf, the leaves' digests gathered in an outer state
 * that the length closes. Does not know what is digested or what a digest is compared with.
 */
#include "tree/content/digest.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/io.h"
#include "base/mem.h"

struct digest_stream {
    XXH3_state_t *leaf;  /* of the leaf being filled */
    XXH3_state_t *outer; /* of the leaves before it */
    size_t filled;       /* bytes in the leaf; a full one is folded only when more comes */
    bool given;          /* it came as a digest, which is: */
    struct digest whole;
    uint64_t length;
};

static XXH3_state_t *new_state(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        abort(); /* half a kilobyte: the policy of mem.h */
    XXH3_128bits_reset(state);
    return state;
}

static void put(struct digest *out, XXH128_hash_t hash)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out->b, canonical.digest, sizeof out->b);
}

static void fold(XXH3_state_t *outer, XXH128_hash_t leaf)
{
    struct digest d;
    put(&d, leaf);
    XXH3_128bits_update(outer, d.b, sizeof d.b);
}

static void close_outer(XXH3_state_t *outer, uint64_t length, struct digest *out)
{
    uint64_t little = htole64(length);
    XXH3_128bits_update(outer, &little, sizeof little);
    put(out, XXH3_128bits_digest(outer));
}

struct digest_stream *digest_stream_new(void)
{
    struct digest_stream *s = mem_alloc(sizeof *s);
    s->leaf = new_state();
    s->outer = new_state();
    return s;
}

void digest_stream_free(struct digest_stream *s)
{
    if (!s)
        return;
    XXH3_freeState(s->leaf);
    XXH3_freeState(s->outer);
    free(s);
}

void digest_stream_reset(struct digest_stream *s)
{
    XXH3_128bits_reset(s->leaf);
    XXH3_128bits_reset(s->outer);
    s->filled = 0;
    s->given = false;
    s->length = 0;
}

static void last_leaf(const struct digest_stream *s, struct digest *out)
{
    if (s->given)
        *out = s->whole;
    else
        put(out, XXH3_128bits_digest(s->leaf));
}

/* A full leaf goes to those before it. */
static void next_leaf(struct digest_stream *s)
{
    struct digest d;
    last_leaf(s, &d);
    XXH3_128bits_update(s->outer, d.b, sizeof d.b);
    XXH3_128bits_reset(s->leaf);
    s->filled = 0;
    s->given = false;
}

void digest_stream_add(struct digest_stream *s, const void *p, size_t n)
{
    const uint8_t *at = p;
    s->length += n;
    while (n > 0) {
        if (s->filled == DIGEST_LEAF)
            next_leaf(s);
        size_t room = DIGEST_LEAF - s->filled;
        size_t piece = n < room ? n : room;
        XXH3_128bits_update(s->leaf, at, piece);
        s->filled += piece;
        at += piece;
        n -= piece;
    }
}

void digest_stream_add_leaf(struct digest_stream *s, const struct digest *leaf)
{
    if (s->filled == DIGEST_LEAF)
        next_leaf(s);
    s->whole = *leaf;
    s->given = true;
    s->filled = DIGEST_LEAF;
    s->length += DIGEST_LEAF;
}

uint64_t digest_stream_length(const struct digest_stream *s)
{
    return s->length;
}

void digest_stream_end(const struct digest_stream *s, struct digest *out)
{
    struct digest last;
    last_leaf(s, &last);
    if (s->length <= DIGEST_LEAF) {
        *out = last;
        return;
    }
    XXH3_state_t *outer = new_state(); /* a copy: the stream may go on */
    XXH3_copyState(outer, s->outer);
    XXH3_128bits_update(outer, last.b, sizeof last.b);
    close_outer(outer, s->length, out);
    XXH3_freeState(outer);
}

void digest_of(const void *p, size_t n, struct digest *out)
{
    if (n <= DIGEST_LEAF) {
        digest_plain(p, n, out);
        return;
    }
    XXH3_state_t *outer = new_state();
    for (size_t at = 0; at < n; at += DIGEST_LEAF)
        fold(outer,
            XXH3_128bits((const uint8_t *)p + at, n - at < DIGEST_LEAF ? n - at : DIGEST_LEAF));
    close_outer(outer, n, out);
    XXH3_freeState(outer);
}

/* Reads leaf after leaf into a buffer of at most one; outer gets all their digests. Returns as
 * digest_of_fd; the digest of the last leaf read is left in *last. */
static int read_leaves(int fd, uint64_t size, XXH3_state_t *outer, XXH128_hash_t *last)
{
    size_t cap = size < DIGEST_LEAF ? (size_t)size : DIGEST_LEAF;
    uint8_t *buffer CLEANUP_FREE = mem_resize(NULL, cap, 1);
    uint64_t at = 0;
    do {
        size_t want = size - at < cap ? (size_t)(size - at) : cap;
        ssize_t got = io_pread_full(fd, buffer, want, at);
        if (got < 0)
            return -1;
        if ((size_t)got < want)
            return 1;
        *last = XXH3_128bits(buffer, want);
        fold(outer, *last);
        at += want;
    } while (at < size);
    return 0;
}

int digest_of_fd(int fd, uint64_t size, struct digest *out, struct err *err)
{
    XXH3_state_t *outer = new_state();
    XXH128_hash_t last;
    int result = read_leaves(fd, size, outer, &last);
    if (result < 0)
        err_sys(err, errno, "read");
    else if (result == 0 && size <= DIGEST_LEAF)
        put(out, last);
    else if (result == 0)
        close_outer(outer, size, out);
    XXH3_freeState(outer);
    return result;
}

void digest_plain(const void *p, size_t n, struct digest *out)
{
    put(out, XXH3_128bits(p, n));
}

/* A digest as the number whose big-endian bytes it holds. */
static unsigned __int128 number(const struct digest *d)
{
    uint64_t half[2];
    memcpy(half, d->b, sizeof half);
    return (unsigned __int128)be64toh(half[0]) << 64 | be64toh(half[1]);
}

static void put_number(struct digest *d, unsigned __int128 n)
{
    uint64_t half[2] = {htobe64((uint64_t)(n >> 64)), htobe64((uint64_t)n)};
    memcpy(d->b, half, sizeof half);
}

void digest_add(struct digest *sum, const struct digest *d)
{
    put_number(sum, number(sum) + number(d));
}

void digest_subtract(struct digest *sum, const struct digest *d)
{
    put_number(sum, number(sum) - number(d));
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

bool digest_is_doubt(const struct digest *d)
{
    return digest_equal(d, &(struct digest){0});
}
