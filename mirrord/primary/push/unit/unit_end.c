/* How a unit leaves the push, or begins anew; see unit_impl.h. */
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/unit/unit_impl.h"

enum {
    CHANGED_MAX_MS = 2000,
    SOON_MS = 50, /* its directory has to be there first */
    SOON_TRIES = 5,
    ONCE_TRIES = 12, /* once: then it is reported */
};

void unit_end_free(struct push *p, struct unit_push *u)
{
    TAILQ_REMOVE(&p->units, u, order);
    compare_free(u->compare);
    unit_plan_free(u->plan);
    set_free(u->tops);
    if (u->check)
        u->ps->site->hooks.check_free(u->check);
    free(u);
}

void unit_end_drop(struct push *p, struct unit_push *u)
{
    if (u->batch)
        unit_batch_drop(p, u);
    unit_end_free(p, u);
}

static void give_up(struct push *p, struct push_site *ps, struct owed *o, const struct err *why)
{
    p->o->hooks.failed(p->o->hooks.ctx, ps, queue_path(o), why);
    ps->incomplete = true;
    queue_done(p->o->queue, o);
}

static uint64_t pause_ms(unsigned rounds)
{
    uint64_t ms = (uint64_t)UNIT_CHANGED_MS << (rounds < 16 ? rounds : 16);
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

void unit_end_stale(struct push *p, struct unit_push *u)
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
    unit_end_drop(p, u);
    if (!p->o->once || o->tries < ONCE_TRIES) {
        queue_retry(p->o->queue, o, UNIT_CHANGED_MS, CHANGED_MAX_MS, NULL);
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

void unit_end_back(struct push *p, struct unit_push *u, unsigned pause)
{
    struct owed *o = u->owed;
    unit_end_drop(p, u);
    queue_retry(p->o->queue, o, pause, CHANGED_MAX_MS, NULL);
}

void unit_end_fail(struct push *p, struct unit_push *u, const struct err *why)
{
    struct push_site *ps = u->ps;
    struct owed *o = u->owed;
    struct err err = *why;
    unit_end_drop(p, u);
    failed(p, ps, o, &err);
}

void unit_end_done(struct push *p, struct unit_push *u)
{
    struct owed *o = u->owed;
    unit_end_drop(p, u);
    queue_done(p->o->queue, o);
}

/* The directory above is owed as well, and mostly on its way already. */
static void await_parent(struct push *p, struct push_site *ps, struct owed *o)
{
    struct bytes parent = unit_rules_parent(ps->site->options.units, queue_path(o));
    queue_owe(p->o->queue, ps->owed, parent, OWE_DIR, OWED_ANY, (struct bytes){0}, 0, 0);
    queue_retry(p->o->queue, o, SOON_MS, LATER_MAX, NULL);
}

void unit_end_await_parent(struct push *p, struct unit_push *u)
{
    struct push_site *ps = u->ps;
    struct owed *o = u->owed;
    unit_end_drop(p, u);
    await_parent(p, ps, o);
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
        unit_note_piecemeal(p, b->ps, queue_path(o), flags & ACK_PIECEMEAL);
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
    unit_end_free(p, u);
}
