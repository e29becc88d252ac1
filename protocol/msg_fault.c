/*
 * Why a message was refused. Decoders answer yes or no; what ends a session wants to know more,
 * once, and has it decoded again.
 */
#include "protocol/msg_impl.h"

static void msg_read(struct wire_reader *r, uint8_t type)
{
    union {
        struct msg_open open;
        struct msg_list list;
        struct msg_listing listing;
        struct msg_entry entry;
        struct msg_delete delete;
        struct msg_move move;
        struct msg_unit unit;
        struct msg_claim claim;
        struct msg_drift drift;
    } m;
    switch (type) {
    case MSG_OPEN: msg_read_open(r, &m.open); break;
    case MSG_LIST: msg_read_list(r, &m.list); break;
    case MSG_LISTING: msg_read_listing(r, &m.listing); break;
    case MSG_ENTRY: msg_read_entry(r, &m.entry); break;
    case MSG_DELETE: msg_read_delete(r, &m.delete); break;
    case MSG_MOVE: msg_read_move(r, &m.move); break;
    case MSG_UNIT: msg_read_unit(r, &m.unit); break;
    case MSG_CLAIM: msg_read_claim(r, &m.claim); break;
    case MSG_DRIFT: msg_read_drift(r, &m.drift); break;
    default: break; /* no names in it */
    }
}

uint16_t msg_fault(const struct frame *f)
{
    struct wire_reader r = wire_reader_of(f->payload.data, f->payload.len);
    msg_read(&r, f->type);
    return r.refused ? REASON_PATH : REASON_MALFORMED;
}
