/*
 * The states of a unit on its way: what is done in each, and what has to be so for the next. Each
 * function does a little and returns true, or false: there is nothing to be done right now.
 */
#include "base/io.h"
#include "base/mem.h"
#include "primary/push/unit/unit_impl.h"

/* Does the manifest have a directory above the unit? If not, the unit is not here either. */
static bool has_parent(const struct push_site *ps, const struct owed *o)
{
    struct record r;
    struct bytes parent = unit_rules_parent(ps->site->options.units, queue_path(o));
    if (!parent.len)
        return true;
    int found = manifest_peek(ps->site->manifest, parent, &r, NULL);
    return found < 0 || (found == 1 && r.entry.type == ENTRY_DIR);
}

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
            unit_end_done(p, u);
            return true;
        }
        unit_end_await_parent(p, u);
        return true;
    }
    if (u->plan)
        unit_plan_again(u->plan);
    else
        u->plan = unit_plan_new(ps, u, queue_path(o), p->o->unit_atoms);
    u->state = UNIT_PLANNING;
    return true;
}

static void send_by_path(struct push *p, struct unit_push *u, enum unit_way way)
{
    unit_note_piecemeal(p, u->ps, queue_path(u->owed),
        way == UNIT_TOO_LARGE ? PIECEMEAL_LARGE : PIECEMEAL_REPLACED);
    unit_plan_owe(p, u->plan, u->compare);
}

static bool step_planning(struct push *p, struct unit_push *u)
{
    struct err err;
    int r = unit_plan_step(u->plan, u->compare, &err);
    if (r < 0)
        unit_end_fail(p, u, &err);
    if (r != 0)
        return true;
    unit_plan_prune(p, u->plan);
    enum unit_way way = unit_plan_way(u->plan);
    unit_plan_owe_alone(p, u->plan);
    bool by_path = way == UNIT_TOO_LARGE || way == UNIT_REPLACED;
    if (by_path && !unrest_at_rest(u->ps->site->unrest, queue_path(u->owed))) {
        unit_end_back(p, u, UNIT_CHANGED_MS); /* nothing of it is to be seen yet */
        return true;
    }
    if (by_path)
        send_by_path(p, u, way);
    if (by_path || way == UNIT_NOTHING) {
        unit_end_done(p, u);
        return true;
    }
    if (u->batch && !unit_batch_serves(u))
        unit_batch_drop(p, u);
    uint64_t bytes = unit_plan_bytes(u->plan), sent = u->batch ? u->batch->bytes : 0;
    if (!push_room_for(p, u->ps, u->owed, bytes > sent ? bytes - sent : 0, 0)) {
        unit_end_drop(p, u);
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
        unit_end_fail(p, u, &u->err);
        return true;
    }
    bool rests = unrest_at_rest(u->ps->site->unrest, queue_path(u->owed));
    if (u->spoiled && !u->forced && !rests) {
        unit_end_stale(p, u);
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
        unit_end_back(p, u, 0); /* a deletion, which may have to wait for others */
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
        unit_end_done(p, u);
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
        unit_end_fail(p, u, &err);
    else if (!u->forced && (r == SITE_CHANGED || u->spoiled || is_stale(u)))
        unit_end_stale(p, u);
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

bool unit_step(struct push *p, struct unit_push *u)
{
    if (u->state == UNIT_COMMITTED)
        return false;
    if (is_unwanted(p, u)) {
        unit_end_back(p, u, 0);
        return true;
    }
    if (u->state < UNIT_SENDING && renew_holds_back(p))
        return false;
    if (u->state == UNIT_STALE)
        return step_stale(p, u);
    if (is_stale(u)) {
        unit_end_stale(p, u);
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
