/*
 * The queue: what one secondary is owed, as a set of paths per site. A path is in it once; what
 * happens to it while it is being sent makes it owed again afterwards. Thread-safe: the scanner
 * adds, the peer's thread takes.
 */
#ifndef PRIMARY_PUSH_QUEUE_QUEUE_H
#define PRIMARY_PUSH_QUEUE_QUEUE_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "primary/site.h"

enum owed_class { OWED_LIVE, OWED_BULK, OWED_UNIT, OWED_CLASSES };

/* What a comparison found out, for counts and for choosing how to send. */
enum owed_kind {
    OWED_ANY,    /* not known */
    OWED_CREATE, /* the secondary has nothing there */
    OWED_UPDATE, /* it has something else there */
    OWED_META,   /* it has this content there, with other metadata */
    OWED_DELETE,
    OWED_MOVE, /* `source` is renamed to the path there */
};

/* One thing owed. Fields are the queue's until it is taken and the taker's until it is given
 * back; `again` is the queue's always. What the taker changes and others count meanwhile is
 * atomic. */
struct owed {
    TAILQ_ENTRY(owed) order;
    struct set_item *item; /* its place in the set: key is the path */
    struct queue_site *home;
    enum owed_class class;
    enum owed_kind kind;
    enum { OWED_WAITING, OWED_DELAYED, OWED_FLYING } place;
    bool subtree;         /* all beneath it too */
    bool known;           /* the secondary probably has an older version of this file */
    bool open;            /* send it although it has a writer */
    bool check;           /* compare the directory when it is there: it may hold what is not here */
    bool whole;           /* send the content, whatever it may have */
    bool alone;           /* with all beneath it path by path, units or not */
    bool awaits;          /* a link, given back until nothing is owed beneath its target, or
                           * a deletion that waits for such a link */
    atomic_bool no_room;  /* given back until the secondary's disk has room */
    bool again;           /* owed again while it was flying */
    bool again_unit;      /* as a unit then */
    bool again_check;     /* and then to be compared */
    unsigned again_flags; /* enum owe_flags of what came then */
    unsigned tries;       /* failures so far */
    unsigned taken;       /* while the queue remembered for this time (queue_remember) */
    uint64_t seq;         /* peer_mark's number */
    uint64_t again_seq;   /* the one of what came while it was flying */
    enum owed_kind again_kind;
    uint64_t since_ms, due_ms;
    _Atomic(uint64_t) bytes; /* size where known */
    uint64_t files;          /* DELETE: how many go with it, where known */
    char *source;            /* MOVE: from; CREATE: a path there with the same content; or NULL */
    char *error;             /* of the last failure; NULL: none */

    /* Of a path that goes with its unit, and so is not the queue's: */
    struct unit_push *unit;
    struct atom *atom; /* by which it was sent; NULL: it was not, or not as it is now */
    unsigned round;    /* the plan's when it was found last */
    bool has_theirs;   /* the secondary's content is as long, and has this digest */
    struct digest theirs;
};

struct queue;
struct queue_site;

/* `wake` is called, possibly by any thread, when something can be taken that could not before. */
struct queue *queue_new(void (*wake)(void *ctx), void *ctx);
void queue_free(struct queue *q);

struct queue_site *queue_add_site(struct queue *q, struct site *s);
void queue_remove_site(struct queue *q, struct queue_site *qs); /* drops what was owed */

/* Adds or refreshes. Path, kind and flags (enum owe_flags) as told; an item that is there keeps its
 * place in the order. source may be NULL. Where the path lies in a unit, that is owed, once, under
 * its key. What is to be deleted there as a subtree and is a directory here when its turn comes
 * (made meanwhile) is compared then. */
void queue_owe(struct queue *q, struct queue_site *qs, struct bytes path, unsigned flags,
    enum owed_kind kind, struct bytes source, uint64_t bytes, uint64_t files);

/* How much has been told of this site so far. While that stays the same, nothing was sent that is
 * newer than what was read before it was asked: whoever tells, has it in the manifest first. */
uint64_t queue_news(const struct queue_site *qs);

/* What was just owed, alone or with its unit, is not news: it was found by looking, and happened
 * before. Every flush waits for it, also one that began earlier. */
void queue_backdate(struct queue *q, struct queue_site *qs, struct bytes path);

/* While manifests are compared, live changes are sent: what a comparison finds may be old news by
 * its end. From `on` to off, paths that were taken since and are done are remembered. Once more
 * `on` begins anew: what was sent before may be older than what is compared from now on. */
void queue_remember(struct queue *q, struct queue_site *qs, bool on);

/* Was the newest state of this path sent since, or is it on its way? */
bool queue_sent(struct queue *q, struct queue_site *qs, struct bytes path);

/* A rename: what is owed at or beneath `from` becomes owed beneath `to`, behind the move. */
void queue_move(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to);

/* The same, told by the state of both names. */
void queue_owe_both(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to);

/* Takes the next due thing of this class, or NULL. A move is given only when nothing of the site
 * but units flies, and nothing but units while a move flies. A unit is given when it is at rest. */
struct owed *queue_take(struct queue *q, struct queue_site *qs, enum owed_class class);

/* Takes a unit that does not rest, but is calm; or NULL. */
struct owed *queue_take_ahead(struct queue *q, struct queue_site *qs);

/* What flies begins anew with what is there now: what came meanwhile is part of that. */
void queue_renew(struct queue *q, struct owed *o);

/* Is there anything to take? */
bool queue_ready(struct queue *q, struct queue_site *qs, enum owed_class class);

/* Makes a flying thing out of a path found while the subtree of `top` is sent; NULL when the path
 * is owed by itself already, waiting or flying. Either way a flush that waits for `top` waits for
 * it. */
struct owed *queue_claim(struct queue *q, struct queue_site *qs, struct bytes path,
    enum owed_class class, const struct owed *top);

struct bytes queue_path(const struct owed *o);

/* Gives it back. done: it is there, so forgotten unless it was owed again meanwhile. retry: owed
 * still, after a pause of delay_ms doubled with each failure to at most max_ms; error may be NULL.
 */
void queue_done(struct queue *q, struct owed *o);
void queue_retry(
    struct queue *q, struct owed *o, unsigned delay_ms, unsigned max_ms, const char *error);

/* Everything that flies is owed again: the connection is gone. */
void queue_land(struct queue *q, struct queue_site *qs);

/* When the first delayed thing of any site comes due: milliseconds from now, or -1. Makes those
 * that are due waiting. */
int queue_next_due(struct queue *q);

/* The far end can do again what it could not: all that failed there is tried now. */
void queue_hurry(struct queue *q, struct queue_site *qs);

/* Of what waits after a failure, the one with the least content is tried now, if that is less than
 * `most` bytes. False: it is more. True: so done, or nothing waits. */
bool queue_probe(struct queue *q, struct queue_site *qs, uint64_t most);

/* Is something owed at or beneath this path? What awaits its own target does not count, so that
 * links into each other's directories do not wait for each other for ever; nor does a path that
 * failed, but a unit does. */
bool queue_owes_beneath(struct queue *q, struct queue_site *qs, struct bytes path);

/* How many paths are owed. */
size_t queue_size(struct queue *q, struct queue_site *qs);

struct queue_counts {
    uint64_t paths, flying, failing, bytes;
    uint64_t no_room;   /* wait for the secondary's disk */
    uint64_t oldest_ms; /* age of the oldest */
};
/* Of thousands, but for `paths` and `flying`, as they were within the last second. */
void queue_count(struct queue *q, struct queue_site *qs, struct queue_counts *out);

/* The latest number given out. */
uint64_t queue_mark(struct queue *q);

/* Is anything with a number ≤ mark owed at or beneath one of the paths (none given: anywhere)? */
bool queue_owes(struct queue *q, struct queue_site *qs, uint64_t mark, const struct bytes *paths,
    size_t path_count);

#endif
