/* One session at the secondary's end: one loop that reads a message, acts, maybe answers, and does
 * a step of whatever work is left between messages. */
#ifndef SECONDARY_SESSION_H
#define SECONDARY_SESSION_H

#include "secondary/confine/outside.h"
#include "secondary/receive.h"

/* What the session cannot find out itself. The host's id is outside the sandbox. */
struct receive_self {
    struct digest id;
    int failed; /* then with err */
    struct err err;
    unsigned lacks;    /* of the sandbox's layers: enum sandbox_layer's */
    bool enclosed;     /* in a mount namespace: what becomes of a root's path it may not see */
    int left;          /* what the process before left (renewal.h); below 0: this is the first */
    int leave;         /* where this one leaves it */
    struct err config; /* with a code: why the configuration is still the former */
};

enum { SESSION_RENEW = 1 };

/* Serves the session in this process. 0 after BYE or a clean end of the stream; SESSION_RENEW:
 * another process is to take it over, for which all is written down; -1 with err, after the primary
 * was told. SIGTERM ends it between two steps. */
int session_run(const struct receive_options *o, const struct outside *outside,
    const struct receive_self *self, struct err *err);

#endif
