/* What waits to be written to the primary. Writing blocks until the other end takes it, which it
 * always does, or until it has not moved, or moved by little, for so long that the session is over,
 * or somebody asks it to end. */
#ifndef SECONDARY_SESSION_OUTBOX_H
#define SECONDARY_SESSION_OUTBOX_H

#include "base/err.h"
#include "protocol/wire.h"

enum { OUTBOX_FULL = 64 * 1024 };

struct outbox {
    struct wire_writer writer; /* whole frames */
    int fd;
    int patience_ms; /* without a byte taken */
    int crawl_ms;    /* for OUTBOX_FULL bytes, or what there is */
    int signals;     /* readable: asked to end; what can be written at once still is */
    bool failed;     /* nothing more can be sent; why is in err */
    struct err err;
};

/* To be called after each message put into the writer: writes when enough has gathered. */
void outbox_put(struct outbox *o);

/* Writes everything. -1 when the stream is gone, now or earlier, with err. */
int outbox_flush(struct outbox *o, struct err *err);

#endif
