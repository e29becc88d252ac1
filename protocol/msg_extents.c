/*
 * The messages of a delta by extents: what the old file holds, and which ranges of it are used.
 * Whether a range lies within the old file is the secondary's to know.
 */
#include "protocol/field.h"
#include "protocol/msg_impl.h"

void msg_put_extents(struct wire_writer *w, const struct msg_extents *m)
{
    size_t start = frame_begin(w, MSG_EXTENTS);
    wire_u32(w, m->atom);
    wire_u8(w, m->last);
    wire_u64(w, m->size);
    wire_blob(w, m->items);
    frame_end(w, start);
}

bool msg_get_extents(struct bytes payload, struct msg_extents *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    out->last = field_get_bool(&r);
    out->size = field_get_size(&r);
    out->items = wire_get_blob(&r, MSG_EXTENTS_FRAME * MSG_EXTENT_BYTES);
    field_require(&r, out->size <= (uint64_t)MSG_EXTENTS_MAX * MSG_EXTENT);
    field_require(&r, out->items.len % MSG_EXTENT_BYTES == 0);
    field_require(&r, out->items.len / MSG_EXTENT_BYTES <= msg_extent_count(out->size));
    return wire_done(&r);
}

void msg_extent_encode(struct wire_writer *w, const struct msg_extent *e)
{
    field_put_digest(w, &e->digest);
    wire_u64(w, e->anchor);
}

void msg_extent_decode(struct wire_reader *r, struct msg_extent *out)
{
    field_get_digest(r, &out->digest);
    out->anchor = wire_get_u64(r);
}

uint64_t msg_extent_count(uint64_t size)
{
    return size / MSG_EXTENT + (size % MSG_EXTENT != 0);
}

void msg_put_range(struct wire_writer *w, const struct msg_range *m)
{
    size_t start = frame_begin(w, MSG_RANGE);
    wire_u32(w, m->atom);
    wire_u8(w, m->use);
    wire_u64(w, m->offset);
    wire_u64(w, m->length);
    frame_end(w, start);
}

bool msg_get_range(struct bytes payload, struct msg_range *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->atom = wire_get_u32(&r);
    out->use = field_get_enum(&r, RANGE_LAST);
    out->offset = field_get_size(&r);
    out->length = field_get_size(&r);
    field_require(&r, out->length > 0);
    field_require(&r, out->use == RANGE_COPY || out->length <= MSG_RANGE_MAX);
    return wire_done(&r);
}
