/* What a secondary tells of a site unasked, or when it was asked to look: its trash, its room, its
 * hook, how far a proof is, and what was changed there by others. */
#include "base/log.h"
#include "primary/owe.h"
#include "primary/push/inbox/inbox_impl.h"

enum { TOLD_DRIFT_MAX = 20 }; /* paths in the log, of one opening (or several close together) */

int inbox_on_trash(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_trash m;
    if (!msg_get_trash(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_site_trash(ps, &m);
    inbox_changed(p);
    return 0;
}

static void log_hook(struct push *p, const struct push_site *ps, const struct msg_hook *m)
{
    if (m->failures > 1 || !push_site_may_say(p, ps, m->failures ? "hook fails" : "hook works"))
        return;
    if (m->failures == 0)
        log_info("%s: %s: its command after a commit works again", p->o->name, ps->site->label);
    else
        log_warn("%s: %s: its command after a commit fails: %s", p->o->name, ps->site->label,
            ps->hook.text);
}

int inbox_on_hook(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_hook m;
    if (!msg_get_hook(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_site_hook(ps, &m);
    log_hook(p, ps, &m);
    inbox_changed(p);
    return 0;
}

int inbox_on_told(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_tell m;
    if (!msg_get_tell(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    if (m.token > ps->tell_sent || m.token <= ps->tell_done)
        return err_set(err, ERR_FAILED, "it answered what it was not asked (TOLD)");
    ps->tell_done = m.token;
    inbox_changed(p);
    return 0;
}

/* A one-shot's operator, who makes things equal, has not asked. */
static void log_drift(struct push *p, struct push_site *ps, const struct msg_drift *m)
{
    if (m->kind == DRIFT_TIMES || p->o->once)
        return;
    if (ps->told_drift < TOLD_DRIFT_MAX)
        log_warn("%s: %s: %s was %s there, not by mirrord%s", p->o->name, ps->site->label,
            m->path.len ? QUOTED(m->path.data, m->path.len) : "the root", drifted_name(m->kind),
            push_site_leaves_drift(ps) ? ": left as it is" : "");
    else if (ps->told_drift == TOLD_DRIFT_MAX)
        log_warn("%s: %s: more was changed there; `mirrord status` says how much", p->o->name,
            ps->site->label);
    ps->told_drift++;
}

/* While a site is being opened comparing follows anyway; later the directory is compared, which
 * owes what differs, or leaves it. */
static void look_at_drift(struct push *p, struct push_site *ps, const struct msg_drift *m)
{
    if (ps->state == PUSH_UNSCANNED)
        push_site_forget_opened(ps); /* it says nothing of this */
    if (ps->state != PUSH_OPEN && ps->state != PUSH_COMPARING)
        return;
    if (m->path.len > 0)
        compare_told(p, ps, path_parent(m->path));
    else if (push_site_leaves_drift(ps))
        drifted_leave(ps->drifted, m->path, &m->committed, true);
    else
        queue_owe(p->o->queue, ps->owed, m->path, OWE_BULK, OWED_META, (struct bytes){0}, 0, 0);
}

int inbox_on_space(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_space m;
    if (!msg_get_space(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_room_told(p, ps, &m);
    inbox_changed(p);
    return 0;
}

int inbox_on_proving(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_proving m;
    if (!msg_get_proving(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_proof_told(ps, &m);
    inbox_changed(p);
    return 0;
}

int inbox_on_drift(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_drift m;
    if (!msg_get_drift(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0 || ps->state >= PUSH_HELD)
        return found < 0 ? -1 : 0;
    pthread_mutex_lock(&ps->lock);
    int news = drifted_take(ps->drifted, &m, err);
    pthread_mutex_unlock(&ps->lock);
    if (news < 0) {
        p->complaint = REASON_LIMIT;
        return -1;
    }
    if (news)
        log_drift(p, ps, &m);
    look_at_drift(p, ps, &m);
    inbox_changed(p);
    return 0;
}
