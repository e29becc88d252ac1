/*
 * What the two parts of sending a path share: send.c (is it sent, when, by which lane) and
 * send_entry.c (what goes out). Private to them.
 */
#ifndef PRIMARY_PUSH_SEND_SEND_IMPL_H
#define PRIMARY_PUSH_SEND_SEND_IMPL_H

#include "primary/push/send/sight.h"

enum push_event send_event_of(const struct owed *o); /* of a file that is sent */

/* Each puts one atom into the batch. */
void send_plain(struct push *p, struct push_batch *b, struct owed *o, const struct sight *s);
void send_delete(struct push *p, struct push_batch *b, struct owed *o);
void send_move(struct push *p, struct push_batch *b, struct owed *o, const struct sight *s);

/* A regular file whose content the secondary has already, there or elsewhere. False: it has not, as
 * far as is known here, and nothing was put. */
bool send_known(struct push *p, struct push_batch *b, struct owed *o, struct sight *s);

/* A regular file with its content. SOURCE_OK, SOURCE_BUSY, SOURCE_GONE; -1 with err. */
int send_content(
    struct push *p, struct push_batch *b, struct owed *o, struct sight *s, struct err *err);

#endif
