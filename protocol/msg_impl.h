/* The decoders of messages that hold names or paths, on a reader that says afterwards what was
 * wrong. Only the codec's own files use them. */
#ifndef PROTOCOL_MSG_IMPL_H
#define PROTOCOL_MSG_IMPL_H

#include "protocol/msg.h"

void msg_read_open(struct wire_reader *r, struct msg_open *out);
void msg_read_list(struct wire_reader *r, struct msg_list *out);
void msg_read_listing(struct wire_reader *r, struct msg_listing *out);
void msg_read_entry(struct wire_reader *r, struct msg_entry *out);
void msg_read_delete(struct wire_reader *r, struct msg_delete *out);
void msg_read_move(struct wire_reader *r, struct msg_move *out);
void msg_read_unit(struct wire_reader *r, struct msg_unit *out);
void msg_read_claim(struct wire_reader *r, struct msg_claim *out);
void msg_read_drift(struct wire_reader *r, struct msg_drift *out);

#endif
