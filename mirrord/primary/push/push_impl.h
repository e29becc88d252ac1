/* What the parts of a push share: push.c (the loop), inbox/ (what comes in), tend.c (which sites
 * are open), push_site.c (a site), push_room.c (the room for it), push_owed.c (what it is told of
 * that), push_proof.c (what was taken over is read), lanes.c (batches going out), send.c,
 * send_entry.c and sight.c (one path), acks.c (what became of it), stream.c (one file's content),
 * mosaic.c (one made of an old one's extents), unit/ (a unit), compare.c and merge.c (two
 * manifests; compare.h), expand.c (a subtree path by path), switches.c (links that wait for what
 * they lead to), renew.c (another receiver for the same session), bundle.c and packer.c (small
 * files packed together), shelf.c (what sessions share). Private to them.
 */
#ifndef PRIMARY_PUSH_PUSH_IMPL_H
#define PRIMARY_PUSH_PUSH_IMPL_H

#include "base/buf.h"
#include "primary/push/compare/compare.h"
#include "primary/push/pace.h"
#include "primary/push/pack/packer.h"
#include "primary/push/push.h"
#include "primary/push/send/above.h"
#include "primary/push/send/bases.h"
#include "primary/scan/source.h"
#include "tree/content/zip.h"
#include "tree/names.h"

enum {
    PUSH_INLINE_MAX = 48 * 1024,      /* content that travels in its ENTRY */
    PUSH_SOLO_MIN = 1024 * 1024,      /* a file from here on has a batch of its own */
    PUSH_LIVE_MAX = 16 * 1024 * 1024, /* larger files are bulk */
    PUSH_OUT_LIVE = 64 * 1024,        /* bytes that may wait while live work does */
    PUSH_OUT_BULK = 256 * 1024,
    PUSH_OUT_ONCE = 1024 * 1024, /* the same where nothing is live; of much nothing is packed yet */
    PUSH_CREDIT_BYTES = 8 * 1024 * 1024, /* sent and not acknowledged */
    PUSH_CREDIT_BATCHES = 64,
    PUSH_OWED_MS = 500,              /* between looks at what OWED has to tell */
    PUSH_PINGS_MAX = 2 * PACE_MARKS, /* more are never without an answer */
};

/* The lanes, first served first. */
enum { LANE_LIVE, LANE_LARGE, LANE_UNIT, LANE_BULK, LANES };

struct atom { /* one path of a batch on its way */
    TAILQ_ENTRY(atom) order;
    TAILQ_ENTRY(atom) sending; /* while it has a transfer */
    uint32_t number;
    struct owed *owed;
    struct push_batch *batch;
    struct stream *stream; /* NULL when all has been sent */
    enum push_event what;
    struct record record;      /* what `seen` gets: type, size, digest, validators, flags */
    bool has_record, told;     /* told: to `seen` */
    bool content;              /* its content was sent, or is being sent */
    struct owed *part;         /* of a unit, whose `atom` this is; or NULL */
    struct outline *outline;   /* of the content that was sent; NULL: not kept */
    bool based;                /* it was sent as a delta without asking */
    struct expander *expander; /* its subtree follows */
    uint64_t reserved;         /* bytes of bulk_flying that are its */
    uint16_t reason;           /* of its failure; REASON_NONE: none */
    uint32_t errnum;           /* behind it, there; 0: none */
    char *text;
};

TAILQ_HEAD(atom_list, atom);

struct push_batch {
    TAILQ_ENTRY(push_batch) order;
    uint32_t number;
    struct push_site *ps;
    struct lane *lane;
    struct unit_push *unit; /* NULL: each of its atoms stands for itself */
    struct atom_list atoms;
    unsigned count;
    unsigned transfers; /* under way */
    unsigned aborted;   /* atoms, by lanes_abort_atom */
    uint64_t bytes;     /* of frames put out for it, files of their own apart */
    bool no_room;       /* something of it did not fit on the far end's disk */
};

TAILQ_HEAD(push_batch_list, push_batch);

struct pending { /* a file too large for the lane that found it, or the directory above one */
    TAILQ_ENTRY(pending) order;
    struct push_site *ps;
    struct owed *owed;
};

struct lane {
    struct push_batch *filling; /* the one that takes more; in `open` too */
    struct push_batch_list open;
    struct atom_list sending; /* atoms with a transfer, served in turn */
    unsigned transfers;
    TAILQ_HEAD(pending_list, pending) pending;
    unsigned sent_count; /* committed, not acknowledged */
    uint64_t sent_bytes;
    size_t atoms; /* of all its batches */
};

struct bundle {      /* bundle.c */
    size_t from, to; /* in `out`: frames that wait for others to be packed with; equal: none */
    uint64_t gone;   /* bytes of frames that left `out` otherwise than by being sent from it */
    struct wire_writer frame; /* scratch */
};

/* The far end's receiver is to be renewed (PROTOCOL.md), since it cannot serve some site. */
enum renew_state {
    RENEW_NO,
    RENEW_WANTED,   /* once what is being opened is open, and all goes on until then */
    RENEW_DRAINING, /* nothing new is begun */
    RENEW_SENT,     /* nothing is sent but ERROR and BYE */
};

struct push {
    const struct push_options *o;
    struct conn *conn;
    struct buf in;
    struct wire_writer out;
    size_t out_at; /* bytes of `out` that the connection has taken */
    struct bundle bundle;
    struct packer *packer;           /* what goes before `out` */
    const struct foreseen *foreseen; /* sight.h; of the path that was listed last: */
    const struct owed *foreseen_of;
    struct above above; /* of the path looked at last; forgotten at the end of each turn */
    struct names *names;
    struct packing packing; /* of what the packer's thread is not needed for */
    struct lane lanes[LANES];
    TAILQ_HEAD(, unit_push) units;
    struct push_batch_list sent; /* committed, not acknowledged */
    uint32_t next_site, next_batch, next_atom, next_request;
    bool greeted;
    bool more; /* there was more to send than may wait, or than was made in time */
    uint64_t session;
    struct digest far_id;           /* the secondary's host id */
    uint64_t heard_ms, spoke_ms;    /* a whole frame came; bytes left */
    uint64_t answered_ms, asked_ms; /* the same, of others than PONG and PING … */
    size_t ping_bytes;              /* … of which so much still has to leave */
    uint16_t complaint; /* what ERROR tells the far end at the end; REASON_NONE: nothing */
    unsigned opening;   /* OPENs without an answer */
    uint16_t version;   /* of the protocol, that is spoken */
    enum renew_state renew;
    uint64_t renew_ms;     /* when this state is given up for the next */
    uint64_t pings, pongs; /* sent, and answered, in order */
    uint64_t tokens_of_pings[PUSH_PINGS_MAX];
    struct pace pace;
    bool shares;   /* it has joined the shelf */
    double tokens; /* of the bandwidth limit */
    uint64_t tokens_us;
    uint64_t owed_due; /* when to look what is to be told of sites */
    bool owed_waits;   /* something is to be told yet, or again */
    uint64_t probe_ms; /* when to try again something that failed */
    uint8_t *block;    /* MSG_CHUNK_MAX bytes, scratch */
};

static inline bool push_stopping(const struct push *p)
{
    return p->o->stop && *p->o->stop;
}

/* push.c */
void push_ping(struct push *p, uint64_t token);

/* tend.c */
enum { TEND_HELD_MS = 2000 };     /* between looks at a site that is held */
void tend_sites(struct push *p);  /* opens what is to be opened (again), closes what goes */
void tend_levels(struct push *p); /* where everything is there, the far end is told, once */

/* renew.c */
void renew_want(struct push *p);
/* Goes on with it: RENEW may be out after this. */
void renew_step(struct push *p);
/* RENEWED has come. -1 with err: it has no place here. */
int renew_done(struct push *p, const struct msg_renewed *m, struct err *err);
static inline bool renew_holds_back(const struct push *p) /* is nothing new to be begun? */
{
    return p->renew >= RENEW_DRAINING;
}

/* tend.c: the far end is told that it is closed, for this reason; it is opened again after a pause.
 */
void push_site_give_up(struct push *p, struct push_site *ps, const struct err *why);

/* push_site.c */
/* Warns of a path's trouble: once an hour for each site and cause. */
void push_site_warn(struct push *p, struct push_site *ps, struct bytes path, const struct err *why);
/* May this kind of thing, of which the far end decides how often it happens, be said now? Once an
 * hour for each site. */
bool push_site_may_say(struct push *p, const struct push_site *ps, const char *what);
/* Records a site's trouble for status. */
void push_site_error(struct push_site *ps, const struct err *why, struct bytes path);
/* Beside ACK's flags, why a unit is renamed file by file: */
enum { PIECEMEAL_LARGE = 1 << 8, PIECEMEAL_REPLACED = 1 << 9 };
/* It was, for these reasons (0: it was switched). True: none was for such a reason before. */
bool push_site_piecemeal(struct push_site *ps, struct bytes unit, unsigned flags);
const char *push_site_piecemeal_text(unsigned flags);
/* A file is left alone for its size, or is not. True: it was not before, and should be said. */
bool push_site_leave(struct push_site *ps, struct bytes path, bool left);
void push_site_trash(struct push_site *ps, const struct msg_trash *m);
void push_site_forget_error(struct push_site *ps);
void push_site_hook(struct push_site *ps, const struct msg_hook *m);

/* Is drift of this site only reported, and nobody overruled that? */
bool push_site_leaves_drift(const struct push_site *ps);
/* Is this path mirrored, but not to this secondary? */
bool push_site_lacks(const struct push_site *ps, struct bytes path, bool is_dir);
void push_site_forget_opened(struct push_site *ps);
/* Its session state is dropped; what was under way for it is owed again. */
void push_site_reset(struct push *p, struct push_site *ps);

/* push_proof.c */
/* A comparison begins with so many files at the two ends whose content was never read. */
void push_proof_begin(struct push_site *ps, uint64_t here, uint64_t there);
void push_proof_told(struct push_site *ps, const struct msg_proving *m);
/* Compares when an end has read its last file. Now and then. */
void push_proof_tend(struct push *p, struct push_site *ps);

/* push_room.c */
void push_room_told(struct push *p, struct push_site *ps, const struct msg_space *m);
void push_room_acked(struct push *p, struct push_site *ps, uint64_t free_bytes);
/* May bulk take so much there? False: what is owed was given back to the queue, until it may. */
bool push_room_for(
    struct push *p, struct push_site *ps, struct owed *o, uint64_t bytes, uint64_t files);

/* push_owed.c */
/* Looks now and then how the sites are there, and tells the far end what is news. */
void push_owed_look(struct push *p);

/* inbox/ */
/* Reads what there is and acts on it. 0, 1 at the end of the stream, -1. */
int inbox_read(struct push *p, struct err *err);
/* once: compares with the OPENED that came before the first scan was done. */
void inbox_compare_kept(struct push *p, struct push_site *ps);

/* lanes.c */
void lanes_init(struct push *p);
void lanes_free(struct push *p); /* gives everything under way back to the queue */
bool lanes_step(struct push *p); /* puts at least one frame out, or false */
bool lanes_live_waiting(struct push *p);
bool lanes_idle(const struct push *p); /* nothing under way or unacknowledged */
/* Has the far end nothing that is not committed and acknowledged, of this site (NULL: of any)? */
bool lanes_are_settled(const struct push *p, const struct push_site *ps);
/* All that is on its way is owed again, as if the link had been cut. */
void lanes_take_back(struct push *p, struct push_site *ps);
void lanes_drop_site(struct push *p, struct push_site *ps);
struct atom *lanes_find_atom(struct push *p, uint32_t number);
bool lanes_has_open(const struct push *p, uint32_t number); /* a batch, not committed */

/* The batch that this lane fills, or (solo) one of its own for a large file; BEGIN is out. */
struct push_batch *lanes_batch(struct push *p, struct lane *lane, struct push_site *ps, bool solo);
struct atom *lanes_atom(struct push *p, struct push_batch *b, struct owed *o); /* numbered, last */
void lanes_drop_atom(struct atom *a);
/* The far end is told to forget it; its batch goes on. */
void lanes_abort_atom(struct push *p, struct atom *a);
void lanes_drop_batch(struct push_batch *b); /* in no list any more; its atoms too */
void lanes_commit(struct push *p, struct push_batch *b);
void lanes_probe(struct push *p);        /* now and then: is what failed possible again? */
void lanes_forget(struct push_batch *b); /* an open one: dropped, with its transfers */
bool lanes_may_send(const struct push *p, const struct push_site *ps, enum owed_class class);
bool lanes_has_credit(const struct lane *lane);

/* send.c */
enum { LATER_MS = 1000, LATER_MAX = 60000 }; /* pauses of what could not be done, growing */
/* Puts the newest state of a path, taken from the queue, into the lane's batch, or hands it to
 * another lane, or back to the queue. */
void send_owed(struct push *p, struct lane *lane, struct push_site *ps, struct owed *o);
/* One path of a unit into its batch. SOURCE_OK; SOURCE_BUSY: it is not any more what was compared;
 * -1: it cannot be read. */
int send_part(struct push *p, struct push_batch *b, struct owed *o, struct err *err);
bool send_root_in_place(struct push_site *ps);                        /* else the site is held */
bool send_is_recorded(struct push_site *ps, struct bytes path);       /* the manifest has it */
void send_busy(struct push *p, struct push_site *ps, struct owed *o); /* it is being written */
/* The far end has not what a delta was made against: it is asked for what it has. */
void send_unbased(struct push *p, struct push_site *ps, struct owed *o);
void send_unreadable(struct push *p, struct push_site *ps, struct owed *o, struct err *err);

/* bundle.c */
/* The frame from `start` to the end of `out` is an ENTRY of this path that may travel with others;
 * offsets behind a run that is closed change. */
void bundle_add(struct push *p, size_t start, struct bytes path);
void bundle_close(struct push *p);
/* The same at the end of a turn, but a run that sessions share may go on growing while something
 * else is on its way, and more is to come. */
void bundle_rest(struct push *p);
bool bundle_is_open(const struct push *p);
size_t bundle_ready(const struct push *p); /* up to here `out` may be sent */
/* Content that another thread packs: true, it is on its way behind all of `out`. False: it is not
 * worth that; nothing was done. */
bool bundle_data(struct push *p, const struct msg_data *m, const void *plain, size_t n);
/* For the difference between two moments of a turn: bytes of frames, as if none was packed. */
uint64_t bundle_made(const struct push *p);

/* switches.c */
/* A link that leads to something that is owed is given back to the queue until it is there: true.
 */
bool switches_await(struct push *p, struct push_site *ps, struct owed *o, const struct entry *e);
/* A deletion, while such a link waits: true, it is given back to the queue, since what the link
 * leads to there still must not go before it. */
bool switches_hold(struct push *p, struct push_site *ps, struct owed *o);
enum { SWITCH_DELAY_MS = 20, SWITCH_DELAY_MAX = 200 };

/* acks.c */
/* What was read for the atom, to whoever scans, once: that is so whatever becomes of it there. */
void acks_tell_read(struct push_site *ps, struct atom *a);
/* What is told about an atom that is there now. */
void acks_tell(struct push *p, struct push_batch *b, struct atom *a);
void acks_count(struct push_site *ps, enum push_event what, uint8_t type, const struct owed *o);
int acks_take(struct push *p, const struct msg_ack *m, struct err *err);

/* stream.c */
struct stream;
enum stream_outcome { STREAM_SENT, STREAM_WAITS, STREAM_DONE, STREAM_CHANGED, STREAM_REFUSED };
/* Takes source. With a base (borrowed), the delta is made against that and nothing is asked. */
struct stream *stream_new(struct atom *a, struct source *source, bool delta, struct outline *base);
void stream_free(struct stream *t);
/* Puts frames of at most MSG_CHUNK_MAX plain bytes out. DONE: FINISH is out and the atom's record
 * filled. CHANGED: ABORT is out. REFUSED: the same, since the far end has not the base. -1: reading
 * failed (ABORT is out). */
int stream_step(struct push *p, struct stream *t, struct err *err);
/* The far end's signature, or what its old file holds. */
int stream_signature(struct stream *t, const struct msg_signature *m, struct err *err);
int stream_extents(struct stream *t, const struct msg_extents *m, struct err *err);

/* expand.c: the expanders of a site are a list, the newest first */
/* Everything beneath the directory that `top` names, parents first. */
struct expander *expander_start(struct push_site *ps, struct owed *top);
/* The next path to send, claimed from the queue; NULL when none of the site has more. */
struct owed *expander_next(struct push *p, struct push_site *ps, struct err *err);
/* The directory itself was acknowledged, or failed with this pause before another try. Whichever
 * comes second, this or the end of its listing, gives `top` back to the queue. */
void expander_answer(struct push *p, struct expander *e, bool ok, const char *why);
void expander_free_all(struct push_site *ps);

/* unit/unit_push.c; unit_push_acked is unit_end.c's */
bool unit_push_step(struct push *p); /* of all units: puts something out, or false */
/* One path of it changed, or (err with a code) cannot be read. */
void unit_push_spoiled(struct unit_push *u, const struct err *err);
void unit_push_acked(struct push *p, struct push_batch *b, uint8_t flags);
void unit_push_free_all(struct push *p, const struct push_site *ps); /* NULL: of all sites */
int unit_push_due(const struct push *p);    /* milliseconds until one goes on by itself; -1 */
bool unit_push_waits(const struct push *p); /* for whoever looks through what was sent */

/* Those under way, in order: NULL first, NULL at the end; *compare may be NULL. */
struct unit_push *unit_push_each(
    struct push *p, const struct unit_push *before, struct compare **compare);

#endif
