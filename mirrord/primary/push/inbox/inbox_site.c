/* How the opening of a site ended: with what the far end has of it, with another receiver to be
 * asked for, or with the reason why not and when it is tried again. */
#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/push/inbox/inbox_impl.h"
#include "primary/sessions.h"

enum {
    REOPEN_MIN_MS = 5000, /* a site that the far end could not open is tried again, growing */
    REOPEN_MAX_MS = 20000,
    REOPEN_CHEAP_MS = 3000, /* the root is not what it should be, which is soon seen */
    RENEWALS_MS = 20000,    /* within which a site may have so many other receivers: */
    RENEWALS_MAX = 4,
};

/* What the far end has can be held against ours once that is known. */
static void keep_opened(struct push_site *ps, struct bytes payload)
{
    ps->state = PUSH_UNSCANNED;
    ps->opened = (struct bytes){mem_copy_bytes(payload.data, payload.len), payload.len};
    ps->opened_ms = io_now_ms();
}

void inbox_compare_kept(struct push *p, struct push_site *ps)
{
    struct msg_opened m;
    if (msg_get_opened(ps->opened, &m))
        compare_start(p, ps, (struct bytes){0}, &m);
    push_site_forget_opened(ps);
}

/* A memory that goes back is a snapshot's: the far end has read all its content by now. */
static void note_session(struct push *p, struct push_site *ps, uint64_t theirs)
{
    const char *site = ps->site->label;
    if (!ps->session)
        return;
    bool known = sessions_known(ps->site->sessions, &p->far_id) > 0;
    switch (sessions_opened(ps->site->sessions, &p->far_id, ps->session, theirs)) {
    case SESSIONS_RISE: break;
    case SESSIONS_BACK_THERE:
        if (push_site_may_say(p, ps, "snapshot there"))
            log_warn("%s: %s: it was put back from a snapshot: it knows less sessions than there "
                     "were; everything is compared",
                p->o->name, site);
        break;
    case SESSIONS_BACK_HERE:
        if (!push_site_may_say(p, ps, "snapshot here"))
            break;
        if (!known)
            log_info("%s: %s: it was mirrored there before, which is not known here any more: "
                     "everything is compared, and what is here is what counts",
                p->o->name, site);
        else
            log_warn("%s: %s: this host was put back from a snapshot: there were later sessions "
                     "than it knows; everything is compared, and what is here is what counts",
                p->o->name, site);
        break;
    }
}

static void opened(
    struct push *p, struct push_site *ps, const struct msg_opened *m, struct bytes payload)
{
    p->opening--;
    ps->caps = m->caps;
    if (p->o->fences)
        *p->o->fences = m->caps & (CAP_SANDBOX | CAPS_LACKS);
    ps->free_bytes = m->free_bytes;
    ps->no_room = false;
    ps->first_copy |= m->state != ROOT_OURS;
    ps->deleted = m->deleted;
    ps->deleted_from = m->deleted_from;
    ps->told_level = ps->incomplete = false;
    note_session(p, ps, m->session);
    ps->failures = 0;
    ps->renewed = false;
    push_site_forget_error(ps);
    push_site_trash(ps, &(struct msg_trash){0});
    pthread_mutex_lock(&ps->lock);
    drifted_opened(ps->drifted);
    pthread_mutex_unlock(&ps->lock);
    if (ps->site->options.owner && !(m->caps & CAP_SET_OWNER) && !ps->said_owner) {
        ps->said_owner = true;
        log_info("%s: %s: owner and group are the far end's own: it is not root, or configured so",
            p->o->name, ps->site->label);
    }
    if (ps->site->scanned)
        compare_start(p, ps, (struct bytes){0}, m);
    else
        keep_opened(ps, payload);
    inbox_changed(p);
}

int inbox_on_opened(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_opened m;
    if (!msg_get_opened(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    if (ps->state != PUSH_OPENING)
        return err_set(err, ERR_FAILED, "it opened a site twice");
    opened(p, ps, &m, payload);
    return 0;
}

/* Not a failure: the site is to be opened (again) by another receiver, or is another one to the
 * receiver that was renewed. Asked for once, and not all the time; then it is one. */
static bool may_renew(const struct push *p, struct push_site *ps, uint16_t reason)
{
    uint64_t now = io_now_ms();
    if (reason != REASON_YIELD || p->version < MSG_VERSION_RENEW || ps->renewed)
        return false;
    if (now >= ps->renewals_ms + RENEWALS_MS) {
        ps->renewals_ms = now;
        ps->renewals = 0;
    }
    return ps->renewals++ < RENEWALS_MAX;
}

static void open_renewed(struct push *p, struct push_site *ps, bool opening)
{
    ps->renewed = true;
    ps->state = PUSH_CLOSED;
    if (opening)
        renew_want(p);
    inbox_changed(p);
}

int inbox_on_site_error(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_site_error m;
    if (!msg_get_site_error(payload, &m))
        return 1;
    struct push_site *ps;
    int found = inbox_find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    bool opening = ps->state == PUSH_OPENING;
    p->opening -= opening;
    push_site_reset(p, ps);
    if (may_renew(p, ps, m.reason)) {
        open_renewed(p, ps, opening);
        return 0;
    }
    ps->renewed = false;
    struct err why;
    bool full = m.errno_value == ENOSPC || m.errno_value == EDQUOT;
    err_set(&why, full ? ERR_TEMPORARY : inbox_code_of(m.reason), "%s",
        QUOTED(m.text.data, m.text.len));
    if (ps->failures == 0 && !p->o->once) /* a one-shot ends with it */
        push_site_warn(p, ps, (struct bytes){0}, &why);
    push_site_error(ps, &why, (struct bytes){0});
    if (m.reason == REASON_FENCED)
        site_fence(ps->site, &m);
    uint64_t pause = (uint64_t)REOPEN_MIN_MS << (ps->failures < 4 ? ps->failures : 4);
    if (opening && (m.reason == REASON_HELD || m.reason == REASON_NO_ROOT))
        pause = REOPEN_CHEAP_MS;
    ps->retry_ms = io_now_ms() + (pause < REOPEN_MAX_MS ? pause : REOPEN_MAX_MS);
    ps->failures++;
    ps->look_ms = 0;
    ps->state = m.reason == REASON_HELD ? PUSH_HELD : PUSH_FAILED;
    inbox_changed(p);
    return 0;
}
