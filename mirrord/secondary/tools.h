/* What all parts of one session share. Made and owned by the session. */
#ifndef SECONDARY_TOOLS_H
#define SECONDARY_TOOLS_H

#include "base/often.h"
#include "base/set.h"
#include "secondary/confine/outside.h"
#include "secondary/job.h"
#include "secondary/session/outbox.h"
#include "secondary/receive.h"
#include "tree/content/zip.h"

struct batch;

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

struct tools {
    const struct receive_options *options;
    struct outbox out;
    struct jobs jobs;
    struct names *names;
    struct reread *reread; /* NULL: content is not read again */
    const struct outside *outside;
    const struct receive_self *self; /* NULL: no session */
    struct zip *zip;
    uint8_t *chunk;         /* MSG_CHUNK_MAX bytes, for whoever works right now */
    uint16_t version;       /* of the protocol, that is spoken */
    struct digest peer;     /* the primary's host id */
    struct bytes peer_host; /* what it calls itself; owned */
    uint64_t look_due;      /* at epochs */
    uint64_t hooks_due;     /* at commands after commits */
    uint64_t room_due;      /* at the room there is */
    int64_t health_due;     /* at what is to be noted of sites (io_boot_ms) */
    struct often *often;   /* of what the primary decides how often it happens; NULL: all is said */
    struct set *replicas;  /* sites by number: struct replica */
    size_t opened_bytes;   /* of their OPENs */
    struct batch *batches; /* all that are not acknowledged */
    unsigned batch_count;
    size_t held;       /* by their atoms, see MSG_HELD_MAX */
    unsigned patching; /* transfers at work on what has come: not until they are done is it taken */
    uint32_t last_batch, last_atom; /* numbers rise through the session */
    uint64_t commits;               /* asked for so far */
    unsigned readers;               /* of old files, two threads each */
    bool can_chown;
    bool outdated; /* version 1: there is a root that only the next session can serve: this one ends
                    */
    uint16_t reason; /* of the ERROR that ends the session, for whoever returns -1 */
};

#endif
