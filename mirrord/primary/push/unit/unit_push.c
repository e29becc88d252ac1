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
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/push/unit/unit_impl.h"

enum {
    UNITS_OPEN = 4,
    UNITS_AHEAD = 4, /* more are not made ready before they rest */
};

void unit_push_free_all(struct push *p, const struct push_site *ps)
{
    struct unit_push *u, *next;
    for (u = TAILQ_FIRST(&p->units); u; u = next) {
        next = TAILQ_NEXT(u, order);
        if (!ps || u->ps == ps)
            unit_end_free(p, u);
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
        if (unit_step(p, u))
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

void unit_note_piecemeal(struct push *p, struct push_site *ps, struct bytes unit, unsigned flags)
{
    if (push_site_piecemeal(ps, unit, flags))
        log_warn("%s: %s: %s is not switched as a whole there but renamed file by file: %s",
            p->o->name, ps->site->label, QUOTED(unit.data, unit.len),
            push_site_piecemeal_text(flags));
}
