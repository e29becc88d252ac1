/*
 * What one secondary says that somebody else changed there (DRIFT), by path, with what was
 * committed before. It answers whether a difference is that somebody's doing alone: then, where
 * drift is only to be reported, it is left as it is. Locks nothing itself; see push_site.
 */
#ifndef PRIMARY_PUSH_COMPARE_DRIFTED_H
#define PRIMARY_PUSH_COMPARE_DRIFTED_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/msg.h"

struct drifted;

enum {
    DRIFTED_SHOWN = 20,    /* paths in status */
    DRIFTED_PATH = 256,    /* bytes of one, escaped */
    DRIFTED_KEPT = 10000,  /* paths kept where drift is healed: the rest is found by comparing */
    DRIFTED_MAX = 1 << 20, /* paths that a secondary may tell of … */
    DRIFTED_KEPT_BYTES = 4 << 20,
    DRIFTED_MAX_BYTES = 256 << 20, /* … and what they may take, names and entries */
};

/* keep_all: every path counts, since drift is not healed. */
struct drifted *drifted_new(bool keep_all);
void drifted_free(struct drifted *d); /* NULL is fine */

/* The site is being opened: all that still holds is told again until drifted_opened, which forgets
 * the rest. */
void drifted_opening(struct drifted *d);
void drifted_opened(struct drifted *d);

/* 1 it is news, 0 known; -1 with err: too many. */
int drifted_take(struct drifted *d, const struct msg_drift *m, struct err *err);

/* Something was committed at the path. */
void drifted_healed(struct drifted *d, struct bytes path);

/* Is what differs at this path drift alone: do we (NULL: nothing is here) have what was committed
 * there? Then it is left, and kept until the site is opened again. `owner`: owner and group
 * count. */
bool drifted_leave(struct drifted *d, struct bytes path, const struct entry *ours, bool owner);

/* All is level but for what was left: the rest differs no more. How many paths are left. */
size_t drifted_level(struct drifted *d);

/* Directories of which only the times moved are not counted. */
struct drifted_status {
    uint64_t count;  /* paths that differ */
    uint64_t healed; /* and that did, and were made equal again */
    size_t shown;
    struct {
        const char *what; /* "changed", "added", "removed" */
        char path[DRIFTED_PATH];
    } paths[DRIFTED_SHOWN];
};
void drifted_status(const struct drifted *d, struct drifted_status *out);
const char *drifted_name(uint8_t kind); /* enum drift_kind */

#endif
