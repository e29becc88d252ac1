/*
 * A site as its primary sees it: the root, its state and manifest, its filter and options. Shared
 * between the scanner, which alone writes the manifest, and the peers, which read it. Counted,
 * since a reload may take a site away while a peer still finishes with it.
 */
#ifndef PRIMARY_SITE_H
#define PRIMARY_SITE_H

#include <stdatomic.h>

#include "base/err.h"
#include "primary/loss.h"
#include "primary/unrest.h"
#include "primary/walked.h"
#include "tree/filter.h"
#include "tree/manifest/manifest.h"
#include "tree/manifest/mark.h"
#include "tree/root.h"
#include "tree/state/epoch.h"
#include "tree/state/mounts.h"
#include "tree/state/space.h"
#include "tree/state/state.h"
#include "tree/unit_rules.h"

struct site;

struct site_options {
    const char *name;      /* "" for a one-shot resync */
    const char *root;      /* path */
    const char *state_dir; /* of this host */
    const struct filter *filter;
    const struct unit_rules *units; /* NULL: none */
    bool owner, special_bits;
    bool fsync_batch;  /* OPEN_FSYNC */
    bool drift_report; /* what somebody else changed at a secondary is left as it is, but for force
                        */
    bool checksum;     /* distrust validators at both ends */
    bool adopt, force; /* OPEN_ADOPT, OPEN_FORCE */
    bool dry_run;
    bool no_delete;
    unsigned max_delete_percent, max_delete_count; /* more deletions within ten minutes are held */
    bool keep_root;   /* the root must be the directory that it was when it was first opened */
    bool accept_root; /* but for now: from this opening on it is the one that counts */
    unsigned keep_days, unit_grace; /* wishes of the secondary: see struct msg_open */
    struct space_rule min_free;     /* what bulk is to leave free on a secondary */
    uint64_t max_size;              /* larger files are left alone at both ends; 0: no limit */
};

/* What the peers tell whoever scans the site. Called from peers' threads. */
struct site_hooks {
    /* The content of this path was read whole under the rules and has this record now. Racy records
     * are to be read again a granule later. */
    void (*seen)(void *ctx, struct site *s, struct bytes path, const struct record *r);
    /* This path (still) has a writer, changed while it was read, or is not what the manifest says:
     * look again, and owe it again when it is ready. */
    void (*look)(void *ctx, struct site *s, struct bytes path);
    /* Looks through a unit: whatever happened in it before this call is taken in, and the disk is
     * held against the manifest once more. NULL: nobody looks. */
    void *(*check)(void *ctx, struct site *s, struct bytes unit);
    int (*checked)(void *check, struct err *err); /* enum site_checked; FAILED with err */
    void (*check_free)(void *check);
    /* Has something happened in the tree of which nobody has been told yet: an event that waits to
     * be read or looked at, a walk that may find more? NULL: nobody knows. */
    bool (*pending)(void *ctx, const struct site *s);
    void *ctx;
};

enum site_checked { SITE_CHECKING = 0, SITE_UNCHANGED = 1, SITE_CHANGED = 2, SITE_FAILED = -1 };

/* Opens root, state (with its lock) and manifest. Positive STATE_LOCKED as state_open. ERR_REFUSED
 * when (keep_root) the root is missing or another one than before. */
int site_open(const struct site_options *o, struct site **out, struct err *err);
/* Does the directory that was mirrored before stand at the root's path again, though it is not the
 * one that is held open (its volume was mounted anew)? */
bool site_root_is_back(const struct site *s);
struct deletions_limit site_limit(const struct site *s);
/* A secondary refused the epoch: from now on nothing is sent to any, and (unless it is a split) the
 * epoch that counts is kept. Any thread. */
void site_fence(struct site *s, const struct msg_site_error *m);
bool site_is_pending(const struct site *s); /* as its hook `pending` says */
struct site *site_ref(struct site *s);
void site_unref(struct site *s);

struct site {
    char *name;
    const char *label;           /* for the log: the name, or a one-shot's root */
    struct site_options options; /* strings and filter are the site's own */
    struct filter *filter;
    struct root *root;
    struct state *state;
    struct manifest *manifest;
    struct mark mark; /* of this root's state, as it was written last */
    struct sessions *sessions;
    bool lost; /* the manifest was lost with the power: what is not known here is not equal */
    struct unrest *unrest;
    bool fresh; /* the manifest was new at opening */
    struct site_hooks hooks;
    struct mounts *mounts; /* inside the root; the scanner's */
    struct loss loss;
    struct epoch epoch;    /* as it was at opening: what is presented */
    atomic_bool fenced;    /* another host was promoted: nothing is sent any more */
    char fenced_why[512];  /* written once, before `fenced` */
    atomic_bool paused;    /* by the operator: nothing of it is sent */
    atomic_bool cleared;   /* all hosts that can be reached were asked */
    struct walked *walked; /* before `scanned` is set: what made it so; NULL: not kept */
    atomic_bool scanned;   /* the manifest has been equal to the disk once: it may be compared */
    atomic_uint refs;
};

/* Calls `part` for each entry that the manifest has of the unit: its directory, which is told of
 * even where it is not there (r NULL), or its parts. `dir` is the number of the directory above. In
 * a read transaction. 0 or -1. */
int site_unit_parts(struct site *s, struct bytes unit,
    void (*part)(void *ctx, uint64_t dir, struct bytes path, const struct record *r), void *ctx,
    struct err *err);

#endif
