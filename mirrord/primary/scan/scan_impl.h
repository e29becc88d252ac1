/*
 * What the parts of the scanner share: scan.c (thread, order of work), mailbox.c (what others have
 * for it), scan_sites.c (sites come and go), scan_state.c (how one is, and is told), intake.c
 * (events become hints), examine.c (a hint becomes the manifest's truth), rename.c (moves),
 * rescan.c (walks), prove.c (reading again), answers.c (what readers report), barrier.c (flush),
 * settle.c (units). All of it runs on the scanner's thread except where said otherwise.
 */
#ifndef PRIMARY_SCAN_SCAN_IMPL_H
#define PRIMARY_SCAN_SCAN_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "primary/scan/batch.h"
#include "primary/scan/outbox.h"
#include "primary/scan/prove.h"
#include "primary/scan/reader.h"
#include "primary/scan/scan.h"
#include "primary/scan/watch.h"
#include "tree/names.h"
#include "tree/walk/walk.h"

enum {
    SCAN_HELD_RETRY_MS = 5000,
    SCAN_PUBLISH_MS = 200, /* how old published status may get */
    SCAN_PAIRS = 16,       /* renames of which one half or MOVE_SELF may still come */
    /* A name that was left waits so long for its other half, which the kernel queues just behind
     * it, unless whoever renames is held up in between; without it a directory is sent anew. */
    SCAN_PAIR_MS = 100,
};

struct rename_pair {
    uint32_t cookie; /* 0: unused */
    bool is_dir, complete;
    struct hint_key from, to; /* names point into the buffers below */
    char from_name[PATH_NAME_MAX + 1], to_name[PATH_NAME_MAX + 1];
};

struct rescan_job {
    TAILQ_ENTRY(rescan_job) order;
    struct scan_site *site;
    uint64_t dir; /* MANIFEST_ROOT: the whole site */
    bool fresh;   /* nothing was there before: the whole subtree is new */
    bool initial; /* nobody is owed anything yet */
    bool compare; /* a secondary may still have another directory there: compare at the end */
    bool many;    /* more changed than is owed path by path */
    uint64_t changed;
    int64_t began; /* CLOCK_REALTIME seconds */
    uint64_t asked_ms;
    char *top;
    struct walk *walk; /* NULL: not started */
};
TAILQ_HEAD(rescan_jobs, rescan_job);

struct scan_answer {
    STAILQ_ENTRY(scan_answer) order;
    struct bytes path; /* owned */
    bool busy;         /* could not be read at one moment; else: */
    unsigned flags;    /* enum record_flags */
    struct validators validators;
    struct digest digest;
};
STAILQ_HEAD(scan_answers, scan_answer);

struct settle {         /* what brackets the site's units, while one waits for rest */
    uint64_t due_ms;    /* when to look; 0: nothing waits */
    uint64_t looked_ms; /* at the brackets */
    bool news;          /* events came since */
    bool open;          /* one stood when last looked at */
    bool closing;       /* none did any more, but what came before may still be in the queue */
    uint64_t closed_ms; /* when they were seen to have gone; 0: never */
    char bracket[UNREST_TEXT];
};

struct scan_site {
    TAILQ_ENTRY(scan_site) order;
    struct scan *scan;
    struct site *site;
    struct reread_tree *reread;   /* or NULL */
    struct watch *watch;          /* NULL: no instance was to be had */
    struct reader_source *source; /* NULL likewise; changed under the scan's lock */
    atomic_bool pending;          /* what was taken from the reader may still be news to the sink */
    struct buf events;
    struct batch *batch;
    struct outbox outbox;
    struct rename_pair pairs[SCAN_PAIRS];
    unsigned next_pair;
    struct rescan_jobs jobs;  /* subtrees */
    struct rescan_job *whole; /* the walk of the whole site that is wanted or runs */
    bool whole_again;         /* and another one after it */
    bool compare;             /* when it is done, whatever it found */
    uint64_t rescan_due_ms;   /* periodic */
    uint64_t sweep_due_ms;    /* of watches whose directories have left; 0: none */
    uint64_t root_due_ms;     /* when to see whether the root is still what it was */
    uint64_t retry_due_ms;    /* of a site held or failed; 0: it is neither */
    bool unwatched_told;
    bool watchless_told; /* that watch is NULL */
    bool periodic;       /* the whole walk is by the clock: nobody waits for it */
    struct scan_answers answers;
    uint64_t answers_in, answers_done; /* so many so far */
    struct links *links;               /* NULL: none were needed yet */
    struct settle settle;
    struct set *lost;       /* paths of directories deleted lately, oldest first */
    struct set *unreadable; /* paths; value: the number of the whole walk that met them last */
    unsigned whole_number;  /* of the whole walk that runs or ran last */
    struct set *looks;      /* how often peers found a path busy lately */
    LIST_HEAD(, scan_flush) flushes;
    uint64_t barrier_due_us;   /* they are not looked at before */
    bool barrier_skipped;      /* they would have been looked at, but for that */
    struct scan_status status; /* the scanner's own; published under the scan's lock */
    struct scan_status published;
    uint64_t publish_due_ms;
};
TAILQ_HEAD(scan_sites, scan_site);

struct scan {
    struct scan_options options;
    struct scan_sink sink;
    struct reader *reader;
    struct prover *prover;
    struct reread *reread; /* NULL: content is not read again */
    struct names *names;
    uint64_t instances; /* of inotify, in use by the sites */
    pthread_t thread;
    pthread_mutex_t lock; /* mailbox, site list's shape, published status, flushes' results */
    pthread_cond_t removed;
    int wake;
    bool running, stop;                  /* stop: under the lock */
    STAILQ_HEAD(, scan_message) mailbox; /* mailbox.c */
    struct scan_sites sites;
    struct scan_site *walking; /* whose whole walk runs: one at a time */
};

/* mailbox.c */
bool mailbox_take(struct scan *c); /* all that is in it; false: the thread is to end */
void mailbox_drop(struct scan *c); /* what nobody will take any more */
/* Any thread. A file was read, as the record says (NULL: it could not be, at one moment). */
void mailbox_answer(struct scan *c, struct site *s, struct bytes path, const struct record *r);
/* The same as hooks; ctx is the scan. */
void mailbox_seen(void *ctx, struct site *s, struct bytes path, const struct record *r);
void mailbox_look(void *ctx, struct site *s, struct bytes path);

/* scan_sites.c */
void scan_site_add(struct scan *c, struct site *site);
void scan_site_remove(struct scan_site *s);

/* Watches a site that is not watched, if an instance is to be had by now; else it goes on being
 * looked through at an interval, which is said once. */
void scan_watch(struct scan_site *s);

/* scan_state.c: the site is held back, with the reason, until a later look finds it right again;
 * then the whole site is walked and compared. */
void scan_hold(struct scan_site *s, enum scan_state state, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* It was held: another look, now. */
void scan_retry(struct scan_site *s);

/* Is the root still the directory that was opened? False: the site is held. */
bool scan_root_in_place(struct scan_site *s);

/* The manifest or the disk failed in a way that leaves doubt about everything: log, walk again. */
void scan_trouble(struct scan_site *s, const struct err *err);

/* Tells what the outbox has; hints go into the batch. */
void scan_send(struct scan_site *s);

/* Others see its status as it is now, if that is wanted by now; want: in so many ms at the latest.
 */
void scan_publish(struct scan_site *s);
void scan_want_publish(struct scan_site *s, uint64_t ms);

bool scan_is_up(const struct scan_site *s); /* scanned, and neither held nor failed */

/* The path of a hint as text. False: its directory is not in the manifest any more. */
bool scan_hint_path(
    struct scan_site *s, const struct hint *h, char path[PATH_TOTAL_MAX + 1], size_t *len);

/* pending.c: the site's hook `pending` (any thread; ctx is the scan), and what keeps its answer: an
 * answer of a peer was taken from the mailbox, or the scanner has done what it could for now. */
bool pending_is(void *ctx, const struct site *site);
void pending_answer(struct scan_site *s, const struct scan_answer *a);
void pending_settle(struct scan_site *s);

/* scan.c: an end to the thread's rest. Any thread; ctx is the scan. */
void scan_wake(void *ctx);
/* Under the scan's lock: the site's part, or NULL. */
struct scan_site *scan_find(struct scan *c, const struct site *site);
/* Likewise: does the mailbox have the report of a peer that a path of this site was busy? */
bool mailbox_has_busy(struct scan *c, const struct site *site);

/* intake.c */
void intake_run(struct scan_site *s);
void intake_take(struct scan_site *s); /* what is in `events`: whole records of inotify(7) */

/* examine.c: looks at what is due, for some milliseconds. */
void examine_run(struct scan_site *s);

/* rename.c: directory `number` (of this inode; 0: any) is now at `to`: in the manifest, and told.
 * 1; 0 when the manifest does not fit that (whoever asks hints at both names anyway); -1. */
int rename_directory(struct scan_site *s, struct manifest_txn *t, uint64_t number, uint64_t inode,
    struct hint_key to, struct err *err);

/* A file of at least this size is moved rather than sent again. */
enum { RENAME_FILE_MIN = 1024 * 1024 };

/* rescan.c */
void rescan_start(struct scan_site *s, bool initial); /* of the whole site, now or after this one */
void rescan_subtree(struct scan_site *s, uint64_t dir, bool fresh);

/* A directory was deleted at this path. Until the secondaries have been told, a new one there would
 * hide that: its walk ends with a comparison. */
void rescan_note_lost(struct scan_site *s, struct bytes path);
bool rescan_step(struct scan_site *s);            /* of a subtree; true: more to do */
bool rescan_whole(struct scan_site *s);           /* a step of the whole; true: more to do */
bool rescan_is_wanted(const struct scan_site *s); /* of anything but by the clock */
void rescan_drop(struct scan_site *s);            /* forgets all walks */
void rescan_sweep(struct scan_site *s);           /* drops watches of directories that have left */

/* unreadable.c: paths that cannot be read. */
bool unreadable_note(struct scan_site *s, struct bytes path); /* true: it is news */
void unreadable_forget(struct scan_site *s, struct bytes path);
bool unreadable_has(const struct scan_site *s, struct bytes path);
void unreadable_settle(
    struct scan_site *s); /* a whole walk is through: what it did not meet goes */
void unreadable_collect(struct scan_site *s); /* names them in the status */

/* settle.c: which units have come to rest. */
void settle_run(struct scan_site *s);
uint64_t settle_due(const struct scan_site *s); /* UINT64_MAX: none waits */
/* All of the unit is walked; files that are parts of one are hinted at. */
void settle_look_through(struct scan_site *s, struct bytes unit);

/* answers.c: what peers and the prover report. Posted from their threads. */
void answers_add(struct scan_site *s, struct scan_answer *a); /* takes it */
void answers_run(struct scan_site *s);
void answers_drop(struct scan_site *s);

/* links.c: the other names of a file that was found changed. */
void links_note(struct scan_site *s, uint64_t inode);
/* A name of it is gone: what was last done through that name has not been seen. */
void links_lost(struct scan_site *s, uint64_t inode);
void links_step(struct scan_site *s);
bool links_is_wanted(const struct scan_site *s);
uint64_t links_due(const struct scan_site *s); /* UINT64_MAX: nothing to do */
void links_free(struct scan_site *s);

/* barrier.c: flushes. */
enum barrier_state { BARRIER_NEW, BARRIER_QUEUED, BARRIER_PASSED, BARRIER_OVER };

struct scan_flush {
    LIST_ENTRY(scan_flush) order;
    struct scan *scan;
    struct site *site;
    atomic_uint refs; /* the caller's and the scanner's */
    atomic_bool abandoned;
    unsigned flags;
    struct bytes *paths;
    size_t path_count;
    struct bytes unit;        /* not a flush, but a unit to be looked through; len 0: a flush */
    enum barrier_state state; /* the scanner's, as the five below */
    uint64_t answers;         /* answers of the site that came before it */
    char name[40];            /* of its cookie */
    bool wide;                /* a directory, or all, is meant: what walks find counts */
    bool held_up;             /* the last look met a hint that has to be waited for */
    uint64_t mark;            /* hints up to this one are waited for */
    int result;               /* under the scan's lock from here on */
    char why[512];
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX];
    size_t busy_count;
};

void barrier_begin(struct scan_site *s, struct scan_flush *f);
void barrier_cookie(struct scan_site *s, struct bytes name); /* it came out of the queue */
void barrier_check(struct scan_site *s);
void barrier_fail_all(struct scan_site *s, const char *why);
void barrier_fail(struct scan_flush *f, const char *why);
void barrier_unref(struct scan_flush *f);
bool barrier_is_wanted(const struct scan_site *s);                 /* something is waited for, */
uint64_t barrier_next_ms(const struct scan_site *s, uint64_t now); /* and to be looked at then */

/* The site's hooks `check`, `checked` and `check_free`: ctx is the scan. */
void *barrier_check_unit(void *ctx, struct site *s, struct bytes unit);
int barrier_unit_checked(void *check, struct err *err);
void barrier_unit_free(void *check);

/* mailbox.c: hands a flush to the scanner's thread. */
void scan_post_flush(struct scan *c, struct scan_flush *f);

#endif
