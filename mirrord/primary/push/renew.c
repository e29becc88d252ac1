/*
 * Another receiver for the same session: the one there is sees only the roots that it began with
 * (SECURITY.md), and a site that came later needs one that has its root, too. What is on its way is
 * brought to an end first, for a short while, and what takes longer is owed again; the other sites
 * stay open, and the far end's new process takes them over as they are.
 */
#include "base/io.h"
#include "base/log.h"
#include "base/often.h"
#include "primary/push/push_impl.h"

enum {
    OPENING_MS = 10000, /* what is being opened would be walked again from its beginning */
    DRAIN_MS = 2000,
};

void renew_want(struct push *p)
{
    if (p->renew != RENEW_NO)
        return;
    p->renew = RENEW_WANTED;
    p->renew_ms = io_now_ms() + OPENING_MS;
}

static void take_back(struct push *p)
{
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (!lanes_are_settled(p, ps))
            lanes_take_back(p, ps);
}

void renew_step(struct push *p)
{
    uint64_t now = io_now_ms();
    if (p->renew == RENEW_WANTED && (!p->opening || now >= p->renew_ms)) {
        p->renew = RENEW_DRAINING;
        p->renew_ms = now + DRAIN_MS;
    }
    if (p->renew != RENEW_DRAINING || (!lanes_are_settled(p, NULL) && now < p->renew_ms))
        return;
    take_back(p);
    msg_put_renew(&p->out);
    p->renew = RENEW_SENT;
    p->more = false;
}

/* What the far end did not acknowledge by now it never will. */
int renew_done(struct push *p, const struct msg_renewed *m, struct err *err)
{
    struct push_site *ps;
    if (p->renew != RENEW_SENT)
        return err_set(err, ERR_FAILED, "it was renewed without having been asked to");
    char again[OFTEN_AGAIN];
    if (m->text.len && often_may_say(p->o->often, "renewed", io_now_ms(), again))
        log_warn("%s: its configuration is still the former: %s", p->o->name,
            QUOTED(m->text.data, m->text.len));
    log_debug("%s: the receiver was renewed", p->o->name);
    take_back(p);
    TAILQ_FOREACH (ps, p->o->sites, order)
        ps->tell_sent = ps->tell_done;
    p->renew = RENEW_NO;
    return 0;
}
