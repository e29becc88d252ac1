/*
 * A replica: one opened site at the secondary. Its root, lock, marker, manifest and stage, from
 * OPEN to CLOSE. A replica that fails says so to the primary and stays as a number whose messages
 * are swallowed; the session and its other sites go on.
 */
#ifndef SECONDARY_SITE_REPLICA_H
#define SECONDARY_SITE_REPLICA_H

#include "base/boot.h"
#include "protocol/msg.h"
#include "secondary/health/health_feed.h"
#include "secondary/receive.h"
#include "secondary/site/inherit.h"
#include "secondary/site/marker.h"
#include "secondary/stage/label.h"
#include "secondary/stage/meta.h"
#include "secondary/stage/stage.h"
#include "secondary/tools.h"
#include "tree/filter.h"
#include "tree/manifest/manifest.h"
#include "tree/state/deletions.h"
#include "tree/state/epoch.h"
#include "tree/state/mounts.h"
#include "tree/state/state.h"
#include "tree/walk/walk.h"

enum replica_state { REPLICA_OPENING, REPLICA_OPEN, REPLICA_FAILED };

/* A site as the process before left it (renewal.h). */
struct replica_before {
    bool open;     /* else it was being opened */
    bool counted;  /* the mark has its session's number already */
    bool distrust; /* these as in the replica */
    bool settling, drift_found;
    uint32_t flags;
    uint64_t session_before, drift_due;
    uint32_t owner, uid, gid; /* of its policy */
    struct digest filter;
    struct bytes path;
};

struct replica {
    struct tools *tools;
    uint32_t site, flags, caps;
    uint8_t state;                 /* enum replica_state */
    uint8_t root_state;            /* enum msg_root_state */
    struct bytes opened_by;        /* OPEN's payload; owned */
    struct outside_site asked;     /* for; owned */
    char *path;                    /* the root's, as the fence gave it */
    bool barred, no_way;           /* see outside.h */
    char ready[PATH_NAME_MAX + 1]; /* an empty stage beside it, or "" */
    struct filter *filter;
    struct root *root; /* NULL: there is none yet, in a dry run */
    struct state *locked;
    struct manifest *manifest;
    struct marker marker;
    bool marked;               /* the marker is on the root */
    bool refused;              /* the root is not the one that it was */
    struct stage *stage;       /* NULL: not needed so far */
    int epoch_dir, epoch_lock; /* -1: none; see fencing.h */
    uint64_t epoch_stamp;
    struct epoch epoch; /* that was presented, or (fenced) that counts */
    char *scratch;      /* this session's own state, for what only looks; else NULL */
    bool doubtful;      /* what an interrupted commit could not do is not somebody else's doing */
    bool cut;           /* something may be left of directories that the manifest lost */
    bool root_touched;  /* the root's own times changed by what mirrord did */
    struct bytes mirrored;  /* a directory last seen not to be excluded; owned */
    char boot[BOOT_ID + 1]; /* this one's id, for journals */
    struct meta_rules rules;
    struct label label;
    struct walk *walk;       /* while it is opened */
    struct manifest *former; /* the manifest of another filter, while it is inherited from */
    struct inherit *inherit;
    uint64_t session, known; /* of OPEN */
    uint64_t session_before; /* the last one here */
    bool counted;            /* the mark has `session` from the process before */
    bool distrust;           /* one end was put back from a snapshot: all content is read */
    uint64_t lock_until;     /* waiting for the lock */
    bool asked_to_yield;     /* its holder */
    uint64_t progress_due;   /* io_now_ms */
    unsigned swaps;          /* batches that switch units, from COMMIT to ACK */
    unsigned piecemeal_said; /* enum msg_ack_flags, or'ed */
    struct retire *retire;
    struct checkpoint *checkpoint;
    struct job job;        /* opening, then removing what is dead */
    struct drift *drift;   /* what somebody else changed: told, and looked for */
    struct settle *settle; /* while it runs */
    struct mounts *mounts; /* inside the root */
    struct deletions deletions;
    struct deletions_limit limit; /* the primary's */
    struct receive_policy policy;
    unsigned keep_days, unit_grace; /* as they count here */
    bool held;                      /* readers are, for the commit whose turn it is */
    bool hook_looks;                /* its command runs or fails: how it goes is looked at */
    uint32_t hook_told;             /* failures of it that the primary knows */
    struct told *told;              /* who wants to know when it is through; or NULL */
    bool keep_fails;                /* something could not be kept, and that was said */
    struct keeper *keeper;
    struct health_feed health;
    struct space room; /* as it was told last */
    uint64_t room_told_ms;
    uint64_t entries_left; /* as many were to be there after what was summed last */
};

/* Starts opening; with `before`, which was open, it is open again at once. `payload` is what m was
 * decoded from. -1 with err only when the session must end. */
int replica_open(struct tools *tools, const struct msg_open *m, struct bytes payload,
    const struct replica_before *before, struct err *err);

/* Nothing works on it any more, and what was committed is on the disk and the mark says so, where
 * nothing went wrong. Before replica_free. */
void replica_end(struct replica *r);

/* Everything is released; what is staged stays on disk for the next sweep. */
void replica_free(struct replica *r);

/* The site is closed with this SITE_ERROR; its batches are dead. */
void replica_fail(struct replica *r, uint16_t reason, const struct err *why);

/* Before the first batch: the marker stands and the stage is there. -1: the replica failed. */
int replica_prepare(struct replica *r);

/* Makes or finds the stage, in place of the one that was open; the marker's file names it before
 * that. -1 with err: there is none. */
int replica_make_stage(struct replica *r, struct err *err);

/* Goes on removing what is dead, between messages. */
void replica_reap(struct replica *r);

/* Says that work goes on, at most once a second. */
void replica_progress(struct replica *r, uint64_t done);

/* Says, once a session and cause, that a unit is not switched as a whole but file by file. */
void replica_say_piecemeal(struct replica *r, struct bytes unit, enum msg_ack_flags cause);

/* Room on the root's filesystem for who is not root; 0: not known. */
uint64_t replica_free_bytes(const struct replica *r);

#endif
