/*
 * The push: one session with one secondary over an open connection. It greets, opens sites,
 * compares manifests, and sends what the queue says is owed, live before bulk, until it is told to
 * stop, the link fails, or (once) everything is level. One thread drives it; it never waits for a
 * disk other than the primary's own, nor for one site because of another.
 */
#ifndef PRIMARY_PUSH_PUSH_H
#define PRIMARY_PUSH_PUSH_H

#include <pthread.h>

#include "base/log.h"
#include "link/conn.h"
#include "primary/push/compare/drifted.h"
#include "primary/push/peer/tally.h"
#include "primary/push/push_hook.h"
#include "primary/push/queue/queue.h"
#include "protocol/msg.h"
#include "tree/state/space.h"

enum push_site_state {
    PUSH_CLOSED,    /* to be opened */
    PUSH_OPENING,   /* asked for */
    PUSH_UNSCANNED, /* open there; this side's first scan is not done */
    PUSH_COMPARING,
    PUSH_OPEN,   /* compared: live and level but for what is owed */
    PUSH_HELD,   /* refused for safety */
    PUSH_FAILED, /* the far end could not open it */
    PUSH_FENCED, /* another host is the primary */
};

struct bases;
struct often;
struct set;
struct shelf;

struct push_counts {
    uint64_t examined;                         /* entries compared */
    uint64_t created, updated, deleted, moved; /* committed (in a dry run: found) */
    uint64_t literal,
        matched; /* bytes of content sent as they are, and taken from what was there */
    uint64_t owed, owed_bytes; /* found by comparing, for progress */
    uint64_t done, done_bytes; /* of these */
};

/* A site of the session. The caller keeps it between sessions. Its fields belong to the pushing
 * thread, but for what is atomic or locked. */
struct push_site {
    TAILQ_ENTRY(push_site) order;
    struct site *site;
    struct queue_site *owed;
    char *remote_root;      /* NULL: the far end's configuration says */
    struct filter *without; /* what is not mirrored to this secondary besides; NULL: nothing */
    uint32_t number;
    _Atomic enum push_site_state state; /* written by the pushing thread only */
    uint32_t caps;
    bool leaving;
    bool said_owner;
    bool force;             /* the operator overrules holds, until it is level */
    bool forgive;           /* and what was lost here is no matter any more */
    bool adopt;             /* the operator lets it take over what is there, until it is level */
    bool unjudged;          /* first contact with a root that holds something: nothing goes yet */
    atomic_bool comparing;  /* some of it: what differs is not all owed yet */
    atomic_bool first_copy; /* it has never been level there */
    atomic_uint_fast64_t copied_bytes; /* of files that were committed there by this process */
    atomic_bool again;                 /* compare once more after this comparison */
    atomic_uint_fast64_t unproven;     /* files there whose content was never read, as last told */
    bool unproven_here;   /* the site had some when it was opened, and has some still */
    uint64_t unproven_ms; /* when to look whether it has */
    uint64_t proof_ms;    /* not compared for that before this */
    enum { PROOF_NONE, PROOF_DUE, PROOF_COMPARES } proof; /* an end has read its last of them */
    uint64_t retry_ms;                                    /* HELD, FAILED: when to open again */
    uint64_t look_ms;               /* HELD: when to look whether the tree is another */
    uint64_t held_entries;          /* HELD: how many there were here */
    uint64_t deleted, deleted_from; /* as OPENED said */
    uint64_t session;               /* of the last opening; 0: a dry run's */
    bool incomplete;                /* something could not be mirrored: never level */
    bool told_level;                /* LEVEL was sent for this opening */
    uint64_t tell, tell_sent;       /* TELL's tokens: asked for, sent in this session */
    atomic_uint_fast64_t tell_done; /* answered */
    bool told_owed;                 /* OWED was, at the time … */
    uint64_t told_owed_ms;
    bool told_owed_level; /* … and said that all is well */
    unsigned failures;
    bool renewed;      /* another receiver was asked for, for this opening */
    unsigned renewals; /* so often, since … */
    uint64_t renewals_ms;
    bool told_more;      /* than a comparison takes in: another one follows */
    uint64_t free_bytes; /* of its disk, as last reported */
    unsigned told;       /* paths that could not be stored and were logged */
    bool no_room;        /* something did not fit there, when this was free: */
    uint64_t free_then;
    bool waits; /* something waits for room, since this was free: */
    struct space waits_from;
    struct space_keep keep_there; /* that the secondary's own configuration wants left free */
    uint64_t bulk_flying;         /* bytes of bulk files on their way */
    unsigned told_drift;          /* paths that drifted and were logged, since … */
    uint64_t told_drift_ms;       /* … an opening; 0: never */
    pthread_mutex_t lock;         /* of what follows down to the sets, which others read */
    struct space room;            /* of its filesystem; zeros: never told */
    struct space_keep keep;       /* of it, free */
    bool low;                     /* less is free, and has not been more since */
    char waits_path[256];         /* one that waits for room; escaped; empty: none does */
    struct set *piecemeal;        /* units that are renamed file by file there; value: why */
    unsigned piecemeal_said;      /* of these reasons */
    struct set *left;             /* files that are left alone for their size */
    struct msg_trash trash;       /* there, as far as is known */
    struct drifted *drifted;
    struct push_hook hook; /* its command after a commit, as far as is known */
    struct err error;      /* of HELD or FAILED, or the last failing path's */
    char error_path[256];
    int64_t error_time;
    struct push_counts counts;
    uint64_t awaited_ms; /* when a link last waited for what is owed beneath its target; 0: never */
    uint64_t search_ms, searched; /* owed paths gone through for such links since then */
    struct bytes opened;          /* OPENED as it came before the first scan was done; owned */
    uint64_t opened_ms;           /* when that was */
    struct compare *compare;
    struct expander *expander;
};

TAILQ_HEAD(push_site_list, push_site);

/* Takes a reference to the site, and a place in the queue. `without` holds exclusions only, is
 * copied, and may be NULL. */
struct push_site *push_site_new(
    struct queue *q, struct site *s, const char *remote_root, const struct filter *without);
void push_site_free(struct queue *q, struct push_site *ps);

/* May a rename be one there, too: is of neither name anything missing? Any thread. */
bool push_site_may_move(const struct push_site *ps, struct bytes from, struct bytes to);

struct piecemeal_unit {
    char unit[256]; /* escaped */
    const char *why;
};

/* The units that were renamed file by file there when they were sent last, at most `max`. */
size_t push_site_piecemeal_units(struct push_site *ps, struct piecemeal_unit *out, size_t max);

/* The files that are left alone for their size, at most `max`, escaped. */
size_t push_site_left(struct push_site *ps, char (*out)[LOG_NAME_MAX], size_t max);

enum push_event { PUSH_CREATED, PUSH_UPDATED, PUSH_DELETED, PUSH_MOVED, PUSH_SKIPPED };

struct push_hooks {
    /* The state of a site, or of the session, changed. */
    void (*changed)(void *ctx);
    /* A path was committed (or would be, in a dry run). `source` only for PUSH_MOVED. */
    void (*item)(void *ctx, struct push_site *ps, enum push_event what, struct bytes path,
        struct bytes source);
    /* once: a path that could not be mirrored, for good. why->sys: the errno behind it, or 0. */
    void (*failed)(void *ctx, struct push_site *ps, struct bytes path, const struct err *why);
    /* Now and then, for a progress line. */
    void (*progress)(void *ctx);
    /* What OWED is to say of the site (but for its number); false: nothing now. May be NULL. */
    bool (*owed)(void *ctx, struct push_site *ps, struct msg_owed *out);
    /* Between messages: the place to add sites to the list, and to mark those `leaving` that are to
     * go. They are taken off the list and given to `left` when nothing refers to them any more. */
    void (*sites)(void *ctx, struct push_site_list *list);
    void (*left)(void *ctx, struct push_site *ps);
    void *ctx;
};

struct push_far {
    unsigned version;  /* of the protocol */
    char software[64]; /* escaped */
};

struct push_options {
    struct conn *conn;
    struct queue *queue;
    struct push_site_list *sites;
    const char *name; /* of the secondary, for messages */
    const char *host; /* what this host calls itself */
    struct digest host_id;
    int compress;          /* -1 auto, 0 none, 1 zstd */
    uint64_t bwlimit;      /* bytes per second; 0 none */
    unsigned keepalive_ms; /* PING after so long; four times as long without an answer: lost */
    const atomic_bool *stop;
    const atomic_bool *paused; /* while it is set nothing is sent; NULL: never */
    int wake_fd;       /* an eventfd that other threads write when there is something new; or -1 */
    size_t unit_atoms; /* a unit of more is sent path by path; 0: as many as a batch may have */
    size_t strangers;  /* that a comparison may find; 0: MSG_STRANGERS_MAX */
    bool once; /* end when all sites are level, held or failed; failing paths are given up */
    uint64_t *free_bytes; /* of the last site that reported; may be NULL */
    uint32_t *fences;     /* CAP_SANDBOX, or CAP_LACKS_… of the far end; may be NULL */
    uint64_t *batches;    /* counts those acknowledged; may be NULL */
    struct push_far *far; /* what the far end says it is; may be NULL */
    struct tally *tally;  /* may be NULL */
    struct shelf *shelf;  /* with other sessions; NULL: nothing is shared */
    struct bases *bases;  /* NULL: no delta is sent without asking */
    struct often *often;  /* NULL: everything is said each time */
    struct push_hooks hooks;
};

/* Runs the session to its end: 0 when stopped or (once) done, -1 with err when it was lost, the far
 * end reported an error, or it made no progress. What was under way is owed again. */
int push_run(const struct push_options *o, struct err *err);

#endif
