/*
 * A peer: one secondary as the primary sees it. A thread, one SSH connection for all its sites, the
 * set of paths it is owed. It connects, opens its sites, compares manifests, pushes, and after a
 * failure waits (1 s growing to 60 s, jittered) and does it again. A peer that is slow or gone
 * delays nobody else.
 *
 * What is owed is a set of paths, so it is bounded by the tree, and the state sent is always the
 * newest. After a lost connection everything is found again by comparing manifests.
 */
#ifndef PRIMARY_PUSH_PEER_PEER_H
#define PRIMARY_PUSH_PEER_PEER_H

#include "base/log.h"
#include "link/conn.h"
#include "primary/owe.h"
#include "primary/push/compare/drifted.h"
#include "primary/push/push.h"
#include "primary/push/push_hook.h"
#include "primary/site.h"

struct peer;

struct peer_options {
    const char *name;         /* for the log and status */
    struct conn_options link; /* strings are copied; stop is the peer's own */
    int compress;             /* -1 auto, 0 none, 1 zstd */
    uint64_t bwlimit;         /* bytes per second; 0 none */
    unsigned keepalive_ms;
    struct digest host_id;
    const char *host; /* what this host calls itself */
};

/* The shelf is the one of all peers, and outlives them. */
struct peer *peer_new(const struct peer_options *o, struct shelf *shelf);
void peer_start(struct peer *p);
void peer_stop(
    struct peer *p); /* asks the thread to end, cleanly if it can within 2 s, and joins */
void peer_free(struct peer *p); /* stopped; NULL is fine */

/* Any thread, any time. remote_root may be NULL: the far end's configuration says; `without`: what
 * is not mirrored there besides, copied, or NULL. A site may be
 * added before it is scanned: it is compared once site->scanned is set and peer_wake called. */
void peer_add_site(
    struct peer *p, struct site *s, const char *remote_root, const struct filter *without);
void peer_remove_site(struct peer *p, struct site *s);
void peer_wake(struct peer *p);

/* This path may differ at the peer: its newest state (or its absence) is sent; where it lies in a
 * unit, the unit is owed. Any thread. */
void peer_owe(struct peer *p, struct site *s, struct bytes path, unsigned flags);

/* `from` was renamed to `to` (already so in the manifest): moved there too, its content not sent
 * again. Everything owed beneath `from` is owed beneath `to`. Nothing is moved into, out of, or
 * within units, nor with units in it: both names are owed. */
void peer_move(struct peer *p, struct site *s, struct bytes from, struct bytes to);

/* The site may have changed anywhere (the scan says what): compare manifests again. */
void peer_compare(struct peer *p, struct site *s);
/* The same for what the manifest here has by now: a comparison that has not begun yet will do. */
void peer_compare_news(struct peer *p, struct site *s);

/* The operator overrules holds of this site: it is opened anew, until it is level. */
void peer_force(struct peer *p, struct site *s);

/* The operator lets a first contact go on whatever is there: likewise. */
void peer_adopt(struct peer *p, struct site *s);

/* On: nothing is sent to it; what happens is owed. (A site is paused by its own flag.) */
void peer_pause(struct peer *p, bool on);

/* A number that grows with everything owed; what was owed so far has a smaller or equal one. */
uint64_t peer_mark(struct peer *p);

/* Asks when the site's command after a commit is through with what the peer has by now. A number
 * for peer_told; 0: the site is not there. */
uint64_t peer_tell(struct peer *p, struct site *s);
bool peer_told(struct peer *p, const struct site *s, uint64_t number); /* it is */

enum peer_state { PEER_DOWN, PEER_CONNECTING, PEER_UP };

struct peer_status {
    enum peer_state state;
    char kind[64];                       /* of the link */
    char error[512];                     /* the last one; empty: none since it came up */
    int64_t error_time;                  /* CLOCK_REALTIME seconds */
    uint64_t retry_ms;                   /* until the next attempt, when down */
    uint64_t down_ms;                    /* how long it has been away; 0 when it is up */
    uint64_t bytes_sent, bytes_received; /* over all its connections */
    uint64_t connections;                /* that were made */
    struct push_far far;                 /* as it said last */
    uint64_t batches;                    /* acknowledged */
    uint64_t free_bytes;                 /* of the last site's disk that reported */
    bool unconfined;                     /* its receiver's sandbox lacks something, … */
    uint32_t lacks;                      /* … CAP_LACKS_…; 0: it does not say what */
    bool reached_once; /* an attempt has ended, with or without success: for `ready` */
};

struct peer_site_status {
    enum {
        PEER_SITE_WAITING, /* not opened yet, or the scan is not done */
        PEER_SITE_COMPARING,
        PEER_SITE_PUSHING, /* something is owed, or soon will be (pending) */
        PEER_SITE_LEVEL,
        PEER_SITE_HELD,   /* refused for safety until the operator says more */
        PEER_SITE_FAILED, /* the far end cannot open it; tried again */
        PEER_SITE_FENCED, /* another host is the primary */
        PEER_SITE_PAUSED, /* by the operator */
    } state;
    bool pending;                    /* nothing is owed, but something happened and is not told */
    bool first_copy;                 /* it has never been level there */
    uint64_t copied_bytes;           /* of files, by this process */
    uint64_t unproven;               /* files there whose content was never read */
    bool answered;                   /* it was opened there, or refused */
    uint64_t owed_paths, owed_bytes; /* bytes as far as known */
    uint64_t behind_ms;              /* age of the oldest thing owed */
    uint64_t failing;                /* paths that the peer refused or could not store */
    char error[512];                 /* the last one of this site; empty: none */
    char error_path[256];            /* escaped; empty: not about a path */
    int64_t error_time;
    struct space room;      /* of its filesystem there; zeros: not told yet */
    struct space_keep keep; /* of it, free */
    bool low;               /* bulk waits, since less is */
    uint64_t no_room;       /* paths that wait for that … */
    char no_room_path[256]; /* … one of them, escaped */
    uint64_t trash_foreign, trash_foreign_bytes, trash_kept; /* there, as last told */
    struct drifted_status drift;
    struct push_hook hook;
};

void peer_status(struct peer *p, struct peer_status *out);
bool peer_site_status(struct peer *p, const struct site *s, struct peer_site_status *out);

/* Is all well there? Level, and nothing that fails, drifted, or was not told to its caches. */
bool peer_site_is_level(const struct peer_site_status *at);

/* What is counted of it; as long as the peer. */
const struct tally *peer_tally(const struct peer *p);

struct piecemeal_unit;
/* The units of the site that are renamed file by file there, at most `max`. */
size_t peer_piecemeal(struct peer *p, const struct site *s, struct piecemeal_unit *out, size_t max);

/* The files that are left alone for their size, at most `max`, escaped. */
size_t peer_left(struct peer *p, const struct site *s, char (*out)[LOG_NAME_MAX], size_t max);

/* Is nothing with a number ≤ mark owed any more for the site, at or beneath one of the paths (none:
 * all of it)? Then 1. 0 not yet; -1 the peer is not up or the site not open there. */
int peer_reached(struct peer *p, const struct site *s, uint64_t mark, const struct bytes *paths,
    size_t path_count);

/* Called from the peer's thread whenever something that the above answer may have changed. */
void peer_on_change(struct peer *p, void (*changed)(void *ctx), void *ctx);

#endif
