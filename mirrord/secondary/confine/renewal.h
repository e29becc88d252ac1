/*
 * What a receiver's sandboxed process leaves to the one that takes its place (RENEW): the session,
 * its sites, and input that it has not looked at. It goes through a file without a name, which the
 * parent hands on and never reads. Who takes it over decodes it as strictly as the peer's messages,
 * since the one before may have been taken over by the peer; a site is asked of the fence again.
 */
#ifndef SECONDARY_CONFINE_RENEWAL_H
#define SECONDARY_CONFINE_RENEWAL_H

#include "base/buf.h"
#include "secondary/site/replica.h"

/* A file for it; -1 with err. */
int renewal_file(struct err *err);

/* Writes it down. Nothing is changed by that; -1 with err. */
int renewal_leave(const struct tools *tools, struct bytes input, int fd, struct err *err);

/* Takes it over: sites that were open are open again, unwalked and uncompared, or were closed with
 * SITE_ERROR; those that were being opened begin again. The input goes to `in`. -1 with err: the
 * session must end. */
int renewal_take(struct tools *tools, int fd, struct buf *in, struct err *err);

#endif
