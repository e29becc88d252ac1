/*
 * The session's loop and its table of messages; see session.h. Sequential on purpose: this is the
 * end that is exposed. What a message does is in replica.c, listing.c and batch.c.
 */
#include "secondary/session.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/atom.h"
#include "secondary/commit/batch.h"
#include "secondary/commit/turn.h"
#include "secondary/confine/renewal.h"
#include "secondary/crawl.h"
#include "secondary/hook/hook_feed.h"
#include "secondary/hook/told.h"
#include "secondary/site/fencing.h"
#include "secondary/site/listing.h"
#include "secondary/site/replica.h"
#include "secondary/site/room.h"
#include "secondary/site/settle.h"
#include "secondary/stage/reap.h"
#include "secondary/tools.h"
#include "secondary/unit/retire.h"
#include "tree/walk/reread.h"

enum {
    SILENCES = 3, /* missed keepalives that end a session */
    READ_SIZE = 256 * 1024,
    OUTDATED_MS = 50,    /* of silence: all sites were asked for */
    LAST_REAP_MS = 2000, /* what is dead in the stages is removed for so long after BYE */
    ZIP_LEVEL = 1,
    QUIET_US = 1000,  /* after the last input: more of a batch may be just behind */
    STARVE_US = 4000, /* but jobs get a step at least this often */
    PONGS_MAX = 1024, /* that are put off */
    SAID_MAX = 64,    /* causes of sites' failures in the log, an hour */
};

enum { UNREADABLE = 1 };

enum phase { BEFORE_HELLO = 1, AFTER_HELLO = 2, ENDED = 4, RENEWING = 8 };

enum { LISTENING = BEFORE_HELLO | AFTER_HELLO };

struct session {
    struct tools tools;
    struct buf in;
    uint8_t *plain; /* of a PACK or BUNDLE: MSG_CHUNK_MAX bytes, from the first one on; else NULL */
    enum phase phase;
    int signals;                  /* signalfd of SIGTERM and SIGINT */
    uint64_t heard;               /* when the last byte came */
    uint64_t heard_us, worked_us; /* the same, and when a job had its last step */
    struct crawl crawl;           /* of the frame of which `in` has a part */
    struct buf pongs;             /* tokens (u64) that are answered when all before them is done */
};

/* Ends the session with this reason. */
static int refuse(struct session *s, uint16_t reason, struct err *err, const char *text)
{
    s->tools.reason = reason;
    return err_set(err, ERR_FAILED, "%s", text);
}

/* --- messages: 0, -1 with err, or UNREADABLE where it cannot be decoded --- */

static int answer_hello(
    struct session *s, const struct msg_hello *m, uint16_t version, struct err *err)
{
    const struct receive_options *o = s->tools.options;
    struct msg_hello answer = {
        .magic = MSG_MAGIC,
        .oldest = version,
        .newest = version,
        .session = m->session,
        .software = bytes_of("mirrord " MIRRORD_VERSION),
        .host = bytes_of(o->host),
    };
    s->tools.reason = REASON_IO;
    if (s->tools.self->failed) {
        *err = s->tools.self->err;
        return -1;
    }
    answer.host_id = s->tools.self->id;
    s->tools.version = version;
    s->tools.peer = m->host_id;
    s->tools.peer_host = (struct bytes){mem_copy_bytes(m->host.data, m->host.len), m->host.len};
    s->phase = AFTER_HELLO;
    msg_put_hello(&s->tools.out.writer, &answer);
    outbox_put(&s->tools.out);
    log_debug("session with %s", QUOTED(m->host.data, m->host.len));
    return 0;
}

static int on_hello(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_hello m;
    if (!msg_get_hello(payload, &m) || m.magic != MSG_MAGIC)
        return UNREADABLE;
    uint16_t version = m.newest < MSG_VERSION ? m.newest : MSG_VERSION;
    if (version >= m.oldest && version >= MSG_VERSION_OLDEST)
        return answer_hello(s, &m, version, err);
    char text[256];
    snprintf(text, sizeof text,
        "no common version of the protocol: this end (mirrord " MIRRORD_VERSION
        ") speaks %d to %d, the other end %u to %u: bring both to neighbouring releases",
        MSG_VERSION_OLDEST, MSG_VERSION, m.oldest, m.newest);
    return refuse(s, REASON_VERSION, err, text);
}

static int on_error(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_error m;
    if (!msg_get_error(payload, &m))
        return UNREADABLE;
    s->phase = ENDED; /* nothing is answered to an ERROR */
    return err_set(err, ERR_FAILED, "the other end ended the session (%s): %s",
        msg_reason_name(m.reason), QUOTED(m.text.data, m.text.len));
}

/* The primary takes PONG for a sign that what was in front of the PING needs no time any more. */
static void answer_pings(struct session *s)
{
    if (s->tools.patching && s->phase != RENEWING &&
        buf_len(&s->pongs) < PONGS_MAX * sizeof(uint64_t))
        return;
    while (buf_len(&s->pongs)) {
        struct msg_ping m;
        memcpy(&m.token, buf_bytes(&s->pongs), sizeof m.token);
        buf_drain(&s->pongs, sizeof m.token);
        msg_put_pong(&s->tools.out.writer, &m);
        outbox_put(&s->tools.out);
    }
}

static int on_ping(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_ping m;
    (void)err;
    if (!msg_get_ping(payload, &m))
        return UNREADABLE;
    buf_append(&s->pongs, &m.token, sizeof m.token);
    answer_pings(s);
    return 0;
}

static int on_bye(struct session *s, struct bytes payload, struct err *err)
{
    (void)err;
    if (!msg_get_bye(payload))
        return UNREADABLE;
    s->phase = ENDED;
    return 0;
}

/* A dry run has nothing that another process could go on with. */
static void fail_dry_runs(struct session *s)
{
    struct err why;
    err_set(&why, ERR_TEMPORARY, "a dry run ends where the receiver is renewed: run it again");
    for (struct set_item *i = set_first(s->tools.replicas); i; i = i->next) {
        struct replica *r = i->value;
        if ((r->flags & OPEN_DRY_RUN) && r->state != REPLICA_FAILED)
            replica_fail(r, REASON_YIELD, &why);
    }
}

static int on_renew(struct session *s, struct bytes payload, struct err *err)
{
    if (!msg_get_renew(payload))
        return UNREADABLE;
    if (s->tools.version < MSG_VERSION_RENEW)
        return err_set(err, ERR_FAILED, "RENEW in a session of version %u", s->tools.version);
    fail_dry_runs(s);
    s->phase = RENEWING;
    return 0;
}

static int on_open(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_open *m CLEANUP_FREE = mem_alloc(sizeof *m);
    if (!msg_get_open(payload, m))
        return UNREADABLE;
    return replica_open(&s->tools, m, payload, NULL, err);
}

/* The replica of this number: NULL with err where it was never opened, or is being opened. */
static struct replica *open_replica(struct session *s, uint32_t site, struct err *err)
{
    struct set_item *item = set_find(s->tools.replicas, &site, sizeof site);
    struct replica *r = item ? item->value : NULL;
    if (r && r->state != REPLICA_OPENING)
        return r;
    err_set(err, ERR_FAILED, "site %u is not open", site);
    return NULL;
}

static int on_list(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_list m;
    if (!msg_get_list(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        listing_answer(r, &m);
    return 0;
}

static int on_level(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_level m;
    if (!msg_get_level(payload, &m))
        return UNREADABLE;
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->flags & OPEN_DRY_RUN)
        return err_set(err, ERR_FAILED, "LEVEL in a dry run");
    /* A root that was taken by force and is equal: no batch would ever mark it. */
    bool taken = (r->flags & OPEN_FORCE) && !r->marked && r->state == REPLICA_OPEN;
    r->flags &= ~(uint32_t)OPEN_FORCE;
    if (taken && replica_prepare(r) < 0)
        return 0;
    if (r->state == REPLICA_OPEN) {
        settle_start(r);
        health_feed_level(r);
    }
    return 0;
}

static int on_owed(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_owed m;
    if (!msg_get_owed(payload, &m))
        return UNREADABLE;
    if (s->tools.version < MSG_VERSION_NEWS)
        return err_set(err, ERR_FAILED, "OWED in a session of version %u", s->tools.version);
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        health_feed_owed(r, &m);
    return 0;
}

static int on_tell(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_tell m;
    if (!msg_get_tell(payload, &m))
        return UNREADABLE;
    if (s->tools.version < MSG_VERSION_NEWS)
        return err_set(err, ERR_FAILED, "TELL in a session of version %u", s->tools.version);
    struct replica *r = open_replica(s, m.site, err);
    if (!r)
        return -1;
    if (r->state == REPLICA_OPEN)
        told_ask(r, m.token);
    return 0;
}

static int on_claim(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_claim m;
    (void)err;
    if (!msg_get_claim(payload, &m))
        return UNREADABLE;
    fencing_claim(&s->tools, &m);
    return 0;
}

static int on_close(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_close m;
    if (!msg_get_close(payload, &m))
        return UNREADABLE;
    struct set_item *item = set_find(s->tools.replicas, &m.site, sizeof m.site);
    if (!item)
        return err_set(err, ERR_FAILED, "site %u is not open", m.site);
    struct replica *r = item->value;
    turn_finish(r);
    batch_drop_all(r);
    replica_end(r);
    replica_free(r);
    set_remove(s->tools.replicas, item);
    return 0;
}

/* Messages of batches and atoms: decode, then batch.c and atom.c. */
#define MESSAGE(name, function)                                                                    \
    static int on_##name(struct session *s, struct bytes payload, struct err *err)                 \
    {                                                                                              \
        struct msg_##name m;                                                                       \
        if (!msg_get_##name(payload, &m))                                                          \
            return UNREADABLE;                                                                     \
        return function(&s->tools, &m, err);                                                       \
    }

MESSAGE(begin, batch_open)
MESSAGE(entry, atom_entry)
MESSAGE(data, atom_data)
MESSAGE(range, atom_range)
MESSAGE(finish, atom_finish)
MESSAGE(delete, atom_delete)
MESSAGE(move, atom_move)
MESSAGE(abort, atom_abort)
MESSAGE(commit, batch_commit)
MESSAGE(unit, atom_unit)
MESSAGE(drop, batch_drop)

static int on_pack(struct session *s, struct bytes payload, struct err *err);
static int on_bundle(struct session *s, struct bytes payload, struct err *err);

static const struct handler {
    uint8_t type;
    uint8_t legal; /* enum phase, or'ed */
    int (*handle)(struct session *s, struct bytes payload, struct err *err);
} handlers[] = {
    {MSG_HELLO, BEFORE_HELLO, on_hello},
    {MSG_ERROR, BEFORE_HELLO | AFTER_HELLO, on_error},
    {MSG_PING, AFTER_HELLO, on_ping},
    {MSG_BYE, AFTER_HELLO, on_bye},
    {MSG_RENEW, AFTER_HELLO, on_renew},
    {MSG_OPEN, AFTER_HELLO, on_open},
    {MSG_CLOSE, AFTER_HELLO, on_close},
    {MSG_LIST, AFTER_HELLO, on_list},
    {MSG_LEVEL, AFTER_HELLO, on_level},
    {MSG_OWED, AFTER_HELLO, on_owed},
    {MSG_CLAIM, AFTER_HELLO, on_claim},
    {MSG_TELL, AFTER_HELLO, on_tell},
    {MSG_BEGIN, AFTER_HELLO, on_begin},
    {MSG_ENTRY, AFTER_HELLO, on_entry},
    {MSG_PACK, AFTER_HELLO, on_pack},
    {MSG_BUNDLE, AFTER_HELLO, on_bundle},
    {MSG_DATA, AFTER_HELLO, on_data},
    {MSG_RANGE, AFTER_HELLO, on_range},
    {MSG_FINISH, AFTER_HELLO, on_finish},
    {MSG_DELETE, AFTER_HELLO, on_delete},
    {MSG_MOVE, AFTER_HELLO, on_move},
    {MSG_ABORT, AFTER_HELLO, on_abort},
    {MSG_COMMIT, AFTER_HELLO, on_commit},
    {MSG_UNIT, AFTER_HELLO, on_unit},
    {MSG_DROP, AFTER_HELLO, on_drop},
};

static int unreadable(struct session *s, const struct frame *f, struct err *err)
{
    s->tools.reason = msg_fault(f);
    return s->tools.reason == REASON_PATH
               ? err_set(err, ERR_REFUSED, "a refused path in a message: %s", msg_name(f->type))
               : err_set(err, ERR_FAILED, "a malformed %s message", msg_name(f->type));
}

static int handle(struct session *s, const struct frame *f, struct err *err)
{
    s->tools.reason = REASON_MALFORMED;
    log_debug("%s, %zu bytes", msg_name(f->type), f->payload.len);
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != f->type || !(handlers[i].legal & s->phase))
            continue;
        int r = handlers[i].handle(s, f->payload, err);
        return r == UNREADABLE ? unreadable(s, f, err) : r;
    }
    return err_set(
        err, ERR_FAILED, "message %s (%u) is not legal here", msg_name(f->type), f->type);
}

/* One ENTRY of what came packed, whose numbers are counted from these. */
static int on_packed(
    struct session *s, struct frame *f, uint32_t batch, uint32_t atom, struct err *err)
{
    uint32_t b, a;
    s->tools.reason = REASON_MALFORMED;
    if (f->type != MSG_ENTRY || f->payload.len < MSG_NUMBERS)
        return err_set(err, ERR_FAILED, "something else than ENTRYs came packed");
    msg_entry_numbers(f->payload.data, &b, &a);
    msg_entry_renumber((uint8_t *)f->payload.data, batch + b, atom + a);
    return handle(s, f, err);
}

/* As if what it unpacks to had come in its place. */
static int unpack(
    struct session *s, struct bytes content, uint32_t batch, uint32_t atom, struct err *err)
{
    struct frame f;
    size_t n = 0, at = 0;
    if (!s->plain)
        s->plain = mem_alloc(MSG_CHUNK_MAX);
    if (zip_unpack(s->tools.zip, content.data, content.len, s->plain, MSG_CHUNK_MAX, &n, err) < 0)
        return -1;
    do {
        int length = frame_next(s->plain + at, n - at, &f);
        if (length <= 0) {
            s->tools.reason = REASON_MALFORMED;
            return err_set(err, ERR_FAILED, "part of a message came packed");
        }
        if (on_packed(s, &f, batch, atom, err) < 0)
            return -1;
        at += (size_t)length;
    } while (at < n);
    return 0;
}

static int on_pack(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_pack m;
    return msg_get_pack(payload, &m) ? unpack(s, m.content, 0, 0, err) : UNREADABLE;
}

static int on_bundle(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_bundle m;
    if (!msg_get_bundle(payload, &m))
        return UNREADABLE;
    if (s->tools.version < MSG_VERSION_BUNDLE)
        return err_set(err, ERR_FAILED, "BUNDLE in a session of version %u", s->tools.version);
    return unpack(s, m.content, m.batch, m.atom, err);
}

/* --- the loop --- */

static uint64_t keepalives_ms(const struct session *s, unsigned n)
{
    return (uint64_t)s->tools.options->keepalive_ms * n;
}

/* A primary that brings its messages by single bytes is not waited for. */
static int check_crawl(struct session *s, bool whole, struct err *err)
{
    uint64_t ms = crawl_look(&s->crawl, whole || buf_len(&s->in) == 0, io_now_ms());
    char text[80];
    if (ms < keepalives_ms(s, CRAWL_KEEPALIVES))
        return 0;
    snprintf(text, sizeof text, "a message has been coming for %u seconds and is not whole",
        (unsigned)(ms / 1000));
    return refuse(s, REASON_LIMIT, err, text);
}

/* Everything that has arrived whole. */
static int handle_all(struct session *s, struct err *err)
{
    struct frame f;
    bool whole = false;
    int n;
    while (
        (s->phase & LISTENING) && (n = frame_next(buf_bytes(&s->in), buf_len(&s->in), &f)) != 0) {
        s->tools.reason = REASON_MALFORMED;
        if (n < 0)
            return err_set(err, ERR_FAILED, "a frame of a length that is not allowed");
        if (handle(s, &f, err) < 0)
            return -1;
        buf_drain(&s->in, (size_t)n);
        whole = true;
    }
    return check_crawl(s, whole, err);
}

static int read_some(struct session *s, struct err *err)
{
    ssize_t n = read(s->tools.options->in, buf_room(&s->in, READ_SIZE), READ_SIZE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    s->tools.reason = REASON_IO;
    if (n < 0)
        return err_sys(err, errno, "read from the other end");
    if (n > 0) {
        buf_fill(&s->in, (size_t)n);
        s->heard_us = io_now_us();
        s->heard = s->heard_us / 1000;
        return 0;
    }
    s->phase = ENDED;
    s->tools.reason = REASON_MALFORMED;
    return buf_len(&s->in) ? err_set(err, ERR_FAILED, "the stream ended within a message") : 0;
}

static bool asked_to_yield(struct session *s)
{
    struct signalfd_siginfo info;
    return read(s->signals, &info, sizeof info) > 0;
}

static uint64_t silence_ms(const struct session *s)
{
    return keepalives_ms(s, SILENCES);
}

/* How long to wait for input: until there is work, or the silence has lasted too long. */
static int wait_ms(const struct session *s, int work)
{
    uint64_t silent = io_now_ms() - s->heard;
    int left = silent < silence_ms(s) ? (int)(silence_ms(s) - silent) : 0;
    if (set_first(s->tools.replicas) && left > FENCING_LOOK_MS)
        left = FENCING_LOOK_MS;
    if (buf_len(&s->in) && left > CRAWL_GAP_MS)
        left = CRAWL_GAP_MS;
    return work >= 0 && work < left ? work : left;
}

/* Waits and reads. */
static int listen_for(struct session *s, int work, struct err *err)
{
    struct pollfd fds[] = {
        {.fd = s->tools.options->in, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}};
    int n = poll(fds, 2, s->tools.outdated ? OUTDATED_MS : wait_ms(s, work));
    s->tools.reason = REASON_IO;
    if (n < 0 && errno != EINTR)
        return err_sys(err, errno, "poll");
    if (n > 0 && fds[1].revents && asked_to_yield(s))
        return refuse(s, REASON_YIELD, err, "asked to end: another session takes over");
    if (n > 0 && fds[0].revents)
        return read_some(s, err);
    if (n == 0 && s->tools.outdated)
        return refuse(s, REASON_YIELD, err,
            "a root is not the directory that it was when this session began: a new session is to "
            "serve it");
    if (n == 0 && io_now_ms() - s->heard >= silence_ms(s)) {
        char text[80];
        snprintf(text, sizeof text, "nothing was heard for %u seconds",
            (unsigned)(silence_ms(s) / 1000));
        return refuse(s, REASON_IO, err, text);
    }
    return 0;
}

/* A step of a job, unless more input is to be expected right now: a live change that comes in
 * several pieces would wait for a step between each two of them. Milliseconds until there is work,
 * or -1. */
static int step_jobs(struct session *s)
{
    int due = jobs_due(&s->tools.jobs);
    if (due != 0)
        return due;
    uint64_t now = io_now_us();
    if (s->tools.batches && now < s->heard_us + QUIET_US && now < s->worked_us + STARVE_US)
        return 1;
    due = jobs_step(&s->tools.jobs);
    s->worked_us = io_now_us();
    return due;
}

static int loop(struct session *s, struct err *err)
{
    if (handle_all(s, err) < 0) /* what the process before had read */
        return -1;
    while (s->phase & LISTENING) {
        FAULT_SLOW();
        int due = step_jobs(s);
        answer_pings(s);
        fencing_look(&s->tools);
        hook_feed_look(&s->tools);
        room_look(&s->tools);
        health_feed_look(&s->tools, s->heard);
        if (outbox_flush(&s->tools.out, err) < 0) {
            s->phase = ENDED; /* the other end cannot be told */
            return -1;
        }
        if (listen_for(s, due, err) < 0 || handle_all(s, err) < 0)
            return -1;
    }
    for (struct set_item *i = set_first(s->tools.replicas); i; i = i->next)
        turn_finish(i->value);
    answer_pings(s);
    if (outbox_flush(&s->tools.out, err) < 0)
        return -1;
    return s->phase == RENEWING ? SESSION_RENEW : 0;
}

static void send_error(struct session *s, const struct err *why)
{
    struct err ignored;
    bool full = why->sys == ENOSPC || why->sys == EDQUOT;
    struct msg_error m = {
        .reason = full ? REASON_FULL : s->tools.reason, .text = bytes_of(why->text)};
    if (s->phase == ENDED)
        return;
    if (m.text.len > MSG_TEXT_MAX)
        m.text.len = MSG_TEXT_MAX;
    msg_put_error(&s->tools.out.writer, &m);
    outbox_flush(&s->tools.out, &ignored);
}

static void reap_last(struct session *s)
{
    uint64_t until = io_now_ms() + LAST_REAP_MS;
    for (struct set_item *i = set_first(s->tools.replicas); i; i = i->next) {
        struct replica *r = i->value;
        bool more = r->state == REPLICA_OPEN && r->stage;
        while (more && io_now_ms() < until)
            more = retire_some(r, JOB_BUDGET_MS) || reap_some(r->stage, JOB_BUDGET_MS);
    }
}

/* Who takes over goes on with what is dead, and with the mark. */
static void close_all(struct session *s)
{
    struct set_item *item;
    batch_forget_all(&s->tools);
    if (s->phase != RENEWING)
        reap_last(s);
    while ((item = set_first(s->tools.replicas)) != NULL) {
        struct replica *r = item->value;
        if (s->phase != RENEWING)
            replica_end(r);
        replica_free(item->value);
        set_remove(s->tools.replicas, item);
    }
}

/* --- the process --- */

static bool can_chown(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & (1u << CAP_CHOWN));
}

/* SIGTERM is looked at between steps, so that it never ends a commit halfway. */
static int take_signals(struct err *err)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int fd = io_take_ends(NULL);
    return fd < 0 ? err_sys(err, errno, "signalfd") : fd;
}

static void free_session(struct session *s)
{
    close_all(s);
    set_free(s->tools.replicas);
    often_free(s->tools.often);
    reread_free(s->tools.reread);
    names_free(s->tools.names);
    zip_free(s->tools.zip);
    free(s->tools.chunk);
    free(s->plain);
    free((void *)s->tools.peer_host.data);
    wire_free(&s->tools.out.writer);
    buf_free(&s->in);
    buf_free(&s->pongs);
    close(s->signals);
}

/* Begins where the process before ended. */
static int take_over(struct session *s, struct err *err)
{
    const struct err *config = &s->tools.self->config;
    struct bytes text = bytes_of(config->code ? config->text : "");
    if (renewal_take(&s->tools, s->tools.self->left, &s->in, err) < 0)
        return -1;
    s->phase = AFTER_HELLO;
    if (text.len > MSG_TEXT_MAX)
        text.len = MSG_TEXT_MAX;
    msg_put_renewed(&s->tools.out.writer, &(struct msg_renewed){text});
    return outbox_flush(&s->tools.out, err);
}

static int serve(struct session *s, struct err *err)
{
    int result = s->tools.self->left >= 0 ? take_over(s, err) : 0;
    if (result == 0)
        result = loop(s, err);
    if (result != SESSION_RENEW)
        return result;
    struct bytes rest = {buf_bytes(&s->in), buf_len(&s->in)};
    s->tools.reason = REASON_INTERNAL;
    return renewal_leave(&s->tools, rest, s->tools.self->leave, err) < 0 ? -1 : result;
}

/* Whoever reads the log is the other end, through sshd: that it does not must hold up nothing, and
 * a line that finds no room is lost. A terminal or a file is somebody else's, too. */
static void unblock_log(void)
{
    struct stat st;
    if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        io_nonblock(STDERR_FILENO);
}

int session_run(const struct receive_options *o, const struct outside *outside,
    const struct receive_self *self, struct err *err)
{
    struct session s = {.phase = BEFORE_HELLO, .heard = io_now_ms()};
    s.signals = take_signals(err);
    if (s.signals < 0)
        return -1;
    umask(0);
    io_nonblock(o->out);
    unblock_log();
    s.tools.options = o;
    s.tools.out.fd = o->out;
    s.tools.out.patience_ms = (int)silence_ms(&s);
    s.tools.out.crawl_ms = (int)keepalives_ms(&s, CRAWL_KEEPALIVES);
    s.tools.out.signals = s.signals;
    jobs_init(&s.tools.jobs);
    s.tools.names = names_new(&outside->names);
    s.tools.outside = outside;
    s.tools.self = self;
    if (o->scan_rate)
        s.tools.reread = reread_new(o->scan_rate, o->reread_every_s);
    s.tools.zip = zip_new(ZIP_LEVEL);
    s.tools.chunk = mem_alloc(MSG_CHUNK_MAX);
    s.tools.replicas = set_new();
    s.tools.often = often_new(SAID_MAX);
    s.tools.can_chown = can_chown();
    int result = serve(&s, err);
    if (result < 0)
        send_error(&s, err);
    free_session(&s);
    return result;
}
