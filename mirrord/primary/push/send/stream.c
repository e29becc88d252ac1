/* One file's content on its way: whole, or as a delta against the secondary's old file. Reads under
 * the rules of source.h, packs what shrinks, and ends in FINISH with the digest of what was read,
 * or in ABORT when the file changed meanwhile. */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/push/send/stream_impl.h"

enum { DELTA_BLOCK = 64 * 1024 };

struct stream *stream_new(struct atom *a, struct source *source, bool delta, struct outline *base)
{
    struct stream *t = mem_alloc(sizeof *t);
    t->atom = a;
    t->source = source;
    if (base) {
        t->state = SENDING_MOSAIC;
        t->base = outline_ref(base);
        t->mosaic = mosaic_new(t);
    } else if (delta) {
        t->state = AWAITING_SIGNATURE;
        t->delta = delta_make_new();
    }
    if (base || delta)
        t->block = mem_alloc(DELTA_BLOCK);
    return t;
}

void stream_free(struct stream *t)
{
    if (!t)
        return;
    source_free(t->source);
    delta_make_free(t->delta);
    mosaic_free(t->mosaic);
    outline_unref(t->base);
    free(t->block);
    free(t);
}

static void decide_zip(struct push *p, struct stream *t, const uint8_t *bytes, size_t n)
{
    if (t->probed)
        return;
    t->probed = true;
    t->zip = p->o->compress != 0 && zip_worthwhile(p->packing.zip, bytes, n);
}

static void put_raw(struct wire_writer *w, struct msg_data *m, const uint8_t *bytes, size_t n)
{
    m->encoding = ENCODING_RAW;
    for (size_t at = 0; at < n; at += STREAM_RAW_MAX) {
        m->content = (struct bytes){bytes + at, n - at < STREAM_RAW_MAX ? n - at : STREAM_RAW_MAX};
        msg_put_data(w, m);
    }
}

static bool put_zstd(
    struct wire_writer *w, const struct packing *p, struct msg_data *m, struct bytes plain)
{
    size_t packed = packer_shrink(p, plain, STREAM_RAW_MAX);
    if (!packed)
        return false;
    m->encoding = ENCODING_ZSTD;
    m->content = (struct bytes){p->room, packed};
    msg_put_data(w, m);
    return true;
}

/* As one frame; what shrinks to more than one has room for, a font for example, as two. */
void stream_put_packed(
    struct wire_writer *w, const struct packing *p, struct msg_data *m, struct bytes plain)
{
    enum { HALF = MSG_CHUNK_MAX / 2 };
    if (put_zstd(w, p, m, plain))
        return;
    for (size_t at = 0; at < plain.len; at += HALF) {
        const uint8_t *bytes = (const uint8_t *)plain.data + at;
        size_t n = plain.len - at < HALF ? plain.len - at : HALF;
        if (plain.len <= HALF || !put_zstd(w, p, m, (struct bytes){bytes, n}))
            put_raw(w, m, bytes, n);
    }
}

void stream_put_data(struct push *p, struct stream *t, uint8_t kind, const uint8_t *bytes, size_t n)
{
    struct msg_data m = {.atom = t->atom->number, .kind = kind};
    decide_zip(p, t, bytes, n);
    if (!t->zip && !io_is_zeros(bytes, n)) /* a hole is next to nothing, whoever wants no zstd */
        put_raw(&p->out, &m, bytes, n);
    else if (!bundle_data(p, &m, bytes, n))
        stream_put_packed(&p->out, &p->packing, &m, (struct bytes){bytes, n});
}

enum stream_outcome stream_give_up(struct push *p, struct stream *t)
{
    struct msg_abort m = {.atom = t->atom->number};
    msg_put_abort(&p->out, &m);
    return STREAM_CHANGED;
}

enum stream_outcome stream_finish(struct push *p, struct stream *t)
{
    struct atom *a = t->atom;
    if (source_settle(t->source, &a->record) != SOURCE_OK)
        return stream_give_up(p, t);
    a->has_record = true;
    a->outline = source_take_outline(t->source);
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
        stream_give_up(p, t);
        return -1;
    }
    if (n == 0)
        return stream_finish(p, t);
    stream_put_data(p, t, DATA_CONTENT, p->block, (size_t)n);
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
            stream_give_up(p, t);
            return -1;
        }
        int r = delta_make_step(t->delta, t->block + t->block_at, t->block_len - t->block_at,
            t->eof, &used, p->block, STREAM_RAW_MAX, &made, err);
        if (r < 0) { /* content that a delta does badly with: whole, then */
            t->atom->owed->whole = true;
            err_clear(err);
            return stream_give_up(p, t);
        }
        t->block_at += used;
        if (made)
            stream_put_data(p, t, DATA_DELTA, p->block, made);
        if (r == DELTA_DONE)
            return stream_finish(p, t);
        if (made)
            break;
    }
    return STREAM_SENT;
}

int stream_step(struct push *p, struct stream *t, struct err *err)
{
    if (t->refused) {
        stream_give_up(p, t);
        return STREAM_REFUSED;
    }
    switch (t->state) {
    case SENDING_CONTENT: return send_content(p, t, err);
    case AWAITING_SIGNATURE: return STREAM_WAITS;
    case SENDING_DELTA: return send_delta(p, t, err);
    case SENDING_MOSAIC: return mosaic_step(p, t, err);
    }
    return STREAM_WAITS;
}

int stream_extents(struct stream *t, const struct msg_extents *m, struct err *err)
{
    if (t->base && m->last && !m->items.len && !t->refused) {
        t->refused = true;
        return 0;
    }
    if (t->state == AWAITING_SIGNATURE) {
        delta_make_free(TAKE_PTR(t->delta));
        t->mosaic = mosaic_new(t);
        t->state = SENDING_MOSAIC;
    }
    if (t->state != SENDING_MOSAIC || t->base)
        return err_set(err, ERR_FAILED, "extents that nobody asked for");
    return mosaic_extents(t->mosaic, m, err);
}

int stream_signature(struct stream *t, const struct msg_signature *m, struct err *err)
{
    if (t->state == SENDING_MOSAIC)
        return mosaic_signature(t->mosaic, m, err);
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
