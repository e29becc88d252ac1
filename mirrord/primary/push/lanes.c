/* Batches on their way out, in four lanes: small live changes, live files too large to travel in
 * their entry, units (unit_push.c makes their batches), bulk. A lane fills one batch as long as
 * there is something to take, and commits it as soon as there is not and its transfers are through:
 * batching by load, not by timer. What goes into a batch is send.c's, what becomes of it acks.c's.
 */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/push/push_impl.h"

enum {
    BATCH_ATOMS = 1024,
    BATCH_ATOMS_LIVE = 256, /* where a live change may wait for its commit: three milliseconds */
    BATCH_BYTES = 4 * 1024 * 1024,
    TRANSFERS_MAX = 8, /* of a lane at once: each holds a descriptor and perhaps a signature */
    PROBE_MS = 3000,
};

void lanes_init(struct push *p)
{
    for (int i = 0; i < LANES; i++) {
        TAILQ_INIT(&p->lanes[i].open);
        TAILQ_INIT(&p->lanes[i].sending);
        TAILQ_INIT(&p->lanes[i].pending);
    }
    TAILQ_INIT(&p->sent);
    TAILQ_INIT(&p->units);
}

static struct push_batch *batch_new(struct push *p, struct lane *lane, struct push_site *ps)
{
    struct push_batch *b = mem_alloc(sizeof *b);
    b->number = ++p->next_batch;
    b->ps = ps;
    b->lane = lane;
    TAILQ_INIT(&b->atoms);
    TAILQ_INSERT_TAIL(&lane->open, b, order);
    msg_put_begin(&p->out, &(struct msg_begin){.batch = b->number, .site = ps->number});
    return b;
}

void lanes_drop_atom(struct atom *a)
{
    TAILQ_REMOVE(&a->batch->atoms, a, order);
    a->batch->ps->bulk_flying -= a->reserved;
    if (a->part)
        a->part->atom = NULL;
    a->batch->lane->atoms--;
    stream_free(a->stream);
    outline_unref(a->outline);
    free(a->text);
    free(a);
}

void lanes_drop_batch(struct push_batch *b)
{
    while (!TAILQ_EMPTY(&b->atoms))
        lanes_drop_atom(TAILQ_FIRST(&b->atoms));
    b->lane->atoms -= b->aborted;
    free(b);
}

static void drop_lane(struct lane *lane)
{
    while (!TAILQ_EMPTY(&lane->open)) {
        struct push_batch *b = TAILQ_FIRST(&lane->open);
        TAILQ_REMOVE(&lane->open, b, order);
        lanes_drop_batch(b);
    }
    while (!TAILQ_EMPTY(&lane->pending)) {
        struct pending *w = TAILQ_FIRST(&lane->pending);
        TAILQ_REMOVE(&lane->pending, w, order);
        free(w);
    }
}

void lanes_free(struct push *p)
{
    for (int i = 0; i < LANES; i++)
        drop_lane(&p->lanes[i]);
    while (!TAILQ_EMPTY(&p->sent)) {
        struct push_batch *b = TAILQ_FIRST(&p->sent);
        TAILQ_REMOVE(&p->sent, b, order);
        lanes_drop_batch(b);
    }
    unit_push_free_all(p, NULL);
}

struct atom *lanes_atom(struct push *p, struct push_batch *b, struct owed *o)
{
    struct atom *a = mem_alloc(sizeof *a);
    a->number = ++p->next_atom;
    a->batch = b;
    a->owed = o;
    if (o->unit) {
        a->part = o;
        o->atom = a;
    }
    TAILQ_INSERT_TAIL(&b->atoms, a, order);
    b->count++;
    b->lane->atoms++;
    return a;
}

void lanes_abort_atom(struct push *p, struct atom *a)
{
    msg_put_abort(&p->out, &(struct msg_abort){.atom = a->number});
    if (a->stream) {
        TAILQ_REMOVE(&a->batch->lane->sending, a, sending);
        a->batch->lane->transfers--;
        a->batch->transfers--;
    }
    a->batch->aborted++; /* it counts there until the batch is over */
    a->batch->lane->atoms++;
    lanes_drop_atom(a);
}

void lanes_commit(struct push *p, struct push_batch *b)
{
    struct lane *lane = b->lane;
    if (lane->filling == b)
        lane->filling = NULL;
    TAILQ_REMOVE(&lane->open, b, order);
    TAILQ_INSERT_TAIL(&p->sent, b, order);
    lane->sent_count++;
    lane->sent_bytes += b->bytes;
    msg_put_commit(&p->out, &(struct msg_commit){.batch = b->number});
}

struct push_batch *lanes_batch(struct push *p, struct lane *lane, struct push_site *ps, bool solo)
{
    if (solo)
        return batch_new(p, lane, ps);
    if (!lane->filling)
        lane->filling = batch_new(p, lane, ps);
    return lane->filling;
}

bool lanes_has_credit(const struct lane *lane)
{
    return lane->sent_count < PUSH_CREDIT_BATCHES && lane->sent_bytes < PUSH_CREDIT_BYTES &&
           lane->transfers < TRANSFERS_MAX;
}

/* A one-shot has nothing live, and what each batch syncs is better synced for many paths. */
static bool is_full(const struct push *p, const struct push_batch *b)
{
    bool many = p->o->once || b->ps->site->options.fsync_batch;
    return b->count >= (many ? BATCH_ATOMS : BATCH_ATOMS_LIVE) || b->bytes >= BATCH_BYTES;
}

bool lanes_may_send(const struct push *p, const struct push_site *ps, enum owed_class class)
{
    if (!ps->site->cleared || ps->site->fenced || ps->site->paused ||
        (p->o->paused && *p->o->paused))
        return false;
    return ps->state == PUSH_OPEN ||
           (class == OWED_LIVE && ps->state == PUSH_COMPARING && !ps->unjudged);
}

/* The next thing this lane should send for this site, taken. */
static struct owed *next_owed(struct push *p, int lane, struct push_site *ps)
{
    if (lane == LANE_LIVE)
        return queue_take(p->o->queue, ps->owed, OWED_LIVE);
    struct err err;
    err_clear(&err);
    struct owed *o = expander_next(p, ps, &err);
    if (!o && err.code) {
        push_site_error(ps, &err, (struct bytes){0});
        return NULL;
    }
    return o ? o : queue_take(p->o->queue, ps->owed, OWED_BULK);
}

static bool take_pending(struct push *p, struct lane *lane)
{
    struct pending *w = TAILQ_FIRST(&lane->pending);
    if (!w || (lane->filling && lane->filling->ps != w->ps))
        return false;
    TAILQ_REMOVE(&lane->pending, w, order);
    struct push_site *ps = w->ps;
    struct owed *o = w->owed;
    free(w);
    send_owed(p, lane, ps, o);
    return true;
}

/* One more path into the batch being filled, or the first of a new one. */
static bool fill(struct push *p, int number)
{
    struct lane *lane = &p->lanes[number];
    if (renew_holds_back(p) || !lanes_has_credit(lane) ||
        (lane->filling && is_full(p, lane->filling)))
        return false;
    if (take_pending(p, lane))
        return true;
    if (number == LANE_LARGE || number == LANE_UNIT)
        return false;
    enum owed_class class = number == LANE_LIVE ? OWED_LIVE : OWED_BULK;
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order) {
        if (!lanes_may_send(p, ps, class) || (lane->filling && lane->filling->ps != ps))
            continue;
        struct owed *o = next_owed(p, number, ps);
        if (!o)
            continue;
        send_owed(p, lane, ps, o);
        return true;
    }
    return false;
}

/* The transfer is over: the batch may be complete. */
static void transfer_over(struct push *p, struct atom *a)
{
    struct push_batch *b = a->batch;
    struct lane *lane = b->lane;
    TAILQ_REMOVE(&lane->sending, a, sending);
    lane->transfers--;
    b->transfers--;
    stream_free(TAKE_PTR(a->stream));
    if (b->transfers == 0 && b != lane->filling && !b->unit)
        lanes_commit(p, b);
}

/* The file changed or could not be read, or the far end has another one than was thought: it was
 * told to forget this atom. */
static void transfer_failed(struct push *p, struct atom *a, int outcome, struct err *err)
{
    struct push_site *ps = a->batch->ps;
    struct owed *o = a->owed;
    transfer_over(p, a); /* may commit the batch, which keeps the atom */
    lanes_drop_atom(a);
    if (o->unit)
        unit_push_spoiled(o->unit, err);
    else if (err->code)
        send_unreadable(p, ps, o, err);
    else if (outcome == STREAM_REFUSED)
        send_unbased(p, ps, o);
    else
        send_busy(p, ps, o);
}

/* Serves the transfers in turn, so that a large one does not hold up the rest of the lane. */
static bool step_transfers(struct push *p, struct lane *lane)
{
    for (unsigned i = lane->transfers; i > 0; i--) {
        struct atom *a = TAILQ_FIRST(&lane->sending);
        struct err err;
        err_clear(&err);
        int r = stream_step(p, a->stream, &err);
        if (r == STREAM_DONE) {
            transfer_over(p, a);
            return true;
        }
        if (r == STREAM_CHANGED || r == STREAM_REFUSED || r < 0) {
            transfer_failed(p, a, r, &err);
            return true;
        }
        TAILQ_REMOVE(&lane->sending, a, sending);
        TAILQ_INSERT_TAIL(&lane->sending, a, sending);
        if (r == STREAM_SENT)
            return true;
    }
    return false;
}

/* Nothing more to take now: what there is may go. */
static bool close_filling(struct push *p, struct lane *lane)
{
    struct push_batch *b = lane->filling;
    if (!b)
        return false;
    lane->filling = NULL;
    if (b->transfers > 0)
        return true; /* its last transfer commits it */
    lanes_commit(p, b);
    return true;
}

/* The pauses of what failed grow to a minute, which is long when the disk has room again. So now
 * and then the smallest is tried, whose success hurries the others; where all are large, a batch of
 * nothing asks how much room there is. */
void lanes_probe(struct push *p)
{
    uint64_t now = io_now_ms();
    struct push_site *ps;
    if (now < p->probe_ms || p->o->once || renew_holds_back(p))
        return;
    p->probe_ms = now + PROBE_MS;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (ps->state == PUSH_OPEN && !queue_probe(p->o->queue, ps->owed, PUSH_SOLO_MIN) &&
            ps->no_room)
            lanes_commit(p, batch_new(p, &p->lanes[LANE_LIVE], ps));
}

static bool throttled(const struct push *p, int lane)
{
    return p->o->bwlimit && p->tokens <= 0 && lane != LANE_LIVE;
}

/* Units and bulk yield to what is live: no more of them is on its way than keeps the link busy. A
 * one-shot has nothing that is live. */
static bool is_paced(const struct push *p, int lane)
{
    return lane >= LANE_UNIT && !p->o->once;
}

static bool step_lane(struct push *p, int number)
{
    struct lane *lane = &p->lanes[number];
    return step_transfers(p, lane) || fill(p, number) || close_filling(p, lane) ||
           (number == LANE_UNIT && unit_push_step(p));
}

/* What the lane has just put out counts; now and then a mark goes behind it, but none into a run.
 */
static void count_bulk(struct push *p, size_t bytes)
{
    uint64_t token;
    if (pace_sent(&p->pace, bytes, !bundle_is_open(p), io_now_us(), &token))
        push_ping(p, token);
}

bool lanes_step(struct push *p)
{
    for (int i = 0; i < LANES; i++) {
        uint64_t before = bundle_made(p);
        bool paced = is_paced(p, i);
        if (throttled(p, i) || (paced && !pace_is_open(&p->pace)))
            return false;
        if (!step_lane(p, i))
            continue;
        if (paced)
            count_bulk(p, (size_t)(bundle_made(p) - before));
        return true;
    }
    return false;
}

bool lanes_live_waiting(struct push *p)
{
    if (p->lanes[LANE_LIVE].filling || !TAILQ_EMPTY(&p->lanes[LANE_LARGE].open))
        return true;
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (lanes_may_send(p, ps, OWED_LIVE) && queue_ready(p->o->queue, ps->owed, OWED_LIVE))
            return true;
    return false;
}

bool lanes_idle(const struct push *p)
{
    for (int i = 0; i < LANES; i++)
        if (!TAILQ_EMPTY(&p->lanes[i].open) || !TAILQ_EMPTY(&p->lanes[i].pending))
            return false;
    return TAILQ_EMPTY(&p->sent) && TAILQ_EMPTY(&p->units);
}

static bool any_of(const struct push_batch_list *list, const struct push_site *ps)
{
    const struct push_batch *b;
    TAILQ_FOREACH (b, list, order)
        if (!ps || b->ps == ps)
            return true;
    return false;
}

bool lanes_are_settled(const struct push *p, const struct push_site *ps)
{
    for (int i = 0; i < LANES; i++)
        if (any_of(&p->lanes[i].open, ps))
            return false;
    return !any_of(&p->sent, ps);
}

void lanes_take_back(struct push *p, struct push_site *ps)
{
    lanes_drop_site(p, ps);
    expander_free_all(ps);
    ps->caps |= CAP_PARTS; /* what had arrived of large files is there */
}

struct atom *lanes_find_atom(struct push *p, uint32_t number)
{
    struct atom *a;
    for (int i = 0; i < LANES; i++)
        TAILQ_FOREACH (a, &p->lanes[i].sending, sending)
            if (a->number == number)
                return a;
    return NULL;
}

bool lanes_has_open(const struct push *p, uint32_t number)
{
    const struct push_batch *b;
    for (int i = 0; i < LANES; i++)
        TAILQ_FOREACH (b, &p->lanes[i].open, order)
            if (b->number == number)
                return true;
    return false;
}

static void forget(struct push_batch_list *list, struct push_batch *b)
{
    struct lane *lane = b->lane;
    struct atom *a;
    TAILQ_FOREACH (a, &b->atoms, order)
        if (a->stream) {
            TAILQ_REMOVE(&lane->sending, a, sending);
            lane->transfers--;
        }
    if (lane->filling == b)
        lane->filling = NULL;
    TAILQ_REMOVE(list, b, order);
    lanes_drop_batch(b);
}

void lanes_forget(struct push_batch *b)
{
    forget(&b->lane->open, b);
}

static void forget_batches(struct push_batch_list *list, struct push_site *ps)
{
    struct push_batch *b, *next;
    for (b = TAILQ_FIRST(list); b; b = next) {
        next = TAILQ_NEXT(b, order);
        if (b->ps == ps)
            forget(list, b);
    }
}

void lanes_drop_site(struct push *p, struct push_site *ps)
{
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &p->lanes[i];
        struct pending *w, *next;
        for (w = TAILQ_FIRST(&lane->pending); w; w = next) {
            next = TAILQ_NEXT(w, order);
            if (w->ps != ps)
                continue;
            TAILQ_REMOVE(&lane->pending, w, order);
            free(w);
        }
        forget_batches(&lane->open, ps);
    }
    struct push_batch *b;
    TAILQ_FOREACH (b, &p->sent, order)
        if (b->ps == ps) {
            b->lane->sent_count--;
            b->lane->sent_bytes -= b->bytes;
        }
    forget_batches(&p->sent, ps);
    unit_push_free_all(p, ps);
    queue_land(p->o->queue, ps->owed);
}
