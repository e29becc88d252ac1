/* What comes in from the secondary: one table of messages, checked in one place for what is legal
 * when, each handed to the part it concerns. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/push_impl.h"
#include "primary/sessions.h"

enum {
    READ_SIZE = 128 * 1024,
    REOPEN_MIN_MS = 5000, /* a site that the far end could not open is tried again, growing */
    REOPEN_MAX_MS = 20000,
    TOLD_DRIFT_MAX = 20,    /* paths in the log, of one opening (or several close together) */
    REOPEN_CHEAP_MS = 3000, /* the root is not what it should be, which is soon seen */
    RENEWALS_MS = 20000,    /* within which a site may have so many other receivers: */
    RENEWALS_MAX = 4,
};

static void changed(struct push *p)
{
    if (p->o->hooks.changed)
        p->o->hooks.changed(p->o->hooks.ctx);
}

static struct push_site *site_by_number(struct push *p, uint32_t number)
{
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (ps->number == number)
            return ps;
    return NULL;
}

/* 0: the number of a site of this session, though it may be closed by now. */
static int check_site(const struct push *p, uint32_t number, struct err *err)
{
    if (number > 0 && number <= p->next_site)
        return 0;
    return err_set(err, ERR_FAILED, "it speaks of site %u, which was never opened", number);
}

/* The site of this number. 1; 0: it was closed meanwhile; -1: it never was one. */
static int find_site(struct push *p, uint32_t number, struct push_site **out, struct err *err)
{
    *out = site_by_number(p, number);
    return check_site(p, number, err) < 0 ? -1 : *out != NULL;
}

static int on_hello(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_hello m;
    if (!msg_get_hello(payload, &m))
        return 1;
    if (p->greeted || m.session != p->session)
        return err_set(err, ERR_FAILED, "it answered the greeting of another session");
    if (m.oldest != m.newest || m.newest < MSG_VERSION_OLDEST || m.newest > MSG_VERSION) {
        p->complaint = REASON_VERSION;
        return err_set(err, ERR_FAILED,
            "no common version of the protocol: this end (mirrord " MIRRORD_VERSION
            ") speaks %d to %d, the other end chose %u",
            MSG_VERSION_OLDEST, MSG_VERSION, m.newest);
    }
    p->greeted = true;
    p->version = m.newest;
    p->far_id = m.host_id;
    if (p->o->far) {
        p->o->far->version = m.newest;
        log_name(p->o->far->software, sizeof p->o->far->software, m.software.data, m.software.len);
    }
    log_debug(
        "%s: %s speaks version %u", p->o->name, QUOTED(m.software.data, m.software.len), m.newest);
    changed(p);
    return 0;
}

static enum err_code code_of(uint16_t reason)
{
    switch (reason) {
    case REASON_FULL:
    case REASON_LOCKED:
    case REASON_YIELD: return ERR_TEMPORARY;
    case REASON_PATH:
    case REASON_FENCED:
    case REASON_HELD: return ERR_REFUSED;
    default: return ERR_FAILED;
    }
}

static int on_error(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_error m;
    if (!msg_get_error(payload, &m))
        return 1;
    p->complaint = REASON_NONE; /* nothing is answered to an ERROR */
    return err_set(err, code_of(m.reason), "the far end ended the session (%s): %s",
        msg_reason_name(m.reason), QUOTED(m.text.data, m.text.len));
}

static int on_pong(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_ping m;
    if (!msg_get_ping(payload, &m))
        return 1;
    if (p->pongs == p->pings || m.token != p->tokens_of_pings[p->pongs % PUSH_PINGS_MAX])
        return err_set(err, ERR_FAILED, "it answered a PING that was not sent");
    p->pongs++;
    pace_came(&p->pace, m.token, io_now_us());
    return 0;
}

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
    changed(p);
}

static int on_opened(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_opened m;
    if (!msg_get_opened(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
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
    changed(p);
}

static int on_site_error(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_site_error m;
    if (!msg_get_site_error(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
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
    err_set(&why, full ? ERR_TEMPORARY : code_of(m.reason), "%s", QUOTED(m.text.data, m.text.len));
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
    changed(p);
    return 0;
}

static int on_listing(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_listing m;
    return msg_get_listing(payload, &m) ? compare_listing(p, &m, err) : 1;
}

/* The atom with a transfer that the far end answers about. 1; 0: it was aborted meanwhile; -1: it
 * was never sent. */
static int find_sending(struct push *p, uint32_t number, struct atom **out, struct err *err)
{
    *out = lanes_find_atom(p, number);
    if (number == 0 || number > p->next_atom)
        return err_set(err, ERR_FAILED, "it sent the signature of an atom that it was not sent");
    return *out != NULL;
}

static int on_signature(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_signature m;
    if (!msg_get_signature(payload, &m))
        return 1;
    struct atom *a;
    int found = find_sending(p, m.atom, &a, err);
    return found > 0 ? stream_signature(a->stream, &m, err) : found;
}

static int on_extents(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_extents m;
    if (!msg_get_extents(payload, &m))
        return 1;
    struct atom *a;
    int found = find_sending(p, m.atom, &a, err);
    return found > 0 ? stream_extents(a->stream, &m, err) : found;
}

static int on_ack(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_ack m;
    if (!msg_get_ack(payload, &m))
        return 1;
    FAULT("acknowledged");
    if (acks_take(p, &m, err) < 0)
        return -1;
    if (m.last) {
        if (p->o->free_bytes)
            *p->o->free_bytes = m.free_bytes;
        if (p->o->batches)
            ++*p->o->batches;
        changed(p);
    }
    return 0;
}

static int on_progress(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_progress m;
    if (!msg_get_progress(payload, &m))
        return 1;
    return check_site(p, m.site, err); /* that it came is all it says */
}

static int on_trash(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_trash m;
    if (!msg_get_trash(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_site_trash(ps, &m);
    changed(p);
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

static int on_hook(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_hook m;
    if (!msg_get_hook(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_site_hook(ps, &m);
    log_hook(p, ps, &m);
    changed(p);
    return 0;
}

static int on_told(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_tell m;
    if (!msg_get_tell(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    if (m.token > ps->tell_sent || m.token <= ps->tell_done)
        return err_set(err, ERR_FAILED, "it answered what it was not asked (TOLD)");
    ps->tell_done = m.token;
    changed(p);
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

static int on_space(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_space m;
    if (!msg_get_space(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_room_told(p, ps, &m);
    changed(p);
    return 0;
}

static int on_proving(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_proving m;
    if (!msg_get_proving(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
    if (found <= 0)
        return found;
    push_proof_told(ps, &m);
    changed(p);
    return 0;
}

static int on_drift(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_drift m;
    if (!msg_get_drift(payload, &m))
        return 1;
    struct push_site *ps;
    int found = find_site(p, m.site, &ps, err);
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
    changed(p);
    return 0;
}

static int on_renewed(struct push *p, struct bytes payload, struct err *err)
{
    struct msg_renewed m;
    return msg_get_renewed(payload, &m) ? renew_done(p, &m, err) : 1;
}

/* What may come in: 0, 1 malformed, -1 with err; the far end is told, as of something illegal if
 * the handler does not say otherwise in `complaint`. */
static const struct handler {
    uint8_t type;
    bool before_hello;
    int (*handle)(struct push *p, struct bytes payload, struct err *err);
} handlers[] = {
    {MSG_HELLO, true, on_hello},
    {MSG_ERROR, true, on_error},
    {MSG_PONG, false, on_pong},
    {MSG_OPENED, false, on_opened},
    {MSG_SITE_ERROR, false, on_site_error},
    {MSG_LISTING, false, on_listing},
    {MSG_SIGNATURE, false, on_signature},
    {MSG_EXTENTS, false, on_extents},
    {MSG_ACK, false, on_ack},
    {MSG_PROGRESS, false, on_progress},
    {MSG_TRASH, false, on_trash},
    {MSG_SPACE, false, on_space},
    {MSG_PROVING, false, on_proving},
    {MSG_DRIFT, false, on_drift},
    {MSG_RENEWED, false, on_renewed},
    {MSG_HOOK, false, on_hook},
    {MSG_TOLD, false, on_told},
};

static int unreadable(struct push *p, const struct frame *f, struct err *err)
{
    p->complaint = msg_fault(f);
    return p->complaint == REASON_PATH
               ? err_set(err, ERR_REFUSED, "the far end sent a refused path in a message: %s",
                     msg_name(f->type))
               : err_set(
                     err, ERR_FAILED, "the far end sent a malformed %s message", msg_name(f->type));
}

static int dispatch(struct push *p, const struct frame *f, struct err *err)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != f->type || (!p->greeted && !handlers[i].before_hello))
            continue;
        p->complaint = REASON_MALFORMED;
        int r = handlers[i].handle(p, f->payload, err);
        if (r == 0)
            p->complaint = REASON_NONE;
        return r == 1 ? unreadable(p, f, err) : r;
    }
    p->complaint = REASON_MALFORMED;
    return err_set(
        err, ERR_FAILED, "the far end sent a %s message that has no place here", msg_name(f->type));
}

/* Something that is not the protocol: most often a shell's or a banner's words. */
static int not_mirrord(struct push *p, struct err *err)
{
    size_t n = buf_len(&p->in) < 80 ? buf_len(&p->in) : 80;
    p->complaint = p->greeted ? REASON_MALFORMED : REASON_NONE;
    return p->greeted ? err_set(err, ERR_FAILED, "the far end sent a malformed frame")
                      : err_set(err, ERR_FAILED,
                            "what answers is not mirrord; it says: %s (does the account's shell "
                            "start-up print something?)",
                            QUOTED(buf_bytes(&p->in), n));
}

static int take_frames(struct push *p, struct err *err)
{
    for (;;) {
        struct frame f;
        int n = frame_next(buf_bytes(&p->in), buf_len(&p->in), &f);
        if (n < 0 || (n > 0 && !p->greeted && f.type != MSG_HELLO && f.type != MSG_ERROR))
            return not_mirrord(p, err);
        if (n == 0)
            return 0;
        p->heard_ms = io_now_ms();
        if (f.type != MSG_PONG)
            p->answered_ms = p->heard_ms;
        if (dispatch(p, &f, err) < 0)
            return -1;
        buf_drain(&p->in, (size_t)n);
    }
}

int inbox_read(struct push *p, struct err *err)
{
    for (;;) {
        ssize_t n = conn_read(p->conn, buf_room(&p->in, READ_SIZE), READ_SIZE, err);
        if (n == CONN_AGAIN)
            return 0;
        if (n < 0)
            return p->greeted ? -1 : conn_explain(p->conn, err);
        if (n == 0)
            return 1;
        buf_fill(&p->in, (size_t)n);
        if (take_frames(p, err) < 0)
            return -1;
    }
}
