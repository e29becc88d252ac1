/* One secondary as the primary sees it; see peer.h. Keeps a thread that connects, pushes (push.c)
 * and tries again. What it pushes is peer_sites.c's, what others see of it peer_status.c's. */
#include "primary/push/peer/peer_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 60000,
    BASES_MAX = 4 << 20, /* bytes: of 2 GiB of files */
};

static char **copy_argv(char *const *argv)
{
    size_t n = 0;
    while (argv && argv[n])
        n++;
    char **copy = mem_array(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_copy_string(argv[i]);
    return copy;
}

void peer_wake(struct peer *p)
{
    uint64_t one = 1;
    if (write(p->wake_fd, &one, sizeof one) < 0) {
        /* EAGAIN: it is awake already */
    }
}

static void wake(void *ctx)
{
    peer_wake(ctx);
}

struct peer *peer_new(const struct peer_options *o, struct shelf *shelf)
{
    struct peer *p = mem_alloc(sizeof *p);
    p->name = mem_copy_string(o->name);
    p->host = mem_copy_string(o->host);
    p->link = o->link;
    p->link.host = mem_copy_string(o->link.host);
    p->link.user = mem_copy_string(o->link.user);
    p->link.identity = mem_copy_string(o->link.identity);
    p->link.known_hosts = mem_copy_string(o->link.known_hosts);
    p->argv = copy_argv(o->link.argv);
    p->link.argv = p->argv;
    p->link.stop = &p->stop;
    p->compress = o->compress;
    p->bwlimit = o->bwlimit;
    p->keepalive_ms = o->keepalive_ms;
    p->host_id = o->host_id;
    p->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->down_at_ms = io_now_ms();
    p->fences = CAP_SANDBOX; /* until it says otherwise */
    p->queue = queue_new(wake, p);
    pthread_mutex_init(&p->lock, NULL);
    TAILQ_INIT(&p->members);
    TAILQ_INIT(&p->sites);
    p->often = often_new(OFTEN_KEPT);
    p->bases = bases_new(BASES_MAX);
    p->shelf = shelf;
    return p;
}

void peer_free(struct peer *p)
{
    if (!p)
        return;
    peer_drop_members(p);
    queue_free(p->queue);
    often_free(p->often);
    bases_free(p->bases);
    for (size_t i = 0; p->argv[i]; i++)
        free(p->argv[i]);
    free(p->argv);
    free((char *)p->link.host);
    free((char *)p->link.user);
    free((char *)p->link.identity);
    free((char *)p->link.known_hosts);
    close(p->wake_fd);
    pthread_mutex_destroy(&p->lock);
    free(p->name);
    free(p->host);
    free(p);
}

/* push's hooks, in the peer's thread */

static void on_changed(void *ctx)
{
    struct peer *p = ctx;
    pthread_mutex_lock(&p->lock);
    bool greeted = p->status.state != PEER_UP && p->conn;
    if (greeted) {
        p->status.state = PEER_UP;
        p->status.error[0] = '\0';
        p->status.reached_once = true;
        p->failures = 0;
        p->status.connections++;
        p->status.far = p->far;
        snprintf(p->status.kind, sizeof p->status.kind, "%s", conn_kind(p->conn));
    }
    p->status.free_bytes = p->free_bytes;
    p->status.unconfined = !(p->fences & CAP_SANDBOX);
    p->status.lacks = p->fences & CAPS_LACKS;
    p->status.batches = p->batches;
    void (*changed)(void *) = p->changed;
    void *to = p->changed_ctx;
    pthread_mutex_unlock(&p->lock);
    if (greeted)
        log_info("%s: connected (%s)", p->name, p->status.kind);
    if (changed)
        changed(to);
}

/* Under the lock. */
static void count_bytes(struct peer *p)
{
    uint64_t sent, received;
    if (!p->conn)
        return;
    conn_counts(p->conn, &sent, &received);
    p->status.bytes_sent = p->sent_before + sent;
    p->status.bytes_received = p->received_before + received;
}

static void on_sites(void *ctx, struct push_site_list *list)
{
    struct peer *p = ctx;
    peer_pass_on(p, list);
    pthread_mutex_lock(&p->lock);
    count_bytes(p);
    pthread_mutex_unlock(&p->lock);
}

static void on_left(void *ctx, struct push_site *ps)
{
    peer_let_go(ctx, ps);
}

/* How it is there, as status and metrics have it. */
static bool on_owed(void *ctx, struct push_site *ps, struct msg_owed *out)
{
    struct peer_site_status at;
    if (!peer_site_status(ctx, ps->site, &at) || at.state < PEER_SITE_PUSHING ||
        (at.state == PEER_SITE_PUSHING && !at.owed_paths)) /* it is to be compared */
        return false;
    *out = (struct msg_owed){.flags = (peer_site_is_level(&at) ? OWED_LEVEL : 0) |
                                      (at.state == PEER_SITE_PAUSED ? OWED_PAUSED : 0),
        .paths = at.owed_paths,
        .failing = at.failing,
        .age_ms = at.behind_ms};
    return true;
}

static int session(struct peer *p, struct err *err)
{
    if (conn_open(&p->link, &p->conn, err) < 0)
        return -1;
    struct push_options o = {
        .conn = p->conn,
        .queue = p->queue,
        .sites = &p->sites,
        .name = p->name,
        .host = p->host,
        .host_id = p->host_id,
        .compress = p->compress,
        .bwlimit = p->bwlimit,
        .keepalive_ms = p->keepalive_ms,
        .stop = &p->stop,
        .paused = &p->paused,
        .wake_fd = p->wake_fd,
        .free_bytes = &p->free_bytes,
        .fences = &p->fences,
        .batches = &p->batches,
        .far = &p->far,
        .tally = &p->tally,
        .often = p->often,
        .bases = p->bases,
        .shelf = p->shelf,
        .hooks =
            {.changed = on_changed, .sites = on_sites, .left = on_left, .owed = on_owed, .ctx = p},
    };
    int r = push_run(&o, err);
    pthread_mutex_lock(&p->lock);
    count_bytes(p);
    p->sent_before = p->status.bytes_sent;
    p->received_before = p->status.bytes_received;
    struct conn *gone = TAKE_PTR(p->conn);
    pthread_mutex_unlock(&p->lock);
    conn_close(gone);
    return r;
}

static void set_state(struct peer *p, enum peer_state state)
{
    pthread_mutex_lock(&p->lock);
    p->status.state = state;
    void (*changed)(void *) = p->changed;
    void *to = p->changed_ctx;
    pthread_mutex_unlock(&p->lock);
    if (changed)
        changed(to);
}

/* A second, doubled with each failure to a minute, and a random quarter off, so that many primaries
 * do not come back to a secondary all at once. */
static uint64_t pause_after(unsigned failures)
{
    uint64_t pause = PAUSE_MIN_MS;
    for (unsigned i = 1; i < failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    if (pause > PAUSE_MAX_MS)
        pause = PAUSE_MAX_MS;
    uint32_t dice;
    io_random(&dice, sizeof dice);
    return pause - dice % (pause / 4);
}

static uint64_t note_failure(struct peer *p, const struct err *err)
{
    pthread_mutex_lock(&p->lock);
    bool first = p->failures == 0,
         news = p->failures++ == 0 || strcmp(p->status.error, err->text) != 0;
    snprintf(p->status.error, sizeof p->status.error, "%.*s", (int)sizeof p->status.error - 1,
        err->text);
    p->status.error_time = time(NULL);
    if (p->failures == 1)
        p->down_at_ms = io_now_ms();
    uint64_t pause = pause_after(p->failures);
    p->retry_at_ms = io_now_ms() + pause;
    pthread_mutex_unlock(&p->lock);
    char again[OFTEN_AGAIN];
    if (news && (often_may_say(p->often, err->text, io_now_ms(), again) || first))
        log_warn("%s: %s (trying again)%s", p->name, err->text, again);
    return pause;
}

/* Waits for the pause to pass; being owed something is no reason to hurry. */
static void rest(struct peer *p, uint64_t pause)
{
    uint64_t until = io_now_ms() + pause;
    while (!p->stop) {
        uint64_t now = io_now_ms();
        if (now >= until)
            return;
        struct pollfd fd = {.fd = p->wake_fd, .events = POLLIN};
        poll(&fd, 1, (int)(until - now));
        uint64_t count;
        if (read(p->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
            log_debug("%s: wake: %s", p->name, strerror(errno));
        peer_tend_members(p);
    }
}

static void *thread(void *arg)
{
    struct peer *p = arg;
    while (!p->stop) {
        struct err err;
        peer_tend_members(p);
        set_state(p, PEER_CONNECTING);
        int r = session(p, &err);
        if (r == 0 && p->stop)
            break;
        if (r == 0)
            err_set(&err, ERR_TEMPORARY, "the far end ended the session");
        uint64_t pause = note_failure(p, &err);
        pthread_mutex_lock(&p->lock);
        p->status.reached_once = true;
        pthread_mutex_unlock(&p->lock);
        set_state(p, PEER_DOWN);
        rest(p, pause);
    }
    set_state(p, PEER_DOWN);
    return NULL;
}

void peer_start(struct peer *p)
{
    if (pthread_create(&p->thread, NULL, thread, p) != 0) {
        log_error("%s: cannot start a thread", p->name);
        abort();
    }
    p->started = true;
}

void peer_stop(struct peer *p)
{
    p->stop = true;
    peer_wake(p);
    if (p->started)
        pthread_join(p->thread, NULL);
    p->started = false;
}

void peer_pause(struct peer *p, bool on)
{
    p->paused = on;
}

void peer_on_change(struct peer *p, void (*changed)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&p->lock);
    p->changed = changed;
    p->changed_ctx = ctx;
    pthread_mutex_unlock(&p->lock);
}
