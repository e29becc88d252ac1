/* A subtree that is owed, path by path (beneath.c), each claimed from the queue as its turn comes.
 */
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/beneath.h"
#include "primary/push/push_impl.h"

struct expander {
    struct expander *next;
    struct push_site *ps;
    struct owed *top;
    struct beneath *beneath; /* NULL: all of it was listed, or nothing can be */
    bool answered, ok;
};

struct expander *expander_start(struct push_site *ps, struct owed *top)
{
    struct expander *e = mem_alloc(sizeof *e);
    bool units = !top->alone && !ps->site->options.dry_run;
    *e = (struct expander){.ps = ps, .top = top, .next = ps->expander};
    e->beneath = beneath_new(ps, queue_path(top), units);
    ps->expander = e;
    return e;
}

static void unlink_free(struct expander *e)
{
    struct expander **at = &e->ps->expander;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    beneath_free(e->beneath);
    free(e);
}

void expander_free_all(struct push_site *ps)
{
    while (ps->expander)
        unlink_free(ps->expander);
}

static void listed(struct expander *e)
{
    beneath_free(e->beneath);
    e->beneath = NULL;
}

static void settle(struct push *p, struct expander *e, const char *why)
{
    if (e->beneath || !e->answered)
        return;
    if (e->ok)
        queue_done(p->o->queue, e->top);
    else
        queue_retry(p->o->queue, e->top, 1000, 60000, why);
    unlink_free(e);
}

void expander_answer(struct push *p, struct expander *e, bool ok, const char *why)
{
    e->answered = true;
    e->ok = ok;
    if (!ok)
        listed(e); /* nothing beneath it can go either */
    settle(p, e, why);
}

/* What lies in a unit goes with it. */
static void leave_to_unit(struct push *p, struct expander *e, const struct beneath_entry *found)
{
    queue_owe(p->o->queue, e->ps->owed, found->path, OWE_BULK | (found->is_dir ? OWE_DIR : 0),
        OWED_CREATE, (struct bytes){0}, 0, 0);
    queue_backdate(p->o->queue, e->ps->owed, found->path);
}

static struct owed *claim_next(struct push *p, struct expander *e, struct err *err)
{
    struct beneath_entry found;
    int r;
    while ((r = beneath_next(e->beneath, &found, err)) == 1) {
        if (found.is_unit) {
            leave_to_unit(p, e, &found);
            continue;
        }
        struct owed *o = queue_claim(p->o->queue, e->ps->owed, found.path, OWED_BULK, e->top);
        if (!o)
            continue;
        p->foreseen = found.foreseen;
        p->foreseen_of = o;
        return o;
    }
    if (r == 0)
        listed(e);
    return NULL;
}

struct owed *expander_next(struct push *p, struct push_site *ps, struct err *err)
{
    struct expander *next;
    for (struct expander *e = ps->expander; e; e = next) {
        next = e->next;
        if (!e->beneath)
            continue;
        struct owed *o = claim_next(p, e, err);
        if (o)
            return o;
        if (e->beneath)
            return NULL; /* the manifest failed: err says how */
        settle(p, e, NULL);
    }
    return NULL;
}
