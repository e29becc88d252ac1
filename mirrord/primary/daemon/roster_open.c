/*
 * Sites are opened when that is due, tried again when it failed, let go of when their last user
 * has; and how far all this has come: asked for all hosts before the first push, ready when level.
 */
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/daemon/daemon_impl.h"

enum {
    OPEN_AGAIN_MS = 10000,
    HELD_AGAIN_MS = 3000,
    LEAVING_MS = 20, /* between looks whether a site has been let go of */
    NOTHING_MS = 60000,
};

bool roster_is_leaving(struct daemon *d, const struct roster_site *s)
{
    struct roster_leaving *l;
    TAILQ_FOREACH (l, &d->leaving, order)
        if (strcmp(l->site->options.root, s->options.root) == 0)
            return true;
    return false;
}

static void open_site(struct daemon *d, struct roster_site *s)
{
    struct err err = {0};
    struct site *site = NULL;
    if (site_open(&s->options, &site, &err) != 0) {
        if (strcmp(s->error, err.text) != 0)
            log_error("%s: %s", s->options.name, err.text);
        memcpy(s->error, err.text, sizeof s->error);
        s->error_time = time(NULL);
        s->refused = err.code == ERR_REFUSED;
        s->open_due_ms = io_now_ms() + (s->refused ? HELD_AGAIN_MS : OPEN_AGAIN_MS);
        return;
    }
    s->error[0] = '\0';
    s->refused = s->options.accept_root = false;
    pthread_mutex_lock(&d->lock);
    s->site = site;
    pthread_mutex_unlock(&d->lock);
    pausing_site(d, s);
    scan_add(d->scan, site);
    roster_attach_peers(d, s);
    set_free(s->force);
    s->force = NULL;
}

/* A held site whose volume has been mounted again is another directory to the kernel. */
static void look_for_root(struct daemon *d, struct roster_site *s, uint64_t now)
{
    struct scan_status *scan CLEANUP_FREE = NULL;
    if (now < s->back_due_ms)
        return;
    s->back_due_ms = now + HELD_AGAIN_MS;
    scan = mem_alloc(sizeof *scan);
    if (scan_status(d->scan, s->site, scan) && scan->state == SCAN_HELD &&
        site_root_is_back(s->site))
        roster_reopen(d, s, false);
}

static bool has_answered(const struct roster_site *s, const struct roster_target *t)
{
    struct peer_status peer;
    struct peer_site_status at;
    if (!t->peer || !peer_site_status(t->peer->peer, s->site, &at))
        return false;
    peer_status(t->peer->peer, &peer);
    return peer.state == PEER_UP ? at.state != PEER_SITE_WAITING || at.answered : peer.reached_once;
}

/* Before the first push all hosts that can be reached are asked whether another was promoted. */
static void clear_site(struct roster_site *s)
{
    for (size_t i = 0; i < s->target_count; i++) {
        if (s->site->fenced && s->targets[i].peer)
            peer_wake(s->targets[i].peer->peer);
        if (!s->site->cleared && !has_answered(s, &s->targets[i]))
            return;
    }
    if (atomic_exchange(&s->site->cleared, true))
        return;
    for (size_t i = 0; i < s->target_count; i++)
        if (s->targets[i].peer)
            peer_wake(s->targets[i].peer->peer);
}

static bool is_named(const struct json *hosts, const char *name)
{
    for (size_t i = 0; i < json_count(hosts); i++)
        if (strcmp(json_text_at(hosts, i), name) == 0)
            return true;
    return json_count(hosts) == 0;
}

void roster_force(struct daemon *d, struct roster_site *s, const struct json *hosts)
{
    struct scan_status *scan CLEANUP_FREE = mem_alloc(sizeof *scan);
    bool well = s->site && scan_status(d->scan, s->site, scan) && scan->state != SCAN_HELD &&
                scan->unreadable == 0;
    if (s->presence)
        return;
    log_warn("%s: the operator overrules what holds it", s->options.name);
    for (size_t i = 0; well && i < s->target_count; i++)
        if (s->targets[i].peer && is_named(hosts, s->targets[i].name))
            peer_force(s->targets[i].peer->peer, s->site);
    if (well)
        return;
    set_free(s->force);
    s->force = set_new();
    for (size_t i = 0; i < json_count(hosts); i++)
        set_add(s->force, json_text_at(hosts, i), strlen(json_text_at(hosts, i)));
    roster_reopen(d, s, true);
}

void roster_adopt(struct roster_site *s, const struct json *hosts)
{
    log_warn("%s: the operator lets it take over what is there", s->options.name);
    for (size_t i = 0; i < s->target_count; i++)
        if (s->targets[i].peer && s->site && is_named(hosts, s->targets[i].name))
            peer_adopt(s->targets[i].peer->peer, s->site);
}

static void let_go(struct daemon *d)
{
    struct roster_leaving *l, *next;
    for (l = TAILQ_FIRST(&d->leaving); l; l = next) {
        next = TAILQ_NEXT(l, order);
        if (atomic_load(&l->site->refs) > 1)
            continue;
        site_unref(l->site);
        TAILQ_REMOVE(&d->leaving, l, order);
        free(l);
    }
}

unsigned roster_tick(struct daemon *d)
{
    struct roster_site *s;
    unsigned wait = TAILQ_EMPTY(&d->sites) ? NOTHING_MS : HELD_AGAIN_MS;
    let_go(d);
    uint64_t now = io_now_ms();
    TAILQ_FOREACH (s, &d->sites, order) {
        if (s->site) {
            clear_site(s);
            look_for_root(d, s, now);
        }
        if (s->site || s->presence)
            continue;
        if (roster_is_leaving(d, s)) {
            wait = wait < LEAVING_MS ? wait : LEAVING_MS;
            continue;
        }
        if (s->open_due_ms <= now) {
            open_site(d, s);
            return 0; /* others first: opening may have waited for a lock */
        }
        if (s->open_due_ms - now < wait)
            wait = (unsigned)(s->open_due_ms - now);
    }
    return TAILQ_EMPTY(&d->leaving) || wait < LEAVING_MS ? wait : LEAVING_MS;
}

static bool target_is_ready(const struct roster_site *s, const struct roster_target *t)
{
    struct peer_status peer;
    struct peer_site_status at;
    if (!t->peer)
        return true;
    peer_status(t->peer->peer, &peer);
    if (peer.state != PEER_UP)
        return peer.reached_once;
    return peer_site_status(t->peer->peer, s->site, &at) &&
           (at.state == PEER_SITE_LEVEL || at.pending || at.state >= PEER_SITE_HELD);
}

static bool site_is_ready(struct daemon *d, const struct roster_site *s)
{
    struct scan_status scan;
    if (!s->site)
        return s->error[0];
    if (!scan_status(d->scan, s->site, &scan) || scan.state == SCAN_SCANNING)
        return false;
    for (size_t i = 0; scan.state == SCAN_OK && i < s->target_count; i++)
        if (!target_is_ready(s, &s->targets[i]))
            return false;
    return true;
}

bool roster_is_ready(struct daemon *d)
{
    struct roster_peer *p;
    struct roster_site *s;
    struct peer_status status;
    TAILQ_FOREACH (p, &d->peers, order) {
        peer_status(p->peer, &status);
        if (!status.reached_once)
            return false;
    }
    TAILQ_FOREACH (s, &d->sites, order)
        if (!site_is_ready(d, s))
            return false;
    return true;
}
