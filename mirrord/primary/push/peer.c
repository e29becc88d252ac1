/* One secondary as the primary sees it; see peer.h. Keeps a thread that connects, pushes (push.c)
 * and tries again, and answers others' questions about it. */
#include "primary/push/peer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/often.h"
#include "primary/push/bases.h"
#include "primary/push/push.h"

struct membership { /* a site of this peer */
    TAILQ_ENTRY(membership) order;
    struct site *site;
    struct push_site *ps; /* the peer's thread's, but for what is atomic or locked */
    bool listed;          /* in the list that the push works on */
    bool leaving;
    bool compare;  /* asked for */
    bool force;    /* likewise */
    bool adopt;    /* likewise */
    uint64_t tell; /* the last number of peer_tell */
};

struct peer {
    char *name, *host;
    struct conn_options link;
    char **argv;
    int compress;
    uint64_t bwlimit;
    unsigned keepalive_ms;
    struct digest host_id;
    struct queue *queue;
    int wake_fd;
    atomic_bool stop, paused;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* of everything below */
    TAILQ_HEAD(, membership) members;
    struct peer_status status;
    uint64_t retry_at_ms;
    uint64_t down_at_ms; /* when it was last seen up; when it is new: since then */
    unsigned failures;   /* in a row */
    void (*changed)(void *ctx);
    void *changed_ctx;

    struct push_site_list sites;           /* the thread's */
    uint64_t free_bytes;                   /* the thread's */
    uint32_t fences;                       /* the same */
    uint64_t batches;                      /* the thread's */
    struct push_far far;                   /* the thread's */
    struct tally tally;                    /* written by the thread */
    struct often *often;                   /* the thread's */
    struct bases *bases;                   /* the thread's */
    uint64_t sent_before, received_before; /* by connections that are gone; locked */
    struct conn *conn;                     /* the thread's */
};

enum {
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 60000,
    BASES_MAX = 4 << 20,   /* bytes: of 2 GiB of files */
    OWED_AWAY_MAX = 65536, /* paths noted for a secondary that is away: comparing finds the rest */
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

struct peer *peer_new(const struct peer_options *o)
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
    p->often = often_new();
    p->bases = bases_new(BASES_MAX);
    return p;
}

static void member_free(struct peer *p, struct membership *m)
{
    TAILQ_REMOVE(&p->members, m, order);
    push_site_free(p->queue, m->ps);
    free(m);
}

void peer_free(struct peer *p)
{
    if (!p)
        return;
    while (!TAILQ_EMPTY(&p->members))
        member_free(p, TAILQ_FIRST(&p->members));
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

static struct membership *find(struct peer *p, const struct site *s)
{
    struct membership *m;
    TAILQ_FOREACH (m, &p->members, order)
        if (m->site == s && !m->leaving)
            return m;
    return NULL;
}

void peer_add_site(
    struct peer *p, struct site *s, const char *remote_root, const struct filter *without)
{
    struct membership *m = mem_alloc(sizeof *m);
    m->site = s;
    m->ps = push_site_new(p->queue, s, remote_root, without);
    pthread_mutex_lock(&p->lock);
    TAILQ_INSERT_TAIL(&p->members, m, order);
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

void peer_remove_site(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m)
        m->leaving = true;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
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

/* Puts sites on the list, marks those that leave, passes on what was asked for. */
static void on_sites(void *ctx, struct push_site_list *list)
{
    struct peer *p = ctx;
    struct membership *m;
    pthread_mutex_lock(&p->lock);
    TAILQ_FOREACH (m, &p->members, order) {
        if (!m->listed && !m->leaving) {
            m->listed = true;
            m->ps->state = PUSH_CLOSED;
            TAILQ_INSERT_TAIL(list, m->ps, order);
        }
        m->ps->leaving = m->leaving;
        m->ps->again |= m->compare;
        m->compare = false;
        m->ps->tell = m->tell;
        if (m->force)
            m->ps->force = m->ps->forgive = true;
        m->ps->adopt |= m->adopt;
        if (m->force || m->adopt) {
            m->ps->again = true;
            m->ps->retry_ms = 1; /* at once */
        }
        m->force = m->adopt = false;
    }
    count_bytes(p);
    pthread_mutex_unlock(&p->lock);
}

static void on_left(void *ctx, struct push_site *ps)
{
    struct peer *p = ctx;
    struct membership *m;
    pthread_mutex_lock(&p->lock);
    TAILQ_FOREACH (m, &p->members, order)
        if (m->ps == ps)
            break;
    if (m)
        member_free(p, m);
    pthread_mutex_unlock(&p->lock);
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

/* Without a session: sites that leave are gone at once. */
static void tend_members(struct peer *p)
{
    struct membership *m, *next;
    pthread_mutex_lock(&p->lock);
    for (m = TAILQ_FIRST(&p->members); m; m = next) {
        next = TAILQ_NEXT(m, order);
        if (!m->leaving)
            continue;
        if (m->listed)
            TAILQ_REMOVE(&p->sites, m->ps, order);
        member_free(p, m);
    }
    pthread_mutex_unlock(&p->lock);
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
    char again[48];
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
        tend_members(p);
    }
}

static void *thread(void *arg)
{
    struct peer *p = arg;
    while (!p->stop) {
        struct err err;
        tend_members(p);
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

void peer_owe(struct peer *p, struct site *s, struct bytes path, unsigned flags)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    bool found_later =
        m && p->status.state != PEER_UP && queue_size(p->queue, m->ps->owed) >= OWED_AWAY_MAX;
    if (m && !found_later)
        queue_owe(p->queue, m->ps->owed, path, flags, OWED_ANY, (struct bytes){0}, 0, 0);
    pthread_mutex_unlock(&p->lock);
}

void peer_move(struct peer *p, struct site *s, struct bytes from, struct bytes to)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m && push_site_may_move(m->ps, from, to))
        queue_move(p->queue, m->ps->owed, from, to);
    else if (m)
        queue_owe_both(p->queue, m->ps->owed, from, to);
    pthread_mutex_unlock(&p->lock);
}

void peer_compare(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m)
        m->compare = true;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

void peer_force(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m)
        m->force = m->compare = true;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

uint64_t peer_tell(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    uint64_t number = m ? ++m->tell : 0;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
    return number;
}

bool peer_told(struct peer *p, const struct site *s, uint64_t number)
{
    pthread_mutex_lock(&p->lock);
    const struct membership *m = find(p, s);
    bool told = m && m->ps->tell_done >= number;
    pthread_mutex_unlock(&p->lock);
    return told;
}

void peer_adopt(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m)
        m->adopt = m->compare = true;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

void peer_pause(struct peer *p, bool on)
{
    p->paused = on;
}

uint64_t peer_mark(struct peer *p)
{
    return queue_mark(p->queue);
}

const struct tally *peer_tally(const struct peer *p)
{
    return &p->tally;
}

void peer_status(struct peer *p, struct peer_status *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->status;
    uint64_t now = io_now_ms();
    out->retry_ms = out->state == PEER_DOWN && p->retry_at_ms > now ? p->retry_at_ms - now : 0;
    out->down_ms = out->state == PEER_UP ? 0 : now - p->down_at_ms;
    pthread_mutex_unlock(&p->lock);
}

/* It is asked for and not begun: what was refused before says nothing of it. */
static bool is_asked_again(const struct membership *m)
{
    return m->force || m->compare || m->ps->again;
}

static void describe_state(const struct peer *p, const struct membership *m,
    const struct queue_counts *c, struct peer_site_status *s)
{
    switch (p->status.state == PEER_UP ? m->ps->state : PUSH_CLOSED) {
    case PUSH_CLOSED:
    case PUSH_OPENING:
    case PUSH_UNSCANNED: s->state = PEER_SITE_WAITING; break;
    case PUSH_COMPARING: s->state = PEER_SITE_COMPARING; break;
    case PUSH_OPEN:
        s->state = m->ps->comparing                ? PEER_SITE_COMPARING
                   : c->paths || is_asked_again(m) ? PEER_SITE_PUSHING
                                                   : PEER_SITE_LEVEL;
        break;
    case PUSH_HELD: s->state = is_asked_again(m) ? PEER_SITE_WAITING : PEER_SITE_HELD; break;
    case PUSH_FAILED: s->state = is_asked_again(m) ? PEER_SITE_WAITING : PEER_SITE_FAILED; break;
    case PUSH_FENCED: s->state = PEER_SITE_FENCED; break;
    }
    if ((p->paused || m->site->paused) && s->state < PEER_SITE_HELD)
        s->state = PEER_SITE_PAUSED;
}

bool peer_site_is_level(const struct peer_site_status *at)
{
    return at->state == PEER_SITE_LEVEL && at->failing == 0 && at->drift.count == 0 &&
           at->hook.failures == 0;
}

static bool describe(struct peer *p, const struct site *s, struct peer_site_status *out)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m) {
        struct queue_counts c;
        /* In this order: what a comparison found is owed before it is over. */
        bool comparing = m->ps->state != PUSH_OPEN || m->ps->comparing;
        queue_count(p->queue, m->ps->owed, &c);
        *out = (struct peer_site_status){.owed_paths = c.paths,
            .owed_bytes = c.bytes,
            .behind_ms = c.oldest_ms,
            .failing = c.failing,
            .first_copy = m->ps->first_copy,
            .copied_bytes = m->ps->copied_bytes,
            .unproven = m->ps->unproven,
            .no_room = c.no_room};
        describe_state(p, m, &c, out);
        if (out->state == PEER_SITE_LEVEL && comparing)
            out->state = PEER_SITE_COMPARING;
        out->answered = p->status.state == PEER_UP && m->ps->state >= PUSH_UNSCANNED;
        pthread_mutex_lock(&m->ps->lock);
        out->room = m->ps->room;
        out->keep = m->ps->keep;
        out->low = m->ps->low;
        memcpy(out->no_room_path, m->ps->waits_path, sizeof out->no_room_path);
        out->trash_foreign = m->ps->trash.foreign;
        out->trash_foreign_bytes = m->ps->trash.foreign_bytes;
        out->trash_kept = m->ps->trash.kept;
        drifted_status(m->ps->drifted, &out->drift);
        out->hook = m->ps->hook;
        if (m->ps->error.code && (c.failing || out->state >= PEER_SITE_HELD)) {
            snprintf(out->error, sizeof out->error, "%.*s", (int)sizeof out->error - 1,
                m->ps->error.text);
            memcpy(out->error_path, m->ps->error_path, sizeof out->error_path);
            out->error_time = m->ps->error_time;
        }
        pthread_mutex_unlock(&m->ps->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return m != NULL;
}

/* Asked before and behind: what the scanner tells of is owed by then, and what a peer found busy
 * the scanner has by then. */
bool peer_site_status(struct peer *p, const struct site *s, struct peer_site_status *out)
{
    bool pending = site_is_pending(s), found = describe(p, s, out);
    if (!found || out->state != PEER_SITE_LEVEL)
        return found;
    out->pending = pending || site_is_pending(s);
    if (out->pending)
        out->state = PEER_SITE_PUSHING;
    return true;
}

size_t peer_left(struct peer *p, const struct site *s, char (*out)[LOG_NAME_MAX], size_t max)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    size_t n = m ? push_site_left(m->ps, out, max) : 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

size_t peer_piecemeal(struct peer *p, const struct site *s, struct piecemeal_unit *out, size_t max)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    size_t n = m ? push_site_piecemeal_units(m->ps, out, max) : 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

int peer_reached(struct peer *p, const struct site *s, uint64_t mark, const struct bytes *paths,
    size_t path_count)
{
    int r = -1;
    pthread_mutex_lock(&p->lock);
    struct membership *m = find(p, s);
    if (m && p->status.state == PEER_UP && m->ps->state < PUSH_HELD)
        r = m->ps->state == PUSH_OPEN && !m->compare && !m->ps->again && !m->ps->comparing &&
            !queue_owes(p->queue, m->ps->owed, mark, paths, path_count);
    pthread_mutex_unlock(&p->lock);
    return r;
}

void peer_on_change(struct peer *p, void (*changed)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&p->lock);
    p->changed = changed;
    p->changed_ctx = ctx;
    pthread_mutex_unlock(&p->lock);
}
