/*
 * The epoch of a root: which host is the primary, and the number that says so. A small file in the
 * root's own directory (epochs.h), outside of the database, that survives a power loss. It stands
 * above the configuration. Readable by all, for cron lines that ask who the primary is.
 *
 * Writers hold the lock; a commit holds it too, from reading the epoch to the commit's end, so that
 * a promotion comes before it or behind it.
 */
#ifndef TREE_STATE_EPOCH_H
#define TREE_STATE_EPOCH_H

#include "base/err.h"
#include "protocol/msg.h"

enum epoch_role {
    ROLE_CONFIGURED, /* no epoch: the configuration says */
    ROLE_PRIMARY,
    ROLE_SECONDARY,
    ROLE_FENCED, /* it was the primary, and another host is now; nothing came from there yet */
};

struct epoch { /* a zeroed one: never promoted */
    uint64_t counter;
    struct digest id; /* the host id of the primary that raised it */
    enum epoch_role role;
    char primary[MSG_HOST_MAX + 1]; /* what that host is called */
};

/* Reads it; where there is none *out is zeroed. 0, -1. */
int epoch_read(int dir, struct epoch *out, struct err *err);

/* The same by the root's path, without root's rights and without making anything. */
int epoch_of(const char *state_dir, const char *root, struct epoch *out, struct err *err);

#define EPOCH_LOCK "epoch.lock" /* in that directory */

/* The lock's descriptor: close it to unlock. Waits. Where the file is, who may only read can lock
 * it. -1 with err. */
int epoch_lock(int dir, struct err *err);

/* Under the lock; durable when it returns. */
int epoch_write(int dir, const struct epoch *e, struct err *err);

/* A number that is another one whenever the file is; 0: there is none. */
uint64_t epoch_stamp(int dir);

enum epoch_order {
    EPOCH_LOWER, /* than ours */
    EPOCH_SAME,
    EPOCH_HIGHER,
    EPOCH_SPLIT, /* two hosts have raised it to the same number */
};
enum epoch_order epoch_compare(const struct epoch *ours, uint64_t counter, const struct digest *id);

/* How far an epoch of another host may be above the one here: promotions are a few in a host's
 * life, and one that could name the last number there is would keep all others from ever being
 * promoted. */
enum { EPOCH_STEP_MAX = 1 << 20 };
bool epoch_is_near(const struct epoch *ours, uint64_t counter); /* or below it */

/* What is presented by another host: a higher one is stored (this host is a secondary, then).
 * `primary_here`: by the configuration. 0 it may go on; 1 refused, with err (ERR_REFUSED); -1.
 * *now is what is stored by then. */
int epoch_present(int dir, bool primary_here, uint64_t counter, const struct digest *id,
    const char *primary, struct epoch *now, struct err *err);

#endif
