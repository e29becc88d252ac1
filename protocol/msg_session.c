/*
 * The messages of the session as a whole: opening, errors, signs of life, the end. HELLO and ERROR
 * keep their layout in every version, since they are read before a version is agreed.
 */
#include "protocol/field.h"
#include "protocol/msg.h"

void msg_put_hello(struct wire_writer *w, const struct msg_hello *m)
{
    size_t start = frame_begin(w, MSG_HELLO);
    wire_u32(w, m->magic);
    wire_u16(w, m->oldest);
    wire_u16(w, m->newest);
    wire_u64(w, m->session);
    field_put_digest(w, &m->host_id);
    wire_short(w, m->software);
    wire_short(w, m->host);
    frame_end(w, start);
}

bool msg_get_hello(struct bytes payload, struct msg_hello *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->magic = wire_get_u32(&r);
    out->oldest = wire_get_u16(&r);
    out->newest = wire_get_u16(&r);
    out->session = wire_get_u64(&r);
    field_get_digest(&r, &out->host_id);
    out->software = field_get_text(&r, MSG_TEXT_MAX);
    out->host = field_get_text(&r, MSG_TEXT_MAX);
    field_require(&r, out->magic == MSG_MAGIC);
    field_require(&r, out->oldest > 0 && out->oldest <= out->newest);
    return wire_done(&r);
}

void msg_put_error(struct wire_writer *w, const struct msg_error *m)
{
    size_t start = frame_begin(w, MSG_ERROR);
    wire_u16(w, m->reason);
    wire_short(w, m->text);
    frame_end(w, start);
}

/* A reason of a later version is let through: its text is still worth printing. */
bool msg_get_error(struct bytes payload, struct msg_error *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->reason = wire_get_u16(&r);
    out->text = field_get_text(&r, MSG_TEXT_MAX);
    field_require(&r, out->reason != REASON_NONE);
    return wire_done(&r);
}

static void msg_put_token(struct wire_writer *w, uint8_t type, const struct msg_ping *m)
{
    size_t start = frame_begin(w, type);
    wire_u64(w, m->token);
    frame_end(w, start);
}

void msg_put_ping(struct wire_writer *w, const struct msg_ping *m)
{
    msg_put_token(w, MSG_PING, m);
}

void msg_put_pong(struct wire_writer *w, const struct msg_ping *m)
{
    msg_put_token(w, MSG_PONG, m);
}

bool msg_get_ping(struct bytes payload, struct msg_ping *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->token = wire_get_u64(&r);
    return wire_done(&r);
}

void msg_put_bye(struct wire_writer *w)
{
    frame_end(w, frame_begin(w, MSG_BYE));
}

bool msg_get_bye(struct bytes payload)
{
    return payload.len == 0;
}

void msg_put_renew(struct wire_writer *w)
{
    frame_end(w, frame_begin(w, MSG_RENEW));
}

bool msg_get_renew(struct bytes payload)
{
    return payload.len == 0;
}

void msg_put_renewed(struct wire_writer *w, const struct msg_renewed *m)
{
    size_t start = frame_begin(w, MSG_RENEWED);
    wire_short(w, m->text);
    frame_end(w, start);
}

bool msg_get_renewed(struct bytes payload, struct msg_renewed *out)
{
    struct wire_reader r = wire_reader_of(payload.data, payload.len);
    out->text = field_get_text(&r, MSG_TEXT_MAX);
    return wire_done(&r);
}
