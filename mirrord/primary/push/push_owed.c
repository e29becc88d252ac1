/*
 * What a secondary is told of how far behind it is (OWED), for whoever asks there: whether all is
 * well is decided where status and metrics decide it (peer.c). Of what is owed for less than a
 * second nothing is said, so that busy sites are not the subject of more messages than changes.
 */
#include "base/io.h"
#include "primary/push/push_impl.h"

enum {
    YOUNG_MS = 1000, /* what is owed for less is on its way */
    AGAIN_MS = 5000, /* between two words while something is owed */
};

static bool is_young(const struct msg_owed *m)
{
    return m->paths > 0 && m->failing == 0 && m->age_ms < YOUNG_MS;
}

static bool is_news(const struct push_site *ps, const struct msg_owed *m, uint64_t now)
{
    bool level = m->flags & OWED_LEVEL;
    if (!ps->told_owed || level != ps->told_owed_level)
        return true;
    return !level && now - ps->told_owed_ms >= AGAIN_MS;
}

/* False: it is to be looked at again soon. */
static bool look(struct push *p, struct push_site *ps, uint64_t now)
{
    struct msg_owed m = {0};
    if (ps->state != PUSH_OPEN || ps->comparing || ps->site->options.dry_run)
        return true;
    if (!p->o->hooks.owed(p->o->hooks.ctx, ps, &m) || is_young(&m))
        return false;
    if (is_news(ps, &m, now)) {
        m.site = ps->number;
        msg_put_owed(&p->out, &m);
        ps->told_owed = true;
        ps->told_owed_ms = now;
        ps->told_owed_level = m.flags & OWED_LEVEL;
    }
    return m.flags & OWED_LEVEL;
}

void push_owed_look(struct push *p)
{
    uint64_t now = io_now_ms();
    struct push_site *ps;
    if (!p->o->hooks.owed || p->version < MSG_VERSION_NEWS)
        return;
    p->owed_waits = now < p->owed_due; /* whatever woke this thread: it is looked at later */
    if (p->owed_waits)
        return;
    p->owed_due = now + PUSH_OWED_MS;
    TAILQ_FOREACH (ps, p->o->sites, order)
        p->owed_waits |= !look(p, ps, now);
}
