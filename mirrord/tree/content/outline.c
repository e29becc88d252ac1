/*
 * What is known of a file's content; see outline.h. Bytes come in pieces of any length: a block or
 * an extent that they end in is completed by the next ones.
 */
#include "tree/content/outline.h"

#include <string.h>

#include "base/mem.h"
#include "tree/content/digest.h"

enum { AROUND = 64 * 1024 }; /* of what a gap resembles, on both sides of where it should be */

_Static_assert(MSG_EXTENT % OUTLINE_BLOCK == 0, "an extent is whole blocks");

struct making { /* while the content is read */
    struct gear gear;
    struct digest_stream *leaf;  /* of the extent that is not complete */
    uint8_t part[OUTLINE_BLOCK]; /* of the block that is not complete */
};

struct outline {
    unsigned refs;
    uint64_t size, done; /* bytes, and of these seen */
    struct digest digest;
    struct making *making; /* NULL: settled */
    size_t count;
    struct msg_extent *extents;
    uint64_t *blocks;
};

static uint64_t block_count(uint64_t size)
{
    return size / OUTLINE_BLOCK + (size % OUTLINE_BLOCK != 0);
}

size_t outline_memory(uint64_t size)
{
    return sizeof(struct outline) + msg_extent_count(size) * sizeof(struct msg_extent) +
           block_count(size) * sizeof(uint64_t);
}

struct outline *outline_new(uint64_t size)
{
    struct outline *o = mem_alloc(sizeof *o);
    o->refs = 1;
    o->size = size;
    o->making = mem_alloc(sizeof *o->making);
    gear_init(&o->making->gear);
    o->making->leaf = digest_stream_new();
    o->extents = mem_array(msg_extent_count(size), sizeof *o->extents);
    o->blocks = mem_array(block_count(size), sizeof *o->blocks);
    return o;
}

struct outline *outline_ref(struct outline *o)
{
    o->refs++;
    return o;
}

static void end_making(struct outline *o)
{
    if (o->making)
        digest_stream_free(o->making->leaf);
    free(TAKE_PTR(o->making));
}

void outline_unref(struct outline *o)
{
    if (!o || --o->refs > 0)
        return;
    end_making(o);
    free(o->extents);
    free(o->blocks);
    free(o);
}

static uint64_t hash_of(const void *p, size_t n)
{
    struct digest d;
    uint64_t hash;
    digest_plain(p, n, &d);
    memcpy(&hash, d.b, sizeof hash);
    return hash;
}

/* Bytes that begin a block, a whole one or the file's last. */
static void take_block(struct outline *o, const uint8_t *p, size_t n)
{
    uint64_t at = o->done / OUTLINE_BLOCK * OUTLINE_BLOCK;
    o->blocks[at / OUTLINE_BLOCK] = hash_of(p, n);
    if (at % MSG_EXTENT != 0)
        return;
    struct msg_extent first; /* its digest is not yet the extent's */
    extent_of(&o->making->gear, p, n, &first);
    o->extents[at / MSG_EXTENT].anchor = first.anchor;
}

static size_t least(size_t a, uint64_t b)
{
    return b < a ? (size_t)b : a;
}

/* Hashes the blocks among these bytes, none of which goes beyond the size. */
static void take_blocks(struct outline *o, const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t begun = o->done % OUTLINE_BLOCK;
        size_t whole = least(OUTLINE_BLOCK, o->size - (o->done - begun));
        size_t piece = least(n, whole - begun);
        bool alone = begun == 0 && piece == whole;
        if (!alone)
            memcpy(o->making->part + begun, p, piece);
        if (begun + piece == whole)
            take_block(o, alone ? p : o->making->part, whole);
        o->done += piece;
        p += piece;
        n -= piece;
    }
}

/* The extent that ends here. */
static void end_leaf(struct outline *o, const struct digest *leaf)
{
    o->extents[o->count++].digest = *leaf;
    digest_stream_reset(o->making->leaf);
}

void outline_add(struct outline *o, const void *p, size_t n)
{
    const uint8_t *at = p;
    n = least(n, o->size - o->done);
    while (n > 0) {
        uint64_t start = (uint64_t)o->count * MSG_EXTENT;
        size_t whole = least(MSG_EXTENT, o->size - start);
        size_t piece = least(n, start + whole - o->done);
        digest_stream_add(o->making->leaf, at, piece);
        take_blocks(o, at, piece);
        if (o->done == start + whole) {
            struct digest leaf;
            digest_stream_end(o->making->leaf, &leaf);
            end_leaf(o, &leaf);
        }
        at += piece;
        n -= piece;
    }
}

void outline_add_leaf(struct outline *o, const void *p, size_t n, const struct digest *leaf)
{
    uint64_t left = o->size - o->done;
    if (o->done % MSG_EXTENT != 0 || n != least(MSG_EXTENT, left)) {
        outline_add(o, p, n);
        return;
    }
    take_blocks(o, p, n);
    end_leaf(o, leaf);
}

bool outline_settle(struct outline *o, const struct digest *digest)
{
    o->digest = *digest;
    end_making(o);
    return o->done == o->size;
}

uint64_t outline_size(const struct outline *o)
{
    return o->size;
}

const struct digest *outline_digest(const struct outline *o)
{
    return &o->digest;
}

const struct msg_extent *outline_extents(const struct outline *o, size_t *count)
{
    *count = o->count;
    return o->extents;
}

/* --- as bytes --- */

static const char magic[] = "mirrord outline 1\n";

void outline_encode(const struct outline *o, struct wire_writer *w)
{
    struct digest sum;
    size_t start = w->len;
    wire_raw(w, magic, sizeof magic - 1);
    wire_raw(w, o->digest.b, sizeof o->digest.b);
    wire_u64(w, o->size);
    for (size_t i = 0; i < o->count; i++)
        msg_extent_encode(w, &o->extents[i]);
    for (uint64_t i = 0; i < block_count(o->size); i++)
        wire_u64(w, o->blocks[i]);
    digest_plain(w->data + start, w->len - start, &sum);
    wire_raw(w, sum.b, sizeof sum.b);
}

/* The bytes without the digest at their end, which is right; else none. */
static struct bytes undamaged(struct bytes b)
{
    struct digest sum;
    size_t n = b.len - sizeof sum;
    if (b.len < sizeof sum)
        return (struct bytes){0};
    digest_plain(b.data, n, &sum);
    bool equal = memcmp((const uint8_t *)b.data + n, sum.b, sizeof sum) == 0;
    return equal ? (struct bytes){b.data, n} : (struct bytes){0};
}

struct outline *outline_decode(struct bytes encoded)
{
    char head[sizeof magic - 1];
    struct digest digest = {0};
    struct bytes good = undamaged(encoded);
    struct wire_reader r = wire_reader_of(good.data, good.len);
    wire_get_raw(&r, head, sizeof head);
    wire_get_raw(&r, digest.b, sizeof digest.b);
    uint64_t size = wire_get_u64(&r);
    /* Memory for as much as there are bytes for. */
    if (r.bad || memcmp(head, magic, sizeof head) != 0 || size / OUTLINE_BLOCK > good.len)
        return NULL;
    struct outline *o = outline_new(size);
    for (o->count = 0; o->count < msg_extent_count(size); o->count++)
        msg_extent_decode(&r, &o->extents[o->count]);
    for (uint64_t i = 0; i < block_count(size); i++)
        o->blocks[i] = wire_get_u64(&r);
    o->done = size;
    if (wire_done(&r) && outline_settle(o, &digest))
        return o;
    outline_unref(o);
    return NULL;
}

/* --- refining --- */

struct refining {
    const struct outline *o;
    const struct extents_run *gap;
    const uint8_t *bytes;
    outline_take *take;
    void *ctx;
};

/* How many bytes from `at` of the new file, before `end`, are the blocks of the known one that the
 * shift leads to, the first of which begins there. */
static uint64_t equal_blocks(const struct refining *r, int64_t shift, uint64_t at, uint64_t end)
{
    uint64_t n = 0;
    for (;;) {
        uint64_t old = at + n + (uint64_t)shift;
        if (old >= r->o->size)
            return n;
        size_t block = least(OUTLINE_BLOCK, r->o->size - old);
        if (block > end - at - n ||
            hash_of(r->bytes + (at + n - r->gap->at), block) != r->o->blocks[old / OUTLINE_BLOCK])
            return n;
        n += block;
        if (block < OUTLINE_BLOCK)
            return n;
    }
}

static void give_copy(const struct refining *r, uint64_t at, uint64_t length, int64_t shift)
{
    r->take(r->ctx, &(struct extents_run){.copy = true,
                        .at = at,
                        .length = length,
                        .from = at + (uint64_t)shift,
                        .range = length});
}

/* What no block was found in resembles what should stand there, and a little around it. */
static void give_gap(const struct refining *r, uint64_t at, uint64_t length)
{
    struct extents_run run = *r->gap;
    if (length < run.length) {
        int64_t from = (int64_t)at + run.front - AROUND;
        run.at = at;
        run.length = length;
        run.from = from < 0 ? 0 : (uint64_t)from;
        if (run.from > r->o->size)
            run.from = r->o->size;
        run.range = least((size_t)length + 2 * AROUND, r->o->size - run.from);
    }
    r->take(r->ctx, &run);
}

static void cover(const struct refining *r, int64_t shift, uint64_t from, uint64_t end, bool again);

/* Nothing was found in front; perhaps it goes on as behind. */
static void give_rest(const struct refining *r, uint64_t from, uint64_t end, bool again)
{
    if (from < end && again && r->gap->back != r->gap->front)
        cover(r, r->gap->back, from, end, false);
    else if (from < end)
        give_gap(r, from, end - from);
}

/* Gives this part of the gap as blocks that the shift leads to and, between them, the rest. */
static void cover(const struct refining *r, int64_t shift, uint64_t from, uint64_t end, bool again)
{
    uint64_t done = from;
    /* The first place that a block of the known file belongs to. */
    uint64_t at = from + (OUTLINE_BLOCK - (from + (uint64_t)shift) % OUTLINE_BLOCK) % OUTLINE_BLOCK;
    while (at < end) {
        uint64_t n = equal_blocks(r, shift, at, end);
        if (n == 0) {
            at += OUTLINE_BLOCK;
            continue;
        }
        give_rest(r, done, at, again);
        give_copy(r, at, n, shift);
        at += n;
        done = at;
    }
    give_rest(r, done, end, again);
}

void outline_refine(const struct outline *o, const struct extents_run *gap, const uint8_t *bytes,
    outline_take *take, void *ctx)
{
    struct refining r = {o, gap, bytes, take, ctx};
    cover(&r, gap->front, gap->at, gap->at + gap->length, true);
}
