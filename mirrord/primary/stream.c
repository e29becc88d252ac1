/* One file's content on its way: whole, or as a delta against the secondary's old file. Reads under
 * the rules of source.h, packs what shrinks, and ends in FINISH with the digest of what was read,
 * or in ABORT when the file changed meanwhile. */
#include <string.h>

#include "base/mem.h"
#include "primary/push_impl.h"
#include "tree/delta.h"

enum stream_state { SENDING_CONTENT, AWAITING_SIGNATURE, SENDING_DELTA };

struct stream {
    struct atom *atom;
    struct source *source;
    enum stream_state state;
    struct delta_make *delta;
    bool probed; /* zip: whether it is worthwhile has been decided */
    bool zip;
    bool eof;
    uint8_t *block; /* delta: what was read and not yet consumed */
    size_t block_len, block_at;
};

enum { RAW_MAX = 60 * 1024, DELTA_BLOCK = 64 * 1024 };

struct stream *stream_new(struct atom *a, struct source *source, bool delta)
{
    struct stream *t = mem_alloc(sizeof *t);
    t->atom = a;
    t->source = source;
    if (delta) {
        t->state = AWAITING_SIGNATURE;
        t->delta = delta_make_new();
        t->block = mem_alloc(DELTA_BLOCK);
    }
    return t;
}

void stream_free(struct stream *t)
{
    if (!t)
        return;
    source_free(t->source);
    delta_make_free(t->delta);
    free(t->block);
    free(t);
}

static void put_data(struct push *p, struct stream *t, uint8_t kind, const uint8_t *bytes, size_t n)
{
    struct msg_data m = {.atom = t->atom->number, .kind = kind, .encoding = ENCODING_RAW};
    size_t packed = t->zip ? zip_pack(p->zip, bytes, n, p->packed, RAW_MAX) : 0;
    if (packed) {
        m.encoding = ENCODING_ZSTD;
        m.content = (struct bytes){p->packed, packed};
        msg_put_data(&p->out, &m);
        return;
    }
    for (size_t at = 0; at < n; at += RAW_MAX) {
        m.content = (struct bytes){bytes + at, n - at < RAW_MAX ? n - at : RAW_MAX};
        msg_put_data(&p->out, &m);
    }
}

static void decide_zip(struct push *p, struct stream *t, const uint8_t *bytes, size_t n)
{
    if (t->probed)
        return;
    t->probed = true;
    t->zip = p->o->compress != 0 && zip_worthwhile(p->zip, bytes, n);
}

static enum stream_outcome give_up(struct push *p, struct stream *t)
{
    struct msg_abort m = {.atom = t->atom->number};
    msg_put_abort(&p->out, &m);
    return STREAM_CHANGED;
}

static enum stream_outcome finish(struct push *p, struct stream *t)
{
    struct atom *a = t->atom;
    if (source_settle(t->source, &a->record) != SOURCE_OK)
        return give_up(p, t);
    a->has_record = true;
    struct msg_finish m = {
        .atom = a->number, .digest = a->record.entry.digest, .size = a->record.entry.size};
    msg_put_finish(&p->out, &m);
    if (t->delta) {
        uint64_t matched, literal;
        delta_make_counts(t->delta, &matched, &literal);
        a->batch->ps->counts.matched += matched;
        a->batch->ps->counts.literal += literal;
    }
    return STREAM_DONE;
}

static int send_content(struct push *p, struct stream *t, struct err *err)
{
    ssize_t n = source_read(t->source, p->block, MSG_CHUNK_MAX, err);
    if (n < 0) {
        give_up(p, t);
        return -1;
    }
    if (n == 0)
        return finish(p, t);
    decide_zip(p, t, p->block, (size_t)n);
    put_data(p, t, DATA_CONTENT, p->block, (size_t)n);
    t->atom->batch->ps->counts.literal += (uint64_t)n;
    return STREAM_SENT;
}

static int read_block(struct stream *t, struct err *err)
{
    if (t->block_at < t->block_len || t->eof)
        return 0;
    ssize_t n = source_read(t->source, t->block, DELTA_BLOCK, err);
    if (n < 0)
        return -1;
    t->block_at = 0;
    t->block_len = (size_t)n;
    t->eof = n == 0;
    return 0;
}

/* Reads until a frame's worth of delta is made or the file ends. */
static int send_delta(struct push *p, struct stream *t, struct err *err)
{
    enum { READS = 2 }; /* per step, about a millisecond: equal content makes no delta */
    for (int i = 0; i < READS; i++) {
        size_t used = 0, made = 0;
        if (read_block(t, err) < 0) {
            give_up(p, t);
            return -1;
        }
        int r = delta_make_step(t->delta, t->block + t->block_at, t->block_len - t->block_at,
            t->eof, &used, p->block, RAW_MAX, &made, err);
        if (r < 0) { /* content that a delta does badly with: whole, then */
            t->atom->owed->whole = true;
            return give_up(p, t);
        }
        t->block_at += used;
        if (made) {
            decide_zip(p, t, p->block, made);
            put_data(p, t, DATA_DELTA, p->block, made);
        }
        if (r == DELTA_DONE)
            return finish(p, t);
        if (made)
            break;
    }
    return STREAM_SENT;
}

int stream_step(struct push *p, struct stream *t, struct err *err)
{
    switch (t->state) {
    case SENDING_CONTENT: return send_content(p, t, err);
    case AWAITING_SIGNATURE: return STREAM_WAITS;
    case SENDING_DELTA: return send_delta(p, t, err);
    }
    return STREAM_WAITS;
}

int stream_signature(struct stream *t, const struct msg_signature *m, struct err *err)
{
    if (t->state != AWAITING_SIGNATURE)
        return err_set(err, ERR_FAILED, "a signature that nobody asked for");
    if (m->none) {
        delta_make_free(TAKE_PTR(t->delta));
        t->state = SENDING_CONTENT;
        return 0;
    }
    if (delta_make_signature(t->delta, m->content.data, m->content.len, m->last, err) < 0)
        return -1;
    if (m->last)
        t->state = SENDING_DELTA;
    return 0;
}
