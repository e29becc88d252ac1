/* CLAIM and CLAIMED: which host is the primary of a site. */
#include "protocol/field.h"
#include "protocol/msg_impl.h"

void msg_put_claim(struct wire_writer *w, const struct msg_claim *m)
{
    size_t start = frame_begin(w, MSG_CLAIM);
    wire_u32(w, m->request);
    wire_short(w, m->name);
    wire_u64(w, m->epoch);
    field_put_digest(w, &m->epoch_id);
    wire_u8(w, m->take);
    wire_short(w, m->primary);
    frame_end(w, start);
}

void msg_read_claim(struct wire_reader *r, struct msg_claim *out)
{
    out->request = wire_get_u32(r);
    out->name = field_get_name(r);
    out->epoch = wire_get_u64(r);
    field_get_digest(r, &out->epoch_id);
    out->take = field_get_bool(r);
    out->primary = field_get_text(r, MSG_HOST_MAX);
}

bool msg_get_claim(struct bytes payload, struct msg_claim *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    msg_read_claim(&r, out);
    return wire_done(&r);
}

void msg_put_claimed(struct wire_writer *w, const struct msg_claimed *m)
{
    size_t start = frame_begin(w, MSG_CLAIMED);
    wire_u32(w, m->request);
    wire_u16(w, m->reason);
    wire_u64(w, m->epoch);
    field_put_digest(w, &m->epoch_id);
    wire_short(w, m->primary);
    wire_short(w, m->text);
    frame_end(w, start);
}

bool msg_get_claimed(struct bytes payload, struct msg_claimed *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->request = wire_get_u32(&r);
    out->reason = wire_get_u16(&r);
    out->epoch = wire_get_u64(&r);
    field_get_digest(&r, &out->epoch_id);
    out->primary = field_get_text(&r, MSG_HOST_MAX);
    out->text = field_get_text(&r, MSG_TEXT_MAX);
    field_require(&r, out->reason <= REASON_LAST);
    return wire_done(&r);
}
