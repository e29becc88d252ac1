/*
 * Finding an old file's extents in a new one; see extents.h.
 *
 * Follows the old file: after extent n comes n + 1. Where it does not, the same place one extent on
 * is tried (something was edited in place); else the gear hash rolls over what is there until it
 * meets an anchor, and every extent's length the one that would stand there is tried, too.
 *
 * An anchor that stands for several extents stands for the first of them: where they are equal, as
 * in runs of zeros, that one is as good as any. One that keeps being met for nothing is forgotten,
 * so that content made on purpose costs a few digests an extent, not one a byte.
 */
#include "tree/content/extents.h"

#include <string.h>

#include "base/mem.h"
#include "tree/content/digest.h"

enum {
    LEAVES = 8,          /* extents of the new file in memory */
    ROLL_STEP = 1 << 20, /* bytes that are rolled over in one call */
    /* How far an anchor is looked for while not all of them are known, then once again. */
    ROLL_AHEAD = 16 * MSG_EXTENT,
    GAP_RATIO = 4, /* what a gap resembles is at most so many times as long, and an extent */
    TRIES = 4,     /* an anchor is met for nothing so often */
    FILTER_BITS = 20,
    ROUND = 2 << 20, /* what is added to the range of a part of a gap, on both sides */
};

_Static_assert((int)MSG_EXTENT == (int)DIGEST_LEAF, "leaves of the digest serve as extents");

struct known {
    struct msg_extent e;
    uint8_t tries;
};

struct extents {
    struct gear gear;
    extents_read *read;
    void *ctx;
    uint64_t new_size, old_size;

    struct known *known;
    size_t count, cap;
    bool told; /* old_size counts */
    bool complete;
    uint32_t *slots; /* by anchor: number of the extent and 1; 0: free */
    unsigned slot_bits;
    uint64_t *filter; /* a bit for the uppermost bits of each anchor */

    uint8_t *bytes; /* LEAVES extents of the new file, from … */
    uint64_t start; /* … here, a multiple of MSG_EXTENT */
    size_t held;
    struct digest leaf[LEAVES];

    uint64_t pos;  /* runs were given up to here */
    uint64_t next; /* the extent that should come now */
    uint64_t used; /* the old file's byte behind what was copied last */

    bool rolling; /* from pos, where `next` is not */
    bool again;   /* when all extents are known */
    uint64_t roll;
    size_t roll_known; /* how many extents were, when it began */

    uint64_t gap_end; /* > pos: a gap that is being given, of all … */
    uint64_t gap_start, gap_from, gap_range;
    int64_t gap_front, gap_back;
};

/* --- gear --- */

void gear_init(struct gear *g)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        struct digest d;
        digest_plain(&byte, 1, &d);
        g->of[i] = 0;
        for (unsigned j = 0; j < 8; j++)
            g->of[i] = g->of[i] << 8 | d.b[j];
    }
}

static uint64_t gear_hash(const struct gear *g, const uint8_t *p, size_t n)
{
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++)
        h = (h << 1) + g->of[p[i]];
    return h;
}

void extent_of(const struct gear *g, const void *p, size_t n, struct msg_extent *out)
{
    digest_plain(p, n, &out->digest);
    out->anchor = n >= MSG_EXTENT_WINDOW ? gear_hash(g, p, MSG_EXTENT_WINDOW) : 0;
}

bool extents_pay(uint64_t old_size, uint64_t new_size)
{
    return old_size >= EXTENTS_MIN_SIZE && new_size >= EXTENTS_MIN_SIZE &&
           msg_extent_count(old_size) <= MSG_EXTENTS_MAX;
}

/* --- the old file's extents --- */

struct extents *extents_new(uint64_t new_size, extents_read *read, void *ctx)
{
    struct extents *x = mem_alloc(sizeof *x);
    gear_init(&x->gear);
    x->new_size = new_size;
    x->read = read;
    x->ctx = ctx;
    x->bytes = mem_resize(NULL, LEAVES, MSG_EXTENT);
    x->filter = mem_array((1 << FILTER_BITS) / 64, sizeof *x->filter);
    return x;
}

void extents_free(struct extents *x)
{
    if (!x)
        return;
    free(x->known);
    free(x->slots);
    free(x->filter);
    free(x->bytes);
    free(x);
}

uint64_t extents_old_size(const struct extents *x)
{
    return x->old_size;
}

static uint32_t *slot_of(const struct extents *x, uint64_t anchor)
{
    uint64_t mask = ((uint64_t)1 << x->slot_bits) - 1;
    uint64_t i = (anchor * 0x9e3779b97f4a7c15u) >> (64 - x->slot_bits);
    while (x->slots[i] && x->known[x->slots[i] - 1].e.anchor != anchor)
        i = (i + 1) & mask;
    return &x->slots[i];
}

static bool filter_has(const struct extents *x, uint64_t anchor)
{
    uint64_t bit = anchor >> (64 - FILTER_BITS);
    return x->filter[bit / 64] >> (bit % 64) & 1;
}

static void index_add(struct extents *x, size_t number)
{
    uint64_t anchor = x->known[number].e.anchor;
    if (anchor == 0)
        return; /* shorter than the window, or never met again */
    uint32_t *slot = slot_of(x, anchor);
    if (*slot)
        return;
    *slot = (uint32_t)number + 1;
    uint64_t bit = anchor >> (64 - FILTER_BITS);
    x->filter[bit / 64] |= (uint64_t)1 << (bit % 64);
}

/* Room for one more, the index at most half full. */
static void grow(struct extents *x)
{
    if (x->count < x->cap)
        return;
    x->cap = x->cap ? 2 * x->cap : 512;
    x->known = mem_resize(x->known, x->cap, sizeof *x->known);
    free(x->slots);
    for (x->slot_bits = 1; (size_t)1 << x->slot_bits < 2 * x->cap;)
        x->slot_bits++;
    x->slots = mem_array((size_t)1 << x->slot_bits, sizeof *x->slots);
    for (size_t i = 0; i < x->count; i++)
        index_add(x, i);
}

int extents_add(struct extents *x, const struct msg_extents *m, struct err *err)
{
    if (x->complete || (x->told && m->size != x->old_size))
        return err_set(err, ERR_FAILED, "extents: not of the file that was announced");
    x->told = true;
    x->old_size = m->size;
    struct wire_reader r = wire_reader_of(m->items.data, m->items.len);
    while (r.pos < r.len) {
        if (x->count >= msg_extent_count(m->size))
            return err_set(err, ERR_FAILED, "extents: more than the file has");
        grow(x);
        x->known[x->count].tries = 0;
        msg_extent_decode(&r, &x->known[x->count].e);
        index_add(x, x->count++);
    }
    x->complete = m->last;
    return 0;
}

void extents_know(struct extents *x, uint64_t old_size, const struct msg_extent *all, size_t count)
{
    x->told = x->complete = true;
    x->old_size = old_size;
    for (size_t i = 0; i < count; i++) {
        grow(x);
        x->known[x->count] = (struct known){.e = all[i]};
        index_add(x, x->count++);
    }
}

static size_t length_of(const struct extents *x, uint64_t number)
{
    uint64_t left = x->old_size - number * MSG_EXTENT;
    return left < MSG_EXTENT ? (size_t)left : MSG_EXTENT;
}

/* --- the new file's bytes --- */

static int fill(struct extents *x, struct err *err)
{
    uint64_t at = x->start + x->held, left = x->new_size - at;
    ssize_t n = x->read(x->ctx, at, x->bytes + x->held, &x->leaf[x->held / MSG_EXTENT], err);
    if (n < 0)
        return -1;
    if ((uint64_t)n < (left < MSG_EXTENT ? left : MSG_EXTENT))
        return err_set(err, ERR_FAILED, "the file became shorter");
    x->held += (size_t)n;
    return 0;
}

/* Drops what lies before the extent that `from` is in. */
static void let_go(struct extents *x, uint64_t from)
{
    uint64_t keep = from / MSG_EXTENT * MSG_EXTENT;
    if (keep < x->start || keep >= x->start + x->held) {
        x->start = keep;
        x->held = 0;
        return;
    }
    size_t gone = (size_t)(keep - x->start);
    memmove(x->bytes, x->bytes + gone, x->held - gone);
    memmove(x->leaf, x->leaf + gone / MSG_EXTENT, (LEAVES - gone / MSG_EXTENT) * sizeof x->leaf[0]);
    x->start = keep;
    x->held -= gone;
}

/* n ≤ 3 extents of the new file from `from` on; NULL with err. They are there until the next call.
 */
static const uint8_t *look(struct extents *x, uint64_t from, size_t n, struct err *err)
{
    if (from < x->start || from >= x->start + x->held ||
        from + n > x->start + (uint64_t)LEAVES * MSG_EXTENT)
        let_go(x, from);
    while (x->start + x->held < from + n)
        if (fill(x, err) < 0)
            return NULL;
    return x->bytes + (from - x->start);
}

/* Does this extent stand at `at` in the new file? 1, 0, -1. */
static int stands(struct extents *x, uint64_t at, uint64_t number, struct err *err)
{
    size_t n = length_of(x, number);
    struct digest d;
    if (n > x->new_size - at)
        return 0;
    const uint8_t *p = look(x, at, n, err);
    if (!p)
        return -1;
    uint64_t end = at + n;
    if (at % MSG_EXTENT == 0 && (n == MSG_EXTENT || end == x->new_size))
        d = x->leaf[(at - x->start) / MSG_EXTENT]; /* a whole leaf: has been digested */
    else
        digest_plain(p, n, &d);
    return digest_equal(&d, &x->known[number].e.digest);
}

/* --- following, rolling, giving --- */

static bool is_known(const struct extents *x, uint64_t number)
{
    return number < x->count;
}

/* Must be waited for: it is going to be known. */
static bool is_due(const struct extents *x, uint64_t number)
{
    return !x->complete &&
           (!x->told || (!is_known(x, number) && number < msg_extent_count(x->old_size)));
}

static void begin_roll(struct extents *x)
{
    x->rolling = true;
    x->again = false;
    x->roll = x->pos;
    x->roll_known = x->count;
}

/* The range of the old file that a gap of n bytes resembles: what lies between the extents around
 * it; where that is much more, or they are in another order, what the next one follows. */
static void guess(struct extents *x, uint64_t n, uint64_t next)
{
    uint64_t end = is_known(x, next) ? next * MSG_EXTENT : x->old_size;
    uint64_t most = GAP_RATIO * n + MSG_EXTENT;
    x->gap_from = x->used;
    if (end < x->used || end - x->used > most)
        x->gap_from = !is_known(x, next) ? x->used : end < n ? 0 : end - n;
    x->gap_range = end - x->gap_from < most ? end - x->gap_from : most;
}

/* What lies between pos and here is a gap, which may be empty; `next` follows it. */
static int found(struct extents *x, uint64_t at, uint64_t next)
{
    if (at - x->pos > MSG_EXTENT && x->count > x->roll_known) {
        begin_roll(x); /* those that came meanwhile may stand further in front */
        return EXTENTS_MORE;
    }
    guess(x, at - x->pos, next);
    x->gap_front = (int64_t)(x->used - x->pos);
    x->gap_back = (int64_t)((is_known(x, next) ? next * MSG_EXTENT : x->old_size) - at);
    x->rolling = x->again = false;
    x->next = next;
    x->gap_start = x->pos;
    x->gap_end = at;
    return EXTENTS_MORE;
}

/* The part of the gap's range that this part of the gap resembles. */
static void choose_range(const struct extents *x, struct extents_run *out)
{
    uint64_t all = x->gap_end - x->gap_start, before = out->at - x->gap_start;
    out->from = x->gap_from;
    out->range = x->gap_range;
    if (out->length < all) {
        double scale = (double)x->gap_range / (double)all;
        uint64_t low = (uint64_t)((double)before * scale);
        uint64_t high = (uint64_t)((double)(before + out->length) * scale) + ROUND;
        low = low > ROUND ? low - ROUND : 0;
        high = high < x->gap_range ? high : x->gap_range;
        out->from = x->gap_from + (low < high ? low : high);
        out->range = low < high ? high - low : 0;
    }
    if (out->range > MSG_RANGE_MAX)
        out->range = MSG_RANGE_MAX;
}

static int give_gap(struct extents *x, struct extents_run *out)
{
    uint64_t left = x->gap_end - x->pos;
    *out = (struct extents_run){.at = x->pos, .front = x->gap_front, .back = x->gap_back};
    out->length = left < EXTENTS_GAP_MAX ? left : EXTENTS_GAP_MAX;
    choose_range(x, out);
    x->pos += out->length;
    return EXTENTS_RUN;
}

static int give_copy(struct extents *x, struct extents_run *out)
{
    size_t n = length_of(x, x->next);
    *out = (struct extents_run){
        .copy = true, .at = x->pos, .length = n, .from = x->next * MSG_EXTENT, .range = n};
    x->pos += n;
    x->used = out->from + n;
    x->next++;
    return EXTENTS_RUN;
}

/* The extent that should come now; where it does not, a gap begins. */
static int follow(struct extents *x, struct extents_run *out, struct err *err)
{
    if (is_due(x, x->next))
        return EXTENTS_WAITS;
    int here = is_known(x, x->next) ? stands(x, x->pos, x->next, err) : 0;
    if (here < 0)
        return -1;
    if (here)
        return give_copy(x, out);
    begin_roll(x);
    return EXTENTS_MORE;
}

/* An anchor was met here: is it its extent? 1 with *number, 0, -1. */
static int verify(struct extents *x, uint64_t at, uint64_t hash, uint64_t *number, struct err *err)
{
    uint32_t slot = x->count ? *slot_of(x, hash) : 0;
    if (!slot || x->known[slot - 1].tries >= TRIES)
        return 0;
    *number = slot - 1;
    int here = stands(x, at, *number, err);
    if (here == 0)
        x->known[*number].tries++;
    return here;
}

/* The extent that stands here if nothing was inserted or removed since pos. 1 with *number, 0, -1;
 * EXTENTS_WAITS. */
static int in_place(struct extents *x, uint64_t at, uint64_t *number, struct err *err)
{
    *number = x->next + (at - x->pos) / MSG_EXTENT;
    if (at >= x->new_size)
        return 0;
    if (is_due(x, *number))
        return EXTENTS_WAITS;
    return is_known(x, *number) ? stands(x, at, *number, err) : 0;
}

/* Rolls from x->roll to `end`, at most an extent on: 1 with *number where x->roll then is, 0, -1.
 */
static int roll(struct extents *x, uint64_t end, uint64_t *number, struct err *err)
{
    uint64_t from = x->roll;
    size_t n = (size_t)(end - from) + MSG_EXTENT_WINDOW - 1;
    const uint8_t *p = look(x, from, n, err);
    if (!p)
        return -1;
    uint64_t h = gear_hash(&x->gear, p, MSG_EXTENT_WINDOW - 1);
    for (; x->roll < end; x->roll++) {
        h = (h << 1) + x->gear.of[p[x->roll - from + MSG_EXTENT_WINDOW - 1]];
        if (!filter_has(x, h))
            continue;
        int here = verify(x, x->roll, h, number, err);
        if (here != 0)
            return here;
        p = look(x, from, n, err);
        if (!p)
            return -1;
    }
    return 0;
}

/* What was looked through so far is looked through again when all extents are known. */
static int wait_for_all(struct extents *x)
{
    x->again = true;
    return EXTENTS_WAITS;
}

/* Rolls to the next border, an extent's length after the last, and looks what stands there. */
static int search(struct extents *x, struct err *err)
{
    uint64_t number, border = x->pos + ((x->roll - x->pos) / MSG_EXTENT + 1) * MSG_EXTENT;
    uint64_t last = x->new_size < MSG_EXTENT_WINDOW ? 0 : x->new_size - MSG_EXTENT_WINDOW + 1;
    uint64_t end = border < last ? border : last;
    if (x->roll == x->pos) {
        int here = in_place(x, border, &number, err);
        if (here != 0)
            return here == 1 ? found(x, border, number) : here;
    }
    int here = x->roll < end ? roll(x, end, &number, err) : 0;
    if (here != 0)
        return here == 1 ? found(x, x->roll, number) : here;
    if (end < border)
        return x->complete ? found(x, x->new_size, x->count) : wait_for_all(x);
    here = in_place(x, border, &number, err);
    if (here == EXTENTS_WAITS)
        x->roll = border - 1; /* to come here again */
    return here == 0 ? EXTENTS_MORE : here == 1 ? found(x, border, number) : here;
}

/* Looks for where the old file goes on. */
static int search_some(struct extents *x, struct err *err)
{
    if (x->again && x->complete)
        begin_roll(x);
    uint64_t start = x->roll;
    int result = EXTENTS_MORE;
    while (result == EXTENTS_MORE && x->rolling && x->roll - start < ROLL_STEP) {
        if (!x->complete && (x->again || x->roll - x->pos >= ROLL_AHEAD))
            return wait_for_all(x);
        result = search(x, err);
    }
    return result;
}

int extents_next(struct extents *x, struct extents_run *out, struct err *err)
{
    if (x->gap_end > x->pos)
        return give_gap(x, out);
    if (x->pos == x->new_size)
        return EXTENTS_END;
    return x->rolling ? search_some(x, err) : follow(x, out, err);
}
