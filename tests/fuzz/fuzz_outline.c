/*
 * An outline from this host's state, and a gap refined by it. The first bytes are the two shifts of
 * the gap (little endian, 32 bits each), the rest is the outline without the digest at its end,
 * which no search would hit. Whatever is believed, it comes out as it was, and the gap is accounted
 * for by ranges of the known file and gaps.
 */
#include <string.h>

#include "tests/fuzz/replay.h"

#include "tree/content/digest.h"
#include "tree/content/outline.h"

enum {
    HEAD = 8,
    GAP = 5 * OUTLINE_BLOCK + 100, /* bytes, all 'x' as in the seeds */
    START = 3 * OUTLINE_BLOCK + 7, /* of the gap, in the new file */
};

struct covered {
    const struct outline *o;
    const struct extents_run *gap;
    uint64_t at; /* what comes next */
};

static void check(void *ctx, const struct extents_run *run)
{
    struct covered *c = ctx;
    uint64_t size = outline_size(c->o);
    FUZZ_REQUIRE(run->at == c->at && run->length > 0);
    FUZZ_REQUIRE(run->length <= c->gap->at + c->gap->length - run->at);
    FUZZ_REQUIRE(run->from <= size && run->range <= size - run->from);
    FUZZ_REQUIRE(!run->copy || run->range == run->length);
    c->at += run->length;
}

static int64_t shift_of(const uint8_t *p)
{
    uint32_t n = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return (int32_t)n;
}

static void refine(const struct outline *o, int64_t front, int64_t back)
{
    uint8_t bytes[GAP];
    struct extents_run gap = {.at = START, .length = GAP, .front = front, .back = back};
    struct covered covered = {o, &gap, gap.at};
    memset(bytes, 'x', sizeof bytes);
    outline_refine(o, &gap, bytes, check, &covered);
    FUZZ_REQUIRE(covered.at == gap.at + gap.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_writer bytes = {0}, again = {0};
    struct digest sum;
    if (size < HEAD)
        return 0;
    digest_plain(data + HEAD, size - HEAD, &sum);
    wire_raw(&bytes, data + HEAD, size - HEAD);
    wire_raw(&bytes, sum.b, sizeof sum.b);
    struct outline *o = outline_decode((struct bytes){bytes.data, bytes.len});
    if (o) {
        outline_encode(o, &again);
        FUZZ_REQUIRE(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
        refine(o, shift_of(data), shift_of(data + 4));
    }
    outline_unref(o);
    wire_free(&bytes);
    wire_free(&again);
    return 0;
}
