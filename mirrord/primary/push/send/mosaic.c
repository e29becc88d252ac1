/*
 * A file sent as pieces of the far end's old one: copies, content, and deltas of single ranges.
 *
 * The new file is compared as fast as the old one's extents come in; the pieces that are found wait
 * in the order in which they are to be sent. A gap that is worth it waits for the signature of the
 * range that it resembles; those of the gaps behind it are asked for meanwhile. Where deltas have
 * found nothing so far, no more are tried.
 *
 * Where the old file is known here, nothing is waited for: all of its extents are there from the
 * start, and gaps are first looked through for its blocks. Only what is left in long pieces is
 * worth a question then.
 */
#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "primary/push/send/stream_impl.h"
#include "tree/content/extents.h"

enum {
    COMPARE_STEP = 4 << 20, /* bytes of the new file compared in one step */
    PIECES_MAX = 1024,      /* that wait */
    ASKED_MAX = 16,         /* signatures asked for and not used up */
    COPY_MAX = 8 << 20,     /* a copy that long is sent, whatever comes next */
    BLOCK = 64 * 1024,
    GAP_MIN = 4096,            /* smaller ones are sent as they are … */
    GAP_KNOWN_MIN = 64 * 1024, /* … and what is left of them once blocks were looked for */
    RANGE_MIN = 1024,          /* and what resembles less than a block */
    RANGE_RATIO = 32,          /* or so much that its signature is as long as the gap */
    SUMS_RATIO = 4,            /* a signature is at most this part of its range … */
    SUMS_MORE = 4096,          /* … and so many bytes more */
    TRIAL = 8 << 20,           /* after so many bytes, deltas must have found … */
    TRIAL_RATIO = 16,          /* … this part of them */
};

enum piece_state {
    PIECE_COPY,
    PIECE_CONTENT,
    PIECE_WANTED, /* a signature, not asked for yet */
    PIECE_ASKED,
    PIECE_SIGNED,
};

struct piece {
    TAILQ_ENTRY(piece) next;
    struct extents_run run;
    enum piece_state state;
    struct delta_make *delta; /* ASKED, SIGNED */
    uint64_t sums;            /* bytes of its signature so far */
    uint64_t sent;            /* bytes of the new file */
    bool begun;               /* its RANGE_BASE is out */
};

TAILQ_HEAD(piece_list, piece);

struct mosaic {
    struct stream *t;
    struct extents *extents;
    struct piece_list pieces;
    unsigned count, asked;
    bool compared;         /* all of the new file */
    uint64_t tried, found; /* bytes of gaps that deltas were made of; what of it they matched */
};

static ssize_t read_leaf(void *ctx, uint64_t at, void *p, struct digest *digest, struct err *err)
{
    return source_read_leaf(((struct stream *)ctx)->source, at, p, digest, err);
}

struct mosaic *mosaic_new(struct stream *t)
{
    struct mosaic *m = mem_alloc(sizeof *m);
    m->t = t;
    m->extents = extents_new((uint64_t)source_stat(t->source)->st_size, read_leaf, t);
    TAILQ_INIT(&m->pieces);
    if (t->base) {
        size_t count;
        const struct msg_extent *all = outline_extents(t->base, &count);
        extents_know(m->extents, outline_size(t->base), all, count);
    }
    return m;
}

static void drop_first(struct mosaic *m)
{
    struct piece *c = TAILQ_FIRST(&m->pieces);
    TAILQ_REMOVE(&m->pieces, c, next);
    m->count--;
    m->asked -= c->delta != NULL;
    delta_make_free(c->delta);
    free(c);
}

void mosaic_free(struct mosaic *m)
{
    if (!m)
        return;
    while (!TAILQ_EMPTY(&m->pieces))
        drop_first(m);
    extents_free(m->extents);
    free(m);
}

int mosaic_extents(struct mosaic *m, const struct msg_extents *e, struct err *err)
{
    return extents_add(m->extents, e, err);
}

/* They come in the order in which they were asked for. */
int mosaic_signature(struct mosaic *m, const struct msg_signature *s, struct err *err)
{
    struct piece *c;
    TAILQ_FOREACH (c, &m->pieces, next)
        if (c->state == PIECE_ASKED)
            break;
    if (!c)
        return err_set(err, ERR_FAILED, "a signature that nobody asked for");
    if (s->none) {
        delta_make_free(TAKE_PTR(c->delta));
        m->asked--;
        c->state = PIECE_CONTENT;
        return 0;
    }
    c->sums += s->content.len;
    if (c->sums > c->run.range / SUMS_RATIO + SUMS_MORE)
        return err_set(err, ERR_FAILED, "a signature that is too long for its range");
    if (delta_make_signature(c->delta, s->content.data, s->content.len, s->last, err) < 0)
        return -1;
    if (s->last)
        c->state = PIECE_SIGNED;
    return 0;
}

/* --- comparing --- */

static bool delta_is_worth_it(const struct mosaic *m, const struct extents_run *run)
{
    uint64_t least = m->t->base ? GAP_KNOWN_MIN : GAP_MIN;
    return run->length >= least && run->range >= RANGE_MIN &&
           run->range / RANGE_RATIO < run->length;
}

static bool goes_on(const struct piece *last, const struct extents_run *run)
{
    return last && last->state == PIECE_COPY && run->copy && last->sent == 0 &&
           last->run.from + last->run.length == run->from && last->run.length < COPY_MAX;
}

static void add_piece(struct mosaic *m, const struct extents_run *run)
{
    struct piece *last = TAILQ_LAST(&m->pieces, piece_list);
    if (goes_on(last, run)) {
        last->run.length += run->length;
        return;
    }
    struct piece *c = mem_alloc(sizeof *c);
    c->run = *run;
    c->state = run->copy ? PIECE_COPY : delta_is_worth_it(m, run) ? PIECE_WANTED : PIECE_CONTENT;
    TAILQ_INSERT_TAIL(&m->pieces, c, next);
    m->count++;
}

static void take_run(void *ctx, const struct extents_run *run)
{
    add_piece(ctx, run);
}

/* A gap, where the old file's blocks are known. Its bytes were read to compare them, and are at
 * hand. */
static int refine(struct mosaic *m, const struct extents_run *run, struct err *err)
{
    uint8_t *bytes CLEANUP_FREE = mem_resize(NULL, run->length, 1);
    ssize_t n = source_read_again(m->t->source, run->at, bytes, run->length, err);
    if (n < 0)
        return -1;
    if ((uint64_t)n < run->length)
        return err_set(err, ERR_FAILED, "the file became shorter");
    outline_refine(m->t->base, run, bytes, take_run, m);
    return 0;
}

/* The digest is of all bytes, also of a few at the end that nothing could be compared with. */
static int read_rest(struct mosaic *m, struct err *err)
{
    uint8_t *bytes CLEANUP_FREE = mem_resize(NULL, 1, MSG_EXTENT);
    struct digest leaf;
    uint64_t at;
    while (!source_all_read(m->t->source, &at)) {
        ssize_t n = source_read_leaf(m->t->source, at, bytes, &leaf, err);
        if (n <= 0)
            return n < 0 ? -1 : 0; /* it became shorter, which will be noticed */
    }
    return 0;
}

/* Some more of the new file: 1 something was done, 0 there is nothing to do now, -1. */
static int compare_some(struct mosaic *m, struct err *err)
{
    uint64_t bytes = 0;
    struct extents_run run;
    int more = EXTENTS_WAITS;
    if (m->compared || m->count >= PIECES_MAX)
        return 0;
    while (bytes < COMPARE_STEP && (more = extents_next(m->extents, &run, err)) == EXTENTS_RUN) {
        if (run.copy || !m->t->base)
            add_piece(m, &run);
        else if (refine(m, &run, err) < 0)
            return -1;
        bytes += run.length;
    }
    if (more < 0)
        return -1;
    m->compared = more == EXTENTS_END;
    if (m->compared && read_rest(m, err) < 0)
        return -1;
    return bytes > 0 || more != EXTENTS_WAITS;
}

/* --- sending --- */

static void put_range(struct push *p, struct mosaic *m, uint8_t use, const struct extents_run *run)
{
    msg_put_range(&p->out, &(struct msg_range){m->t->atom->number, use, run->from, run->range});
}

/* Asks for signatures, or decides to do without. */
static void ask(struct push *p, struct mosaic *m)
{
    struct piece *c;
    bool in_vain = m->tried >= TRIAL && m->found < m->tried / TRIAL_RATIO;
    TAILQ_FOREACH (c, &m->pieces, next) {
        if (c->state != PIECE_WANTED)
            continue;
        if (in_vain) {
            c->state = PIECE_CONTENT;
        } else if (m->asked < ASKED_MAX) {
            c->state = PIECE_ASKED;
            c->delta = delta_make_new();
            m->asked++;
            put_range(p, m, RANGE_SIGN, &c->run);
        } else {
            break;
        }
    }
}

/* A copy may still grow while nothing follows it. */
static bool is_ready(const struct mosaic *m, const struct piece *c)
{
    if (c->state == PIECE_COPY)
        return m->compared || TAILQ_NEXT(c, next) || c->run.length >= COPY_MAX;
    return c->state == PIECE_CONTENT || c->state == PIECE_SIGNED;
}

/* The next bytes of a piece; fewer at its end. The file became shorter: an error. */
static ssize_t read_piece(
    struct mosaic *m, const struct piece *c, uint8_t *p, size_t n, struct err *err)
{
    uint64_t left = c->run.length - c->sent;
    size_t want = left < n ? (size_t)left : n;
    ssize_t got = source_read_again(m->t->source, c->run.at + c->sent, p, want, err);
    return got >= 0 && (size_t)got < want ? err_set(err, ERR_FAILED, "the file became shorter")
                                          : got;
}

/* Each of these: 1 the piece is done, 0 there is more of it, -1. */
static int send_copy(struct push *p, struct mosaic *m, struct piece *c)
{
    c->run.range = c->run.length;
    put_range(p, m, RANGE_COPY, &c->run);
    m->t->atom->batch->ps->counts.matched += c->run.length;
    return 1;
}

static int send_bytes(struct push *p, struct mosaic *m, struct piece *c, struct err *err)
{
    ssize_t n = read_piece(m, c, p->block, MSG_CHUNK_MAX, err);
    if (n < 0)
        return -1;
    stream_put_data(p, m->t, DATA_CONTENT, p->block, (size_t)n);
    m->t->atom->batch->ps->counts.literal += (uint64_t)n;
    c->sent += (uint64_t)n;
    return c->sent == c->run.length;
}

static void count_delta(struct mosaic *m, const struct piece *c)
{
    uint64_t matched, literal;
    struct push_counts *counts = &m->t->atom->batch->ps->counts;
    delta_make_counts(c->delta, &matched, &literal);
    counts->matched += matched;
    counts->literal += literal;
    m->tried += c->run.length;
    m->found += matched;
}

static int send_delta(struct push *p, struct mosaic *m, struct piece *c, struct err *err)
{
    size_t used = 0, made = 0;
    if (!c->begun)
        put_range(p, m, RANGE_BASE, &c->run);
    c->begun = true;
    ssize_t n = read_piece(m, c, m->t->block, BLOCK, err);
    if (n < 0)
        return -1;
    bool end = c->sent + (uint64_t)n == c->run.length;
    int more = delta_make_step(
        c->delta, m->t->block, (size_t)n, end, &used, p->block, STREAM_RAW_MAX, &made, err);
    if (more < 0) { /* content that a delta does badly with: whole, then */
        m->t->atom->owed->whole = true;
        return -1;
    }
    c->sent += used;
    if (made)
        stream_put_data(p, m->t, DATA_DELTA, p->block, made);
    if (more == DELTA_DONE)
        count_delta(m, c);
    return more == DELTA_DONE;
}

static int send_piece(struct push *p, struct mosaic *m, struct piece *c, struct err *err)
{
    switch (c->state) {
    case PIECE_COPY: return send_copy(p, m, c);
    case PIECE_CONTENT: return send_bytes(p, m, c, err);
    case PIECE_SIGNED: return send_delta(p, m, c, err);
    default: return 0;
    }
}

/* The file changed, or cannot be read (-1), or deltas do badly with it. */
static int give_up(struct push *p, struct stream *t, struct err *err)
{
    stream_give_up(p, t);
    if (err->sys)
        return -1;
    err_clear(err);
    return STREAM_CHANGED;
}

int mosaic_step(struct push *p, struct stream *t, struct err *err)
{
    struct mosaic *m = t->mosaic;
    struct piece *c = TAILQ_FIRST(&m->pieces);
    if (c && is_ready(m, c)) {
        int done = send_piece(p, m, c, err);
        if (done > 0)
            drop_first(m);
        if (done >= 0)
            return STREAM_SENT;
        return give_up(p, t, err);
    }
    if (!c && m->compared)
        return stream_finish(p, t);
    int did = compare_some(m, err);
    if (did < 0)
        return give_up(p, t, err);
    ask(p, m);
    return did ? STREAM_SENT : STREAM_WAITS;
}
