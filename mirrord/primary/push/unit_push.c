/*
 * A unit on its way to one secondary, in two phases (RULES 4): it is compared, what differs is sent
 * into one batch, then it is looked through once more, and only if nothing in it has changed since
 * the comparison began is the batch committed; else it is compared anew, and of what was sent
 * before only that is sent again which has changed since. Up to UNITS_OPEN at a time, each a frame
 * in turn, behind live changes.
 *
 * All but the last look and the commit is done before it has come to rest, when it is calm, so that
 * a distant secondary has most of an update by the time that this is over.
 */
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/unit_push_impl.h"

enum {
    UNITS_OPEN = 4,
    UNITS_AHEAD = 4, /* more are not made ready before they rest */
    CHANGED_MS = 20, /* pauses of one that changed meanwhile */
    CHANGED_MAX_MS = 2000,
    SOON_MS = 50, /* its directory has to be there first */
    SOON_TRIES = 5,
    ONCE_TRIES = 12, /* once: then it is reported */
};

static void unit_free(struct push *p, struct unit_push *u)
{
    TAILQ_REMOVE(&p->units, u, order);
    compare_free(u->compare);
    unit_plan_free(u->plan);
    set_free(u->tops);
    if (u->check)
        u->ps->site->hooks.check_free(u->check);
    free(u);
}

void unit_push_free_all(struct push *p, const struct push_site *ps)
{
    struct unit_push *u, *next;
    for (u = TAILQ_FIRST(&p->units); u; u = next) {
        next = TAILQ_NEXT(u, order);
        if (!ps || u->ps == ps)
            unit_free(p, u);
    }
}

struct unit_push *unit_push_each(
    struct push *p, const struct unit_push *before, struct compare **compare)
{
    struct unit_push *u = before ? TAILQ_NEXT(before, order) : TAILQ_FIRST(&p->units);
    if (u && compare)
        *compare = u->compare;
    return u;
}

bool unit_push_waits(const struct push *p)
{
    const struct unit_push *u;
    TAILQ_FOREACH (u, &p->units, order)
        if (u->state == UNIT_CHECKING && u->check)
            return true;
    return false;
}

void unit_push_spoiled(struct unit_push *u, const struct err *err)
{
    u->spoiled = true;
    if (err->code && !u->err.code)
        u->err = *err;
}

/* The queue has it again after this. */
static void drop(struct push *p, struct unit_push *u)
{
    if (u->batch)
        unit_batch_drop(p, u);
    unit_free(p, u);
}

static void give_up(struct push *p, struct push_site *ps, struct owed *o, const struct err *why)
{
    p->o->hooks.failed(p->o->hooks.ctx, ps, queue_path(o), why);
    ps->incomplete = true;
    queue_done(p->o->queue, o);
}

static uint64_t pause_ms(unsigned rounds)
{
    uint64_t ms = (uint64_t)CHANGED_MS << (rounds < 16 ? rounds : 16);
    return ms < CHANGED_MAX_MS ? ms : CHANGED_MAX_MS;
}

/* What was sent of it stays there: most of it will be the same. */
static void keep(struct unit_push *u)
{
    if (u->check)
        u->ps->site->hooks.check_free(TAKE_PTR(u->check));
    compare_free(TAKE_PTR(u->compare));
    u->due_ms = io_now_ms() + pause_ms(u->rounds++);
    u->state = UNIT_STALE;
}

/* Owed again when it rests again. */
static void start_over(struct push *p, struct unit_push *u)
{
    struct push_site *ps = u->ps;
    struct owed *o = u->owed;
    bool kept = u->whole && !p->o->once;
    log_debug("%s: %s: %s changed while it was being sent: %s", p->o->name, ps->site->label,
        QUOTED(queue_path(o).data, queue_path(o).len), kept ? "compared again" : "dropped");
    if (kept) {
        keep(u);
        return;
    }
    drop(p, u);
    if (!p->o->once || o->tries < ONCE_TRIES) {
        queue_retry(p->o->queue, o, CHANGED_MS, CHANGED_MAX_MS, NULL);
        return;
    }
    struct err why;
    err_set(&why, ERR_PARTIAL, "it was changing all the time: run resync again when it is at rest");
    give_up(p, ps, o, &why);
}

/* Something in it cannot be read, or was refused: all of it waits. */
static void failed(struct push *p, struct push_site *ps, struct owed *o, const struct err *err)
{
    struct bytes path = queue_path(o);
    if (!o->error && !p->o->once) /* a one-shot reports it itself */
        push_site_warn(p, ps, path, err);
    push_site_error(ps, err, path);
    if (p->o->once)
        give_up(p, ps, o, err);
    else
        queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, err->text);
}

/* To be taken as if nothing had been done about it. */
static void give_back(struct push *p, struct unit_push *u, unsigned pause)
{
    struct owed *o = u->owed;
    drop(p, u);
    queue_retry(p->o->queue, o, pause, CHANGED_MAX_MS, NULL);
}

static void fail(struct push *p, struct unit_push *u, const struct err *why)
{
    struct push_site *ps = u->ps;
    struct owed *o = u->owed;
    struct err err = *why;
    drop(p, u);
    failed(p, ps, o, &err);
}

static void done(struct push *p, struct unit_push *u)
{
    struct owed *o = u->owed;
    drop(p, u);
    queue_done(p->o->queue, o);
}

static struct bytes parent_of(const struct push_site *ps, const struct owed *o)
{
    return unit_rules_parent(ps->site->options.units, queue_path(o));
}

/* Does the manifest have a directory above the unit? If not, the unit is not here either. */
static bool has_parent(const struct push_site *ps, const struct owed *o)
{
    struct manifest_txn *t;
    struct record r;
    uint64_t above;
    struct bytes parent = parent_of(ps, o);
    if (!parent.len || manifest_begin(ps->site->manifest, false, &t, NULL) < 0)
        return true;
    int found = manifest_lookup(t, parent, &r, &above, NULL);
    manifest_abort(t);
    return found < 0 || (found == 1 && r.entry.type == ENTRY_DIR);
}

/* The directory above is owed as well, and mostly on its way already. */
static void await_parent(struct push *p, struct push_site *ps, struct owed *o)
{
    struct bytes parent = parent_of(ps, o);
    queue_owe(p->o->queue, ps->owed, parent, OWE_DIR, OWED_ANY, (struct bytes){0}, 0, 0);
    queue_retry(p->o->queue, o, SOON_MS, LATER_MAX, NULL);
}

/* --- the states: true when something was done --- */

/* The number is taken before it is asked whether it is calm: as in take. */
static bool step_stale(struct push *p, struct unit_push *u)
{
    bool forced;
    struct unrest *unrest = u->ps->site->unrest;
    uint64_t generation = unrest_generation(unrest, queue_path(u->owed), &forced);
    if (io_now_ms() < u->due_ms || !unrest_is_calm(unrest, queue_path(u->owed)))
        return false;
    queue_renew(p->o->queue, u->owed);
    u->generation = generation;
    u->spoiled = false;
    err_clear(&u->err);
    u->compare = compare_unit(u->ps, u->owed);
    u->state = UNIT_COMPARING;
    return true;
}

static bool step_comparing(struct push *p, struct unit_push *u)
{
    struct push_site *ps = u->ps;
    struct owed *o = u->owed;
    if (!compare_is_over(u->compare))
        return compare_ask(p, u->compare);
    if (compare_lacks_parent(u->compare)) {
        if (!has_parent(ps, o)) {
            done(p, u);
            return true;
        }
        drop(p, u);
        await_parent(p, ps, o);
        return true;
    }
    if (u->plan)
        unit_plan_again(u->plan);
    else
        u->plan = unit_plan_new(ps, u, queue_path(o), p->o->unit_atoms);
    u->state = UNIT_PLANNING;
    return true;
}

static void note_piecemeal(struct push *p, struct push_site *ps, struct bytes unit, unsigned flags)
{
    if (push_site_piecemeal(ps, unit, flags))
        log_warn("%s: %s: %s is not switched as a whole there but renamed file by file: %s",
            p->o->name, ps->site->label, QUOTED(unit.data, unit.len),
            push_site_piecemeal_text(flags));
}

static void send_by_path(struct push *p, struct unit_push *u, enum unit_way way)
{
    note_piecemeal(p, u->ps, queue_path(u->owed),
        way == UNIT_TOO_LARGE ? PIECEMEAL_LARGE : PIECEMEAL_REPLACED);
    unit_plan_owe(p, u->plan, u->compare);
}

static bool step_planning(struct push *p, struct unit_push *u)
{
    struct err err;
    int r = unit_plan_step(u->plan, u->compare, &err);
    if (r < 0)
        fail(p, u, &err);
    if (r != 0)
        return true;
    unit_plan_prune(p, u->plan);
    enum unit_way way = unit_plan_way(u->plan);
    unit_plan_owe_alone(p, u->plan);
    bool by_path = way == UNIT_TOO_LARGE || way == UNIT_REPLACED;
    if (by_path && !unrest_at_rest(u->ps->site->unrest, queue_path(u->owed))) {
        give_back(p, u, CHANGED_MS); /* nothing of it is to be seen yet */
        return true;
    }
    if (by_path)
        send_by_path(p, u, way);
    if (by_path || way == UNIT_NOTHING) {
        done(p, u);
        return true;
    }
    if (u->batch && !unit_batch_serves(u))
        unit_batch_drop(p, u);
    uint64_t bytes = unit_plan_bytes(u->plan), sent = u->batch ? u->batch->bytes : 0;
    if (!push_room_for(p, u->ps, u->owed, bytes > sent ? bytes - sent : 0, 0)) {
        drop(p, u);
        return true;
    }
    compare_free(TAKE_PTR(u->compare));
    if (!u->batch)
        unit_batch_begin(p, u, way == UNIT_SWITCH);
    u->state = UNIT_SENDING;
    return true;
}

/* What was read to be sent is known before the look: else that reads what is in doubt again, and
 * finds that the manifest did not have it. */
static void look_through(struct unit_push *u)
{
    const struct site_hooks *hooks = &u->ps->site->hooks;
    struct atom *a;
    TAILQ_FOREACH (a, &u->batch->atoms, order)
        acks_tell_read(u->ps, a);
    if (hooks->check)
        u->check = hooks->check(hooks->ctx, u->ps->site, queue_path(u->owed));
    u->state = UNIT_CHECKING;
}

static const struct unit_push *first_at_rest(const struct push *p)
{
    const struct unit_push *u;
    TAILQ_FOREACH (u, &p->units, order)
        if (unrest_at_rest(u->ps->site->unrest, queue_path(u->owed)))
            return u;
    return NULL;
}

/* Of what the far end holds until it is acknowledged (MSG_HELD_MAX) units take half at most,
 * however large they are: of those that rest the one that was begun first goes on. What does not
 * rest leaves room for what does. */
static bool waits_for_others(const struct push *p, const struct unit_push *u, bool rests)
{
    size_t most = p->o->unit_atoms ? p->o->unit_atoms : MSG_UNIT_ATOMS_MAX;
    size_t atoms = p->lanes[LANE_UNIT].atoms;
    return rests ? atoms >= most && u != first_at_rest(p) : atoms >= most / 2;
}

static bool step_sending(struct push *p, struct unit_push *u)
{
    if (u->err.code) {
        fail(p, u, &u->err);
        return true;
    }
    bool rests = unrest_at_rest(u->ps->site->unrest, queue_path(u->owed));
    if (u->spoiled && !u->forced && !rests) {
        start_over(p, u);
        return true;
    }
    if (u->spoiled && !u->forced) { /* looked through all the same, so that it is known why */
        look_through(u);
        return true;
    }
    if (!lanes_has_credit(&p->lanes[LANE_UNIT]) || waits_for_others(p, u, rests))
        return false;
    struct owed *o = unit_plan_next(u->plan);
    if (o)
        unit_batch_send(p, u, o);
    else if (u->batch->transfers > 0 || !rests)
        return false;
    else if (u->ahead && !send_is_recorded(u->ps, queue_path(u->owed)))
        give_back(p, u, 0); /* a deletion, which may have to wait for others */
    else
        look_through(u);
    return true;
}

/* Has something happened in it since the comparison began? */
static bool is_stale(struct unit_push *u)
{
    bool forced;
    uint64_t now = unrest_generation(u->ps->site->unrest, queue_path(u->owed), &forced);
    u->forced |= forced;
    return !u->forced && now != u->generation;
}

static void commit(struct push *p, struct unit_push *u)
{
    if (TAILQ_EMPTY(&u->batch->atoms)) {
        done(p, u);
        return;
    }
    u->state = UNIT_COMMITTED;
    lanes_commit(p, u->batch);
}

static bool step_checking(struct push *p, struct unit_push *u)
{
    struct err err;
    int r = u->check ? u->ps->site->hooks.checked(u->check, &err) : SITE_UNCHANGED;
    if (r == SITE_CHECKING)
        return false;
    if (r == SITE_FAILED)
        fail(p, u, &err);
    else if (!u->forced && (r == SITE_CHANGED || u->spoiled || is_stale(u)))
        start_over(p, u);
    else
        commit(p, u);
    return true;
}

/* What does not rest is not waited for where nothing may be sent, or all is to come to an end. */
static bool is_unwanted(struct push *p, const struct unit_push *u)
{
    return u->state < UNIT_CHECKING && !unrest_at_rest(u->ps->site->unrest, queue_path(u->owed)) &&
           (renew_holds_back(p) || !lanes_may_send(p, u->ps, OWED_UNIT));
}

static bool step(struct push *p, struct unit_push *u)
{
    if (u->state == UNIT_COMMITTED)
        return false;
    if (is_unwanted(p, u)) {
        give_back(p, u, 0);
        return true;
    }
    if (u->state < UNIT_SENDING && renew_holds_back(p))
        return false;
    if (u->state == UNIT_STALE)
        return step_stale(p, u);
    if (is_stale(u)) {
        start_over(p, u);
        return true;
    }
    switch (u->state) {
    case UNIT_COMPARING: return step_comparing(p, u);
    case UNIT_PLANNING: return step_planning(p, u);
    case UNIT_SENDING: return step_sending(p, u);
    case UNIT_CHECKING: return step_checking(p, u);
    case UNIT_STALE:
    case UNIT_COMMITTED: break;
    }
    return false;
}

/* --- taking and giving back --- */

/* Its number is taken while it rests, or is calm. One that a change in progress has raised already
 * would hide that the manifest is without it yet. */
static void take(struct push *p, struct push_site *ps, struct owed *o, bool ahead)
{
    bool forced;
    struct unrest *unrest = ps->site->unrest;
    uint64_t generation = unrest_generation(unrest, queue_path(o), &forced);
    bool may =
        ahead ? unrest_is_calm(unrest, queue_path(o)) : unrest_at_rest(unrest, queue_path(o));
    if (!may) {
        queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
        return;
    }
    struct unit_push *u = mem_alloc(sizeof *u);
    u->ps = ps;
    u->owed = o;
    u->generation = generation;
    u->forced = forced;
    u->ahead = ahead;
    u->state = UNIT_COMPARING;
    u->tops = set_new();
    u->compare = compare_unit(ps, o);
    TAILQ_INSERT_TAIL(&p->units, u, order);
}

/* Those that do not rest take no place from those that do. */
static unsigned count_open(const struct push *p, bool at_rest)
{
    const struct unit_push *u;
    unsigned n = 0;
    TAILQ_FOREACH (u, &p->units, order)
        n += u->state != UNIT_COMMITTED &&
             unrest_at_rest(u->ps->site->unrest, queue_path(u->owed)) == at_rest;
    return n;
}

static bool take_next(struct push *p, bool ahead)
{
    struct push_site *ps;
    if (renew_holds_back(p) || !lanes_has_credit(&p->lanes[LANE_UNIT]) ||
        count_open(p, !ahead) >= (ahead ? UNITS_AHEAD : UNITS_OPEN))
        return false;
    TAILQ_FOREACH (ps, p->o->sites, order) {
        struct owed *o = !lanes_may_send(p, ps, OWED_UNIT) ? NULL
                         : ahead                           ? queue_take_ahead(p->o->queue, ps->owed)
                                 : queue_take(p->o->queue, ps->owed, OWED_UNIT);
        if (!o)
            continue;
        if (push_site_lacks(ps, queue_path(o), true))
            queue_done(p->o->queue, o);
        else if (!send_root_in_place(ps))
            queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, NULL);
        else if (ahead || send_is_recorded(ps, queue_path(o)) || !switches_hold(p, ps, o))
            take(p, ps, o, ahead);
        return true;
    }
    return false;
}

bool unit_push_step(struct push *p)
{
    struct unit_push *u;
    TAILQ_FOREACH (u, &p->units, order)
        if (step(p, u))
            return true; /* it may be gone */
    return take_next(p, false) || take_next(p, true);
}

int unit_push_due(const struct push *p)
{
    const struct unit_push *u;
    uint64_t now = io_now_ms(), due = UINT64_MAX;
    TAILQ_FOREACH (u, &p->units, order)
        if (u->state == UNIT_STALE && u->due_ms > now && u->due_ms < due)
            due = u->due_ms;
    return due == UINT64_MAX ? -1 : (int)(due - now);
}

/* --- the answer --- */

static const struct atom *first_failure(const struct push_batch *b)
{
    const struct atom *a;
    TAILQ_FOREACH (a, &b->atoms, order)
        if (a->reason != REASON_NONE)
            return a;
    return NULL;
}

static void refused(struct push *p, struct push_site *ps, struct owed *o, const struct atom *a)
{
    struct err why;
    struct bytes path = queue_path(a->owed);
    if (a->reason == REASON_NEED_CONTENT && o->tries < SOON_TRIES) {
        o->whole = true;
        queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
        return;
    }
    if (a->reason == REASON_NO_PARENT && o->tries < SOON_TRIES) {
        await_parent(p, ps, o);
        return;
    }
    err_set(
        &why, ERR_PARTIAL, "%s: %s", QUOTED(path.data, path.len), QUOTED(a->text, strlen(a->text)));
    why.sys = (int)a->errnum;
    failed(p, ps, o, &why);
}

void unit_push_acked(struct push *p, struct push_batch *b, uint8_t flags)
{
    struct unit_push *u = b->unit;
    struct owed *o = u->owed;
    const struct atom *wrong = first_failure(b);
    struct atom *a;
    if (u->whole)
        note_piecemeal(p, b->ps, queue_path(o), flags & ACK_PIECEMEAL);
    if (wrong) {
        refused(p, b->ps, o, wrong);
    } else {
        TAILQ_FOREACH (a, &b->atoms, order)
            if (a->what != PUSH_SKIPPED)
                acks_tell(p, b, a);
        log_debug("%s: %s: switched %s", p->o->name, b->ps->site->label,
            QUOTED(queue_path(o).data, queue_path(o).len));
        queue_done(p->o->queue, o);
    }
    unit_free(p, u);
}
