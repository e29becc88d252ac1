/* What is sent of a unit: one batch, which outlives changes in the unit; see unit_impl.h. */
#include "base/log.h"
#include "base/mem.h"
#include "primary/push/sight.h"
#include "primary/push/unit/unit_impl.h"

void unit_batch_begin(struct push *p, struct unit_push *u, bool whole)
{
    u->batch = lanes_batch(p, &p->lanes[LANE_UNIT], u->ps, true);
    u->batch->unit = u;
    u->whole = whole;
    for (struct set_item *i = whole ? unit_plan_tops(u->plan) : NULL; i; i = i->next) {
        struct atom *a = lanes_atom(p, u->batch, u->owed);
        a->what = PUSH_SKIPPED;
        set_add(u->tops, i->key, i->len);
        msg_put_unit(
            &p->out, &(struct msg_unit){
                         .batch = u->batch->number, .atom = a->number, .path = {i->key, i->len}});
    }
}

bool unit_batch_serves(const struct unit_push *u)
{
    if (!u->batch || unit_plan_way(u->plan) != UNIT_SWITCH ||
        u->batch->count + unit_plan_count(u->plan) > MSG_UNIT_ATOMS_MAX)
        return false;
    for (struct set_item *i = unit_plan_tops(u->plan); i; i = i->next)
        if (!set_find(u->tops, i->key, i->len))
            return false;
    return true;
}

void unit_batch_drop(struct push *p, struct unit_push *u)
{
    msg_put_drop(&p->out, &(struct msg_drop){.batch = u->batch->number});
    lanes_forget(TAKE_PTR(u->batch));
    set_free(u->tops);
    u->tops = set_new();
}

/* Is it still what was sent of it? What went without its content may suit what was there then. */
static bool is_as_sent(struct push *p, struct unit_push *u, struct owed *o)
{
    const struct atom *a = o->atom;
    struct sight s;
    struct err err;
    if (!a || (a->what == PUSH_DELETED) != (o->kind == OWED_DELETE))
        return false;
    if (o->kind == OWED_DELETE)
        return true;
    if (!a->content || (a->record.flags & RECORD_RACY) ||
        sight_look(p, u->ps, queue_path(o), &s, &err) != SIGHT_THERE)
        return false;
    struct validators now = validators_of(&s.st);
    return validators_equal(&now, &a->record.validators);
}

void unit_batch_send(struct push *p, struct unit_push *u, struct owed *o)
{
    struct err err;
    err_clear(&err);
    if (is_as_sent(p, u, o))
        return;
    if (o->atom)
        lanes_abort_atom(p, o->atom);
    o->whole = u->owed->whole;
    int r = send_part(p, u->batch, o, &err);
    if (r < 0) {
        err_prefix(&err, "read %s", QUOTED(queue_path(o).data, queue_path(o).len));
        unit_push_spoiled(u, &err);
    } else if (r != SOURCE_OK) {
        unit_push_spoiled(u, &err);
    }
}
