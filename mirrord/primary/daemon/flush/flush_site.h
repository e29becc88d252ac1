/*
 * One site of a flush, on its way through the stages: the scanner has taken everything in; the
 * peers have what was owed then; what was read meanwhile is proven; the peers have what that may
 * have brought up; and, where that is asked for, their commands after a commit are through with it.
 */
#ifndef PRIMARY_DAEMON_FLUSH_FLUSH_SITE_H
#define PRIMARY_DAEMON_FLUSH_FLUSH_SITE_H

#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/flush/flush_target.h"

enum flush_stage {
    FLUSH_OPEN, /* it is to be opened first */
    FLUSH_SCAN,
    FLUSH_REACH,
    FLUSH_PROVE,
    FLUSH_REACH_AGAIN,
    FLUSH_TELL,
    FLUSH_OVER
};

struct flush_site {
    char *name;
    struct site *site; /* a reference; NULL: it is not open */
    enum flush_stage stage;
    struct scan_flush *scan; /* FLUSH_SCAN, FLUSH_PROVE; else NULL */
    struct flush_target *targets;
    size_t target_count;
    char why[ERR_TEXT_MAX]; /* it cannot be flushed; else empty */
    bool held;              /* for safety */
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX];
    size_t busy_count;
};

/* Begins with a site of the plan, in *f, which is zeroed. */
void flush_site_begin(
    struct daemon *d, const struct flush_ask *a, const struct roster_site *s, struct flush_site *f);
void flush_site_free(struct flush_site *f); /* what it holds */

/* Goes on as far as that is possible without waiting. True: it is over. */
bool flush_site_step(struct daemon *d, const struct flush_ask *a, struct flush_site *f);

/* Adds to `waiting` what has not been reached, {"peer", "site", "path", "why"} each. Is all else
 * level? */
bool flush_site_tell(const struct flush_site *f, const struct flush_ask *a, struct json *waiting);

/* Is it, or one of its secondaries, held for safety? */
bool flush_site_is_held(const struct flush_site *f);

#endif
