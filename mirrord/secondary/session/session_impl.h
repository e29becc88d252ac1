/*
 * What the parts of a session share: session.c (its beginning, loop and end), dispatch.c (which
 * message is legal when, and who takes it), on_session.c (messages about the session itself),
 * on_site.c (about a site). Those about batches are commit/batch.c's and commit/atom.c's. Private
 * to them.
 */
#ifndef SECONDARY_SESSION_SESSION_IMPL_H
#define SECONDARY_SESSION_SESSION_IMPL_H

#include "base/buf.h"
#include "secondary/session/input.h"
#include "secondary/tools.h"

enum phase { BEFORE_HELLO = 1, AFTER_HELLO = 2, ENDED = 4, RENEWING = 8 };

enum { LISTENING = BEFORE_HELLO | AFTER_HELLO };

struct session {
    struct tools tools;
    struct input in;
    uint8_t *plain; /* of a PACK or BUNDLE: MSG_CHUNK_MAX bytes, from the first one on; else NULL */
    enum phase phase;
    int signals;        /* signalfd of SIGTERM and SIGINT */
    uint64_t worked_us; /* when a job had its last step */
    struct buf pongs;   /* tokens (u64) that are answered when all before them is done */
};

/* dispatch.c: acts on one message. -1 with err, and tools.reason: the session ends. */
int dispatch(struct session *s, const struct frame *f, struct err *err);

/* What takes a message of one type: 0; -1 with err (tools.reason is `malformed`, unless it sets
 * another); UNREADABLE where the payload cannot be decoded. */
typedef int message_handler(struct session *s, struct bytes payload, struct err *err);
enum { UNREADABLE = 1 };

/* on_session.c */
message_handler on_hello, on_error, on_ping, on_bye, on_renew;

/* Answers the PINGs before which all is done. A primary takes PONG for a sign that what was in
 * front of the PING needs no time any more. */
void on_session_pong(struct session *s);

/* on_site.c */
message_handler on_open, on_close, on_list, on_level, on_owed, on_tell, on_claim;

#endif
