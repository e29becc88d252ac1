/* One secondary that a flush of a site waits for: does it have what was owed when it began, and has
 * its command run for it? If not, why not, and is there any sense in waiting? */
#ifndef PRIMARY_DAEMON_FLUSH_FLUSH_TARGET_H
#define PRIMARY_DAEMON_FLUSH_FLUSH_TARGET_H

#include "base/err.h"
#include "base/json.h"
#include "primary/push/peer.h"

/* What was asked for, the same for all sites and secondaries. */
struct flush_ask {
    bool resync;         /* look through everything and compare, instead of waiting */
    bool all;            /* wait for those that are away, too */
    bool hook;           /* wait for the commands after a commit, too */
    bool brief;          /* how secondaries are reached is not the client's to know */
    struct bytes *paths; /* beneath the root; none: everything */
    size_t path_count;
    struct json *hosts; /* resync: names; empty or NULL: all */
};

enum flush_target_state {
    FLUSH_WAITS,
    FLUSH_HAS_IT,
    FLUSH_AWAY,    /* it is not waited for */
    FLUSH_REFUSES, /* nor is this one: something has to be done first */
};

struct flush_target { /* zeroed but for the name */
    char *name;       /* owned by the flush's site */
    uint64_t mark;    /* peer_mark: what was owed then */
    enum flush_target_state state;
    bool held;              /* it refuses for safety */
    uint64_t tell;          /* peer_tell's number, until it is told; else 0 */
    char why[ERR_TEXT_MAX]; /* of what is not there yet */
    char path[256];         /* and of which path; or "" */
};

/* For all of these: `p` is the secondary's peer, NULL while it is being changed. */

/* From here on it is to have what is owed now; for a resync it is compared, if it is meant. */
void flush_target_begin(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site);

/* Looks whether it has it. False: wait. */
bool flush_target_reach(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site);

/* One that has it is to say when its command is through with it; then looks whether it has said so.
 * False: wait. */
void flush_target_tell(struct flush_target *t, struct peer *p, struct site *site);
bool flush_target_told(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site);

#endif
