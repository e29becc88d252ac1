/* What comes in from the secondary: one table of messages, checked in one place for what is legal
 * when, each handed to the part it concerns. */
#include <string.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "primary/push/inbox/inbox_impl.h"
#include "primary/push/send/bases.h"

enum { READ_SIZE = 128 * 1024 };

void inbox_changed(struct push *p)
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

int inbox_find_site(struct push *p, uint32_t number, struct push_site **out, struct err *err)
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
    if (p->o->bases)
        bases_meet(p->o->bases, &m.host_id);
    if (p->o->far) {
        p->o->far->version = m.newest;
        log_name(p->o->far->software, sizeof p->o->far->software, m.software.data, m.software.len);
    }
    log_debug(
        "%s: %s speaks version %u", p->o->name, QUOTED(m.software.data, m.software.len), m.newest);
    inbox_changed(p);
    return 0;
}

enum err_code inbox_code_of(uint16_t reason)
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
    return err_set(err, inbox_code_of(m.reason), "the far end ended the session (%s): %s",
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
        inbox_changed(p);
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
    {MSG_OPENED, false, inbox_on_opened},
    {MSG_SITE_ERROR, false, inbox_on_site_error},
    {MSG_LISTING, false, on_listing},
    {MSG_SIGNATURE, false, on_signature},
    {MSG_EXTENTS, false, on_extents},
    {MSG_ACK, false, on_ack},
    {MSG_PROGRESS, false, on_progress},
    {MSG_TRASH, false, inbox_on_trash},
    {MSG_SPACE, false, inbox_on_space},
    {MSG_PROVING, false, inbox_on_proving},
    {MSG_DRIFT, false, inbox_on_drift},
    {MSG_RENEWED, false, on_renewed},
    {MSG_HOOK, false, inbox_on_hook},
    {MSG_TOLD, false, inbox_on_told},
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
