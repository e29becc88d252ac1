/*
 * The messages of a batch: its atoms, their content, the commit and the answers. Which
 * combinations of an atom's fields make sense is decided here, so that the secondary never meets
 * one that does not.
 */
#include "protocol/field.h"
#include "protocol/msg_impl.h"

void msg_put_begin(struct wire_writer *w, const struct msg_begin *m)
{
    size_t start = frame_begin(w, MSG_BEGIN);
    wire_u32(w, m->batch);
    wire_u32(w, m->site);
    frame_end(w, start);
}

bool msg_get_begin(struct bytes payload, struct msg_begin *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->batch = wire_get_u32(&r);
    out->site = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_entry(struct wire_writer *w, const struct msg_entry *m)
{
    size_t start = frame_begin(w, MSG_ENTRY);
    wire_u32(w, m->batch);
    wire_u32(w, m->atom);
    wire_short(w, m->path);
    wire_u8(w, m->how);
    wire_u8(w, m->encoding);
    entry_encode(w, &m->entry);
    wire_short(w, m->source);
    wire_blob(w, m->content);
    frame_end(w, start);
}

void msg_entry_numbers(const uint8_t *payload, uint32_t *batch, uint32_t *atom)
{
    struct wire_reader r = wire_reader_of(payload, MSG_NUMBERS);
    *batch = wire_get_u32(&r);
    *atom = wire_get_u32(&r);
}

static void msg_set_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < sizeof v; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void msg_entry_renumber(uint8_t *payload, uint32_t batch, uint32_t atom)
{
    msg_set_u32(payload, batch);
    msg_set_u32(payload + sizeof batch, atom);
}

/* Raw content is as long as the entry says; packed content must not unpack to more than a chunk. */
static bool msg_inline_fits(const struct msg_entry *m)
{
    if (m->encoding == ENCODING_RAW)
        return m->content.len == m->entry.size;
    return m->content.len > 0 && m->entry.size <= MSG_CHUNK_MAX;
}

/* The fields that belong to `how`, and none of another's. */
static bool msg_how_fits(const struct msg_entry *m)
{
    bool file = m->entry.type == ENTRY_FILE;
    bool bare = m->content.len == 0 && m->encoding == ENCODING_RAW;
    switch (m->how) {
    case HOW_META: return bare && m->source.len == 0 && (!file || m->entry.has_digest);
    case HOW_INLINE: return file && m->source.len == 0 && m->entry.has_digest && msg_inline_fits(m);
    case HOW_DATA:
    case HOW_DELTA: return file && bare && m->source.len == 0;
    case HOW_BASED:
        return file && m->encoding == ENCODING_RAW && m->source.len == 0 &&
               m->content.len == sizeof(struct digest);
    case HOW_COPY: return file && bare && m->source.len > 0 && m->entry.has_digest;
    default: return false;
    }
}

static bool msg_entry_fits(const struct msg_entry *m)
{
    if (m->entry.type == ENTRY_NONE)
        return false;
    if (m->path.len == 0 && m->entry.type != ENTRY_DIR)
        return false;
    return msg_how_fits(m);
}

void msg_read_entry(struct wire_reader *r, struct msg_entry *out)
{
    out->batch = wire_get_u32(r);
    out->atom = wire_get_u32(r);
    out->path = field_get_path(r);
    out->how = field_get_enum(r, HOW_LAST);
    out->encoding = field_get_enum(r, ENCODING_ZSTD);
    entry_decode(r, &out->entry);
    out->source = field_get_path(r);
    out->content = wire_get_blob(r, FRAME_PAYLOAD_MAX);
    field_require(r, msg_entry_fits(out));
}

bool msg_get_entry(struct bytes payload, struct msg_entry *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_entry(&r, out);
    return wire_done(&r);
}

void msg_put_data(struct wire_writer *w, const struct msg_data *m)
{
    size_t start = frame_begin(w, MSG_DATA);
    wire_u32(w, m->atom);
    wire_u8(w, m->kind);
    wire_u8(w, m->encoding);
    wire_blob(w, m->content);
    frame_end(w, start);
}

bool msg_get_data(struct bytes payload, struct msg_data *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    out->kind = field_get_enum(&r, DATA_DELTA);
    out->encoding = field_get_enum(&r, ENCODING_ZSTD);
    out->content = wire_get_blob(&r, MSG_DATA_MAX);
    field_require(&r, out->content.len > 0 || out->encoding == ENCODING_RAW);
    return wire_done(&r);
}

void msg_put_finish(struct wire_writer *w, const struct msg_finish *m)
{
    size_t start = frame_begin(w, MSG_FINISH);
    wire_u32(w, m->atom);
    field_put_digest(w, &m->digest);
    wire_u64(w, m->size);
    frame_end(w, start);
}

bool msg_get_finish(struct bytes payload, struct msg_finish *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    field_get_digest(&r, &out->digest);
    out->size = field_get_size(&r);
    return wire_done(&r);
}

void msg_put_delete(struct wire_writer *w, const struct msg_delete *m)
{
    size_t start = frame_begin(w, MSG_DELETE);
    wire_u32(w, m->batch);
    wire_u32(w, m->atom);
    wire_short(w, m->path);
    frame_end(w, start);
}

void msg_read_delete(struct wire_reader *r, struct msg_delete *out)
{
    out->batch = wire_get_u32(r);
    out->atom = wire_get_u32(r);
    out->path = field_get_path_beneath(r);
}

bool msg_get_delete(struct bytes payload, struct msg_delete *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_delete(&r, out);
    return wire_done(&r);
}

void msg_put_move(struct wire_writer *w, const struct msg_move *m)
{
    size_t start = frame_begin(w, MSG_MOVE);
    wire_u32(w, m->batch);
    wire_u32(w, m->atom);
    wire_short(w, m->from);
    wire_short(w, m->to);
    frame_end(w, start);
}

void msg_read_move(struct wire_reader *r, struct msg_move *out)
{
    out->batch = wire_get_u32(r);
    out->atom = wire_get_u32(r);
    out->from = field_get_path_beneath(r);
    out->to = field_get_path_beneath(r);
    field_require(r, !path_beneath(out->to, out->from));
}

bool msg_get_move(struct bytes payload, struct msg_move *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_move(&r, out);
    return wire_done(&r);
}

void msg_put_abort(struct wire_writer *w, const struct msg_abort *m)
{
    size_t start = frame_begin(w, MSG_ABORT);
    wire_u32(w, m->atom);
    frame_end(w, start);
}

bool msg_get_abort(struct bytes payload, struct msg_abort *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_commit(struct wire_writer *w, const struct msg_commit *m)
{
    size_t start = frame_begin(w, MSG_COMMIT);
    wire_u32(w, m->batch);
    frame_end(w, start);
}

bool msg_get_commit(struct bytes payload, struct msg_commit *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->batch = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_unit(struct wire_writer *w, const struct msg_unit *m)
{
    size_t start = frame_begin(w, MSG_UNIT);
    wire_u32(w, m->batch);
    wire_u32(w, m->atom);
    wire_short(w, m->path);
    frame_end(w, start);
}

void msg_read_unit(struct wire_reader *r, struct msg_unit *out)
{
    out->batch = wire_get_u32(r);
    out->atom = wire_get_u32(r);
    out->path = field_get_path_beneath(r);
}

bool msg_get_unit(struct bytes payload, struct msg_unit *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_unit(&r, out);
    return wire_done(&r);
}

void msg_put_drop(struct wire_writer *w, const struct msg_drop *m)
{
    size_t start = frame_begin(w, MSG_DROP);
    wire_u32(w, m->batch);
    frame_end(w, start);
}

bool msg_get_drop(struct bytes payload, struct msg_drop *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->batch = wire_get_u32(&r);
    return wire_done(&r);
}

void msg_put_pack(struct wire_writer *w, const struct msg_pack *m)
{
    size_t start = frame_begin(w, MSG_PACK);
    wire_blob(w, m->content);
    frame_end(w, start);
}

bool msg_get_pack(struct bytes payload, struct msg_pack *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->content = wire_get_blob(&r, MSG_PACK_MAX);
    field_require(&r, out->content.len > 0);
    return wire_done(&r);
}

void msg_put_bundle(struct wire_writer *w, const struct msg_bundle *m)
{
    size_t start = frame_begin(w, MSG_BUNDLE);
    wire_u32(w, m->batch);
    wire_u32(w, m->atom);
    wire_blob(w, m->content);
    frame_end(w, start);
}

bool msg_get_bundle(struct bytes payload, struct msg_bundle *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->batch = wire_get_u32(&r);
    out->atom = wire_get_u32(&r);
    out->content = wire_get_blob(&r, MSG_BUNDLE_MAX);
    field_require(&r, out->content.len > 0);
    return wire_done(&r);
}

void msg_put_signature(struct wire_writer *w, const struct msg_signature *m)
{
    size_t start = frame_begin(w, MSG_SIGNATURE);
    wire_u32(w, m->atom);
    wire_u8(w, m->last);
    wire_u8(w, m->none);
    wire_blob(w, m->content);
    frame_end(w, start);
}

bool msg_get_signature(struct bytes payload, struct msg_signature *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    out->last = field_get_bool(&r);
    out->none = field_get_bool(&r);
    out->content = wire_get_blob(&r, MSG_DATA_MAX);
    field_require(&r, !out->none || (out->last && out->content.len == 0));
    return wire_done(&r);
}

static void msg_put_failure(struct wire_writer *w, const struct msg_failure *f)
{
    wire_u32(w, f->atom);
    wire_u16(w, f->reason);
    wire_u32(w, f->errno_value);
    wire_short(w, f->text);
}

static void msg_get_failure(struct wire_reader *r, struct msg_failure *out)
{
    out->atom = wire_get_u32(r);
    out->reason = field_get_reason(r);
    out->errno_value = wire_get_u32(r);
    out->text = field_get_text(r, MSG_TEXT_MAX);
}

void msg_put_ack(struct wire_writer *w, const struct msg_ack *m)
{
    size_t start = frame_begin(w, MSG_ACK);
    wire_u32(w, m->batch);
    wire_u8(w, m->last);
    wire_u8(w, m->flags);
    wire_u64(w, m->free_bytes);
    wire_u16(w, m->count);
    for (size_t i = 0; i < m->count; i++)
        msg_put_failure(w, &m->failures[i]);
    frame_end(w, start);
}

bool msg_get_ack(struct bytes payload, struct msg_ack *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->batch = wire_get_u32(&r);
    out->last = field_get_bool(&r);
    out->flags = wire_get_u8(&r);
    field_require(&r, !(out->flags & ~ACK_FLAGS_ALL));
    out->free_bytes = wire_get_u64(&r);
    out->count = wire_get_u16(&r);
    field_require(&r, out->count <= MSG_FAILURES_MAX);
    for (size_t i = 0; !r.bad && i < out->count; i++)
        msg_get_failure(&r, &out->failures[i]);
    return wire_done(&r);
}
