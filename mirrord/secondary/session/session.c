/*
 * A session's beginning, loop and end; see session.h. Sequential on purpose: this is the end that
 * is exposed.
 */
#include "secondary/session/session.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "secondary/commit/batch.h"
#include "secondary/commit/turn.h"
#include "secondary/confine/renewal.h"
#include "secondary/health/health_feed.h"
#include "secondary/hook/hook_feed.h"
#include "secondary/session/session_impl.h"
#include "secondary/site/fencing.h"
#include "secondary/site/replica.h"
#include "secondary/site/room.h"
#include "secondary/stage/reap.h"
#include "secondary/unit/retire.h"
#include "tree/walk/reread.h"

enum {
    SILENCES = 3,        /* missed keepalives that end a session */
    OUTDATED_MS = 50,    /* of silence: all sites were asked for */
    LAST_REAP_MS = 2000, /* what is dead in the stages is removed for so long after BYE */
    ZIP_LEVEL = 1,
    QUIET_US = 1000,  /* after the last input: more of a batch may be just behind */
    STARVE_US = 4000, /* but jobs get a step at least this often */
    SAID_MAX = 64,    /* causes of sites' failures in the log, an hour */
};

/* Ends the session with this reason: -1, as what failed. */
static int end_with(struct session *s, uint16_t reason)
{
    s->tools.reason = reason;
    return -1;
}

/* --- the loop --- */

/* Everything that has arrived whole. */
static int take_all(struct session *s, struct err *err)
{
    struct frame f;
    int n;
    while ((s->phase & LISTENING) && (n = input_next(&s->in, &f, err)) != 0) {
        if (n < 0)
            return end_with(s, REASON_MALFORMED);
        if (dispatch(s, &f, err) < 0)
            return -1;
        input_drain(&s->in, n);
    }
    return input_check(&s->in, err) < 0 ? end_with(s, REASON_LIMIT) : 0;
}

static int read_some(struct session *s, struct err *err)
{
    int r = input_read(&s->in, err);
    if (r < 0)
        return end_with(s, err->sys ? REASON_IO : REASON_MALFORMED);
    if (r == INPUT_ENDED)
        s->phase = ENDED;
    return 0;
}

static bool asked_to_yield(struct session *s)
{
    struct signalfd_siginfo info;
    return read(s->signals, &info, sizeof info) > 0;
}

/* How long to wait for input: until there is work, or the silence has lasted too long. */
static int wait_ms(const struct session *s, int work)
{
    int left = input_wait_ms(&s->in);
    if (s->tools.outdated)
        return OUTDATED_MS;
    if (set_first(s->tools.replicas) && left > FENCING_LOOK_MS)
        left = FENCING_LOOK_MS;
    return work >= 0 && work < left ? work : left;
}

/* Nothing has come for as long as was waited. */
static int be_alone(struct session *s, struct err *err)
{
    if (s->tools.outdated) {
        err_set(err, ERR_FAILED,
            "a root is not the directory that it was when this session began: a new session is to "
            "serve it");
        return end_with(s, REASON_YIELD);
    }
    return input_check_silence(&s->in, err) < 0 ? end_with(s, REASON_IO) : 0;
}

/* Waits and reads. */
static int listen_for(struct session *s, int work, struct err *err)
{
    struct pollfd fds[] = {
        {.fd = s->in.fd, .events = POLLIN}, {.fd = s->signals, .events = POLLIN}};
    int n = poll(fds, 2, wait_ms(s, work));
    if (n < 0 && errno != EINTR) {
        err_sys(err, errno, "poll");
        return end_with(s, REASON_IO);
    }
    if (n > 0 && fds[1].revents && asked_to_yield(s)) {
        err_set(err, ERR_FAILED, "asked to end: another session takes over");
        return end_with(s, REASON_YIELD);
    }
    if (n > 0 && fds[0].revents)
        return read_some(s, err);
    return n == 0 ? be_alone(s, err) : 0;
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
    if (s->tools.batches && now < s->in.heard_us + QUIET_US && now < s->worked_us + STARVE_US)
        return 1;
    due = jobs_step(&s->tools.jobs);
    s->worked_us = io_now_us();
    return due;
}

static int loop(struct session *s, struct err *err)
{
    if (take_all(s, err) < 0) /* what the process before had read */
        return -1;
    while (s->phase & LISTENING) {
        FAULT_SLOW();
        int due = step_jobs(s);
        on_session_pong(s);
        fencing_look(&s->tools);
        hook_feed_look(&s->tools);
        room_look(&s->tools);
        health_feed_look(&s->tools, s->in.heard_ms);
        if (outbox_flush(&s->tools.out, err) < 0) {
            s->phase = ENDED; /* the other end cannot be told */
            return -1;
        }
        if (listen_for(s, due, err) < 0 || take_all(s, err) < 0)
            return -1;
    }
    for (struct set_item *i = set_first(s->tools.replicas); i; i = i->next)
        turn_finish(i->value);
    on_session_pong(s);
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
    input_free(&s->in);
    buf_free(&s->pongs);
    close(s->signals);
}

/* Begins where the process before ended. */
static int take_over(struct session *s, struct err *err)
{
    const struct err *config = &s->tools.self->config;
    struct bytes text = bytes_of(config->code ? config->text : "");
    if (renewal_take(&s->tools, s->tools.self->left, &s->in.bytes, err) < 0)
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
    struct bytes rest = {buf_bytes(&s->in.bytes), buf_len(&s->in.bytes)};
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

/* The primary's keepalives say for how long it is waited for. */
static void set_patience(struct session *s)
{
    uint64_t keepalive_ms = s->tools.options->keepalive_ms;
    s->in.heard_ms = io_now_ms();
    s->in.silence_ms = SILENCES * keepalive_ms;
    s->in.crawl_ms = CRAWL_KEEPALIVES * keepalive_ms;
    s->tools.out.patience_ms = (int)s->in.silence_ms;
    s->tools.out.crawl_ms = (int)s->in.crawl_ms;
}

int session_run(const struct receive_options *o, const struct outside *outside,
    const struct receive_self *self, struct err *err)
{
    struct session s = {.phase = BEFORE_HELLO, .in.fd = o->in};
    s.signals = take_signals(err);
    if (s.signals < 0)
        return -1;
    umask(0);
    io_nonblock(o->out);
    unblock_log();
    s.tools.options = o;
    s.tools.out.fd = o->out;
    s.tools.out.signals = s.signals;
    set_patience(&s);
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
