/* One session with one secondary: the greeting and the loop. What comes in is inbox/'s, what goes
 * out is made by lanes.c, compare.c and tend.c; this file keeps the connection moving both ways, so
 * that neither end ever waits for the other to read. */
#include "primary/push/push.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/push/pack/shelf.h"
#include "primary/push/push_impl.h"

enum {
    SILENCES = 4, /* keepalives: an answer owed and no frame for so long, and the link is lost … */
    PONGS_ALONE = 2, /* … and as many times that with PONG alone */
    POLL_MAX_MS = 5000,
    POLL_ONCE_MS = 200, /* for the progress line */
    BYE_MS = 10000,
    RENEW_LOOK_MS = 50,  /* between looks whether RENEW can be sent */
    CHECK_MS = 2,        /* between looks whether a unit has been looked through */
    TURN_US = 2000,      /* of making frames, before those that are made are sent */
    COMPLAINT_MS = 1000, /* for telling the far end why it is left */
    ZSTD_LEVEL = 1,
};

static void put_hello(struct push *p)
{
    io_random(&p->session, sizeof p->session);
    msg_put_hello(&p->out, &(struct msg_hello){.magic = MSG_MAGIC,
                               .oldest = MSG_VERSION_OLDEST,
                               .newest = MSG_VERSION,
                               .session = p->session,
                               .host_id = p->o->host_id,
                               .software = bytes_of("mirrord " MIRRORD_VERSION),
                               .host = bytes_of(p->o->host)});
}

static size_t waiting(const struct push *p)
{
    return packer_waiting(p->packer) + p->out.len - p->out_at + conn_pending(p->conn);
}

static void note_spoken(struct push *p, size_t n)
{
    size_t of_pings = n < p->ping_bytes ? n : p->ping_bytes;
    p->spoke_ms = io_now_ms();
    p->ping_bytes -= of_pings;
    if (n > of_pings)
        p->asked_ms = p->spoke_ms;
}

/* How many bytes the connection took; CONN_AGAIN; -1. */
static ssize_t hand_over(struct push *p, const void *bytes, size_t n, struct err *err)
{
    ssize_t taken = conn_write(p->conn, bytes, n, err);
    if (taken < 0)
        return taken;
    FAULT("sent");
    note_spoken(p, (size_t)taken);
    p->tokens -= (double)taken;
    return taken;
}

/* What the packer has comes before `out`. 0: none is left; CONN_AGAIN; -1. */
static int transmit_packed(struct push *p, struct err *err)
{
    while (!packer_is_empty(p->packer)) {
        struct bytes ready = packer_ready(p->packer);
        ssize_t n = ready.len ? hand_over(p, ready.data, ready.len, err) : CONN_AGAIN;
        if (n < 0)
            return (int)n;
        packer_drain(p->packer, (size_t)n);
    }
    return 0;
}

/* Hands over what has been made. */
static int transmit(struct push *p, struct err *err)
{
    ssize_t n = transmit_packed(p, err);
    size_t ready = bundle_ready(p);
    while (n >= 0 && p->out_at < ready) {
        n = hand_over(p, p->out.data + p->out_at, ready - p->out_at, err);
        p->out_at += n > 0 ? (size_t)n : 0;
    }
    if (n == -1)
        return -1;
    if (p->out_at == p->out.len) {
        wire_reset(&p->out);
        p->out_at = 0;
    }
    return conn_flush(p->conn, err) == -1 ? -1 : 0;
}

static void refill_tokens(struct push *p)
{
    if (!p->o->bwlimit)
        return;
    uint64_t now = io_now_us();
    double burst = (double)p->o->bwlimit / 20; /* 50 ms worth */
    p->tokens += (double)(now - p->tokens_us) * (double)p->o->bwlimit / 1e6;
    if (p->tokens > burst)
        p->tokens = burst;
    p->tokens_us = now;
}

static bool step_sites(struct push *p)
{
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (compare_step(p, ps))
            return true;
    return false;
}

/* How much may wait: little while live work does, so that it never queues behind bulk. */
static size_t out_limit(struct push *p)
{
    if (lanes_live_waiting(p))
        return PUSH_OUT_LIVE;
    return p->o->once && !p->o->bwlimit ? PUSH_OUT_ONCE : PUSH_OUT_BULK;
}

/* Makes frames until enough wait, or for a while: much that is read makes little to send. */
static int make_frames(struct push *p, struct err *err)
{
    uint64_t until = io_now_us() + TURN_US;
    for (;;) {
        p->more = waiting(p) >= out_limit(p);
        if (p->more)
            return 0;
        if (!step_sites(p) && !lanes_step(p))
            return 0;
        if (p->out.bad)
            return err_set(err, ERR_FAILED, "a message did not fit its frame");
        p->more = io_now_us() >= until;
        if (p->more)
            return 0;
    }
}

static int produce(struct push *p, struct err *err)
{
    refill_tokens(p);
    int r = make_frames(p, err);
    bundle_rest(p);
    above_forget(&p->above);
    return r;
}

/* once: is there nothing left to do? */
static bool all_done(struct push *p)
{
    struct push_site *ps;
    if (!lanes_idle(p))
        return false;
    TAILQ_FOREACH (ps, p->o->sites, order) {
        if (ps->state >= PUSH_HELD)
            continue;
        if (ps->state != PUSH_OPEN || queue_size(p->o->queue, ps->owed) > 0 || ps->expander ||
            ps->compare)
            return false;
    }
    return true;
}

/* To more than a PING. */
static bool expects_answer(const struct push *p)
{
    const struct push_site *ps;
    if (!p->greeted || p->renew == RENEW_SENT || p->opening || !TAILQ_EMPTY(&p->sent))
        return true;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (ps->compare && compare_is_asking(ps->compare))
            return true;
    struct compare *c;
    for (struct unit_push *u = NULL; (u = unit_push_each((struct push *)p, u, &c));)
        if (c && compare_is_asking(c))
            return true;
    return false;
}

static uint64_t patience_ms(const struct push *p)
{
    return (uint64_t)p->o->keepalive_ms * SILENCES;
}

/* Nothing leaves and nothing comes, or nothing comes that is owed. A far end that is busy says so
 * (PROGRESS), one that reads slowly takes something now and then. Part of a frame is nothing. */
static bool is_lost(const struct push *p, uint64_t now)
{
    if (now - p->heard_ms <= patience_ms(p))
        return false;
    return expects_answer(p) || p->pings > p->pongs ||
           (waiting(p) > 0 && now - p->spoke_ms > patience_ms(p));
}

/* It answers PINGs, and nothing else that it was asked. */
static bool is_stuck(const struct push *p, uint64_t now)
{
    uint64_t last = p->answered_ms > p->asked_ms ? p->answered_ms : p->asked_ms;
    return now - last > PONGS_ALONE * patience_ms(p) && expects_answer(p);
}

void push_ping(struct push *p, uint64_t token)
{
    size_t before = p->out.len;
    p->tokens_of_pings[p->pings++ % PUSH_PINGS_MAX] = token;
    msg_put_ping(&p->out, &(struct msg_ping){.token = token});
    p->ping_bytes += p->out.len - before;
}

/* PING keeps the far end from taking this one for dead, however much it says itself. */
static int watchdog(struct push *p, struct err *err)
{
    uint64_t now = io_now_ms();
    if (is_lost(p, now))
        return err_set(err, ERR_TEMPORARY, "no answer for %u s: the link is given up",
            p->o->keepalive_ms * SILENCES / 1000);
    if (is_stuck(p, now))
        return err_set(err, ERR_TEMPORARY,
            "the far end has answered nothing but keepalives for %u s: the link is given up",
            PONGS_ALONE * p->o->keepalive_ms * SILENCES / 1000);
    if (p->greeted && p->renew != RENEW_SENT && waiting(p) == 0 &&
        now - p->spoke_ms >= p->o->keepalive_ms)
        push_ping(p, now);
    return 0;
}

static bool any_held(const struct push *p)
{
    const struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if (ps->state == PUSH_HELD)
            return true;
    return false;
}

static int poll_timeout(struct push *p)
{
    if (p->more && waiting(p) < out_limit(p))
        return 0; /* what was made has left: make more */
    int due = queue_next_due(p->o->queue);
    int most = p->o->once ? POLL_ONCE_MS : any_held(p) ? TEND_HELD_MS : POLL_MAX_MS;
    if (p->o->keepalive_ms / 2 < (unsigned)most)
        most = (int)p->o->keepalive_ms / 2;
    if (p->o->bwlimit && p->tokens <= 0)
        most = 10;
    if (p->renew)
        most = most < RENEW_LOOK_MS ? most : RENEW_LOOK_MS;
    if (p->owed_waits)
        most = most < PUSH_OWED_MS ? most : PUSH_OWED_MS;
    if (unit_push_waits(p))
        most = CHECK_MS;
    if (unit_push_due(p) >= 0 && unit_push_due(p) < most)
        most = unit_push_due(p);
    return due >= 0 && due < most ? due : most;
}

static void wait_for_news(struct push *p)
{
    struct pollfd fds[4];
    int n = conn_poll(p->conn, fds);
    if (packer_fd(p->packer) >= 0)
        fds[n++] = (struct pollfd){.fd = packer_fd(p->packer), .events = POLLIN};
    if (p->o->wake_fd >= 0)
        fds[n++] = (struct pollfd){.fd = p->o->wake_fd, .events = POLLIN};
    poll(fds, (nfds_t)n, poll_timeout(p));
    uint64_t count;
    if (p->o->wake_fd >= 0 && read(p->o->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_debug("%s: wake: %s", p->o->name, strerror(errno));
}

/* What is read and packed is of use to other sessions while they have as much to do. */
static void share(struct push *p)
{
    bool shares = p->o->shelf && (p->more || !lanes_idle(p));
    if (shares == p->shares)
        return;
    p->shares = shares;
    (shares ? shelf_join : shelf_leave)(p->o->shelf);
}

/* One turn of the loop: 0, 1 when the stream ended, -1. */
static int turn(struct push *p, struct err *err)
{
    int r = inbox_read(p, err);
    if (r != 0)
        return r;
    if (p->greeted && p->renew != RENEW_SENT) {
        tend_sites(p);
        lanes_probe(p);
        if (produce(p, err) < 0)
            return -1;
        tend_levels(p);
        push_owed_look(p);
        renew_step(p);
        share(p);
    }
    if (transmit(p, err) < 0 || watchdog(p, err) < 0)
        return -1;
    if (p->o->hooks.progress)
        p->o->hooks.progress(p->o->hooks.ctx);
    return 0;
}

/* Says goodbye and reads until the far end has closed. */
static int leave(struct push *p, struct err *err)
{
    uint64_t deadline = io_now_ms() + BYE_MS;
    bundle_close(p);
    msg_put_bye(&p->out);
    while (io_now_ms() < deadline) {
        int r = inbox_read(p, err);
        if (r == 1)
            return 0;
        if (r < 0 || transmit(p, err) < 0)
            return -1;
        struct pollfd fds[2];
        int n = conn_poll(p->conn, fds);
        poll(fds, (nfds_t)n, packer_is_empty(p->packer) ? 100 : 1);
    }
    return 0;
}

/* ERROR to a far end that broke the rules, so that its log has it too. An sshd drops what it has
 * not handed on when the link closes, so the far end's own end is awaited; it may not be reading.
 */
static void complain(struct push *p, const struct err *why)
{
    uint64_t deadline = io_now_ms() + COMPLAINT_MS;
    struct err ignored;
    struct bytes text = bytes_of(why->text);
    bool closed = false;
    if (text.len > MSG_TEXT_MAX)
        text.len = MSG_TEXT_MAX;
    bundle_close(p);
    msg_put_error(&p->out, &(struct msg_error){.reason = p->complaint, .text = text});
    while (io_now_ms() < deadline && transmit(p, &ignored) == 0) {
        if (waiting(p) == 0 && !closed && conn_shutdown(p->conn, &ignored) < 0)
            return;
        closed |= waiting(p) == 0;
        ssize_t n = conn_read(p->conn, p->block, MSG_CHUNK_MAX, &ignored);
        if (n == 0 || n == -1)
            return;
        struct pollfd fds[2];
        int count = conn_poll(p->conn, fds);
        poll(fds, (nfds_t)count, n > 0 ? 0 : 100);
    }
}

static int drive(struct push *p, struct err *err)
{
    put_hello(p);
    p->heard_ms = p->spoke_ms = p->answered_ms = p->asked_ms = io_now_ms();
    p->tokens_us = io_now_us();
    pace_begin(&p->pace, p->tokens_us);
    while (!push_stopping(p)) {
        FAULT_SLOW();
        int r = turn(p, err);
        if (r < 0)
            return -1;
        if (r == 1)
            return conn_explain(p->conn, err); /* nobody said BYE */
        if (p->o->once && p->greeted && all_done(p))
            break;
        wait_for_news(p);
    }
    return p->greeted ? leave(p, err) : 0;
}

int push_run(const struct push_options *o, struct err *err)
{
    struct push *p = mem_alloc(sizeof *p);
    struct push_site *ps;
    p->o = o;
    p->conn = o->conn;
    p->above.fd = -1;
    p->names = names_new(NULL);
    p->block = mem_alloc(MSG_CHUNK_MAX);
    p->packing = (struct packing){
        .zip = zip_new(ZSTD_LEVEL), .shelf = o->shelf, .room = mem_alloc(MSG_PACK_MAX)};
    p->packer = packer_new(ZSTD_LEVEL, o->shelf);
    lanes_init(p);
    TAILQ_FOREACH (ps, o->sites, order) {
        ps->state = PUSH_CLOSED;
        ps->number = 0;
    }
    int r = drive(p, err);
    if (p->complaint != REASON_NONE)
        complain(p, err);
    TAILQ_FOREACH (ps, o->sites, order)
        push_site_reset(p, ps);
    if (p->shares)
        shelf_leave(o->shelf);
    lanes_free(p);
    packer_free(p->packer);
    buf_free(&p->in);
    wire_free(&p->out);
    wire_free(&p->bundle.frame);
    names_free(p->names);
    zip_free(p->packing.zip);
    free(p->packing.room);
    free(p->block);
    free(p);
    return r;
}
