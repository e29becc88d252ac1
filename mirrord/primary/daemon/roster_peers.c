/*
 * The peers: made equal to a plan, and told what the scanner finds.
 */
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"

static void wake(void *ctx)
{
    struct daemon *d = ctx;
    uint64_t one = 1;
    if (write(d->wake_fd, &one, sizeof one) < 0)
        return; /* it is awake as it is */
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static char *key_of(const struct peer_options *o)
{
    char *key = mem_format("%d\n%s\n%s\n%u\n%s\n%s\n%u\n%d\n%llu\n%u\n%s", (int)o->link.transport,
        or_empty(o->link.host), or_empty(o->link.user), o->link.port, or_empty(o->link.identity),
        or_empty(o->link.known_hosts), o->link.timeout_ms, o->compress,
        (unsigned long long)o->bwlimit, o->keepalive_ms, or_empty(o->host));
    for (char *const *a = o->link.argv; a && *a; a++) {
        char *longer = mem_format("%s\n%s", key, *a);
        free(key);
        key = longer;
    }
    return key;
}

static void *stop_peer(void *arg)
{
    peer_stop(arg);
    return NULL;
}

/* Each may take two seconds to end cleanly: all at once. */
static void stop_peers(struct roster_peer **peers, size_t count)
{
    pthread_t *threads CLEANUP_FREE = mem_array(count, sizeof *threads);
    bool *started CLEANUP_FREE = mem_array(count, sizeof *started);
    for (size_t i = 0; i < count; i++)
        started[i] = pthread_create(&threads[i], NULL, stop_peer, peers[i]->peer) == 0;
    for (size_t i = 0; i < count; i++) {
        if (started[i])
            pthread_join(threads[i], NULL);
        else
            peer_stop(peers[i]->peer);
    }
    for (size_t i = 0; i < count; i++) {
        peer_free(peers[i]->peer);
        free(peers[i]->name);
        free(peers[i]->key);
        free(peers[i]);
    }
}

const struct peer_options *roster_planned_peer(const struct daemon_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->peer_count; i++)
        if (strcmp(plan->peers[i].name, name) == 0)
            return &plan->peers[i];
    return NULL;
}

static bool is_unchanged(const struct roster_peer *p, const struct daemon_plan *plan)
{
    const struct peer_options *o = roster_planned_peer(plan, p->name);
    char *key CLEANUP_FREE = o ? key_of(o) : NULL;
    return key && strcmp(key, p->key) == 0;
}

/* No site names it any more from here on. */
static void detach_peer(struct daemon *d, struct roster_peer *p)
{
    struct roster_site *s;
    pthread_mutex_lock(&d->lock);
    TAILQ_REMOVE(&d->peers, p, order);
    TAILQ_FOREACH (s, &d->sites, order)
        for (size_t i = 0; i < s->target_count; i++)
            if (s->targets[i].peer == p)
                s->targets[i].peer = NULL;
    pthread_mutex_unlock(&d->lock);
}

void roster_remove_peers(struct daemon *d, const struct daemon_plan *plan)
{
    struct roster_peer *p, *next, **gone CLEANUP_FREE = NULL;
    size_t count = 0;
    TAILQ_FOREACH (p, &d->peers, order)
        count++;
    gone = mem_array(count, sizeof *gone);
    count = 0;
    for (p = TAILQ_FIRST(&d->peers); p; p = next) {
        next = TAILQ_NEXT(p, order);
        if (plan && is_unchanged(p, plan))
            continue;
        detach_peer(d, p);
        gone[count++] = p;
    }
    stop_peers(gone, count);
}

struct roster_peer *roster_find_peer(struct daemon *d, const char *name)
{
    struct roster_peer *p;
    TAILQ_FOREACH (p, &d->peers, order)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

void roster_add_peer(struct daemon *d, const struct peer_options *o)
{
    struct roster_peer *p = mem_alloc(sizeof *p);
    p->name = mem_copy_string(o->name);
    p->key = key_of(o);
    p->peer = peer_new(o, d->shelf);
    peer_on_change(p->peer, wake, d);
    pausing_peer(d, p);
    pthread_mutex_lock(&d->lock);
    TAILQ_INSERT_TAIL(&d->peers, p, order);
    pthread_mutex_unlock(&d->lock);
    peer_start(p->peer);
}

/* --- the scanner's sink: its thread --- */

enum telling { TELL_OWE, TELL_MOVE, TELL_COMPARE, TELL_WAKE };

static void tell(struct daemon *d, enum telling what, struct site *site, struct bytes path,
    struct bytes to, unsigned flags)
{
    pthread_mutex_lock(&d->lock);
    struct roster_site *s = roster_of(d, site);
    for (size_t i = 0; s && i < s->target_count; i++) {
        struct peer *p = s->targets[i].peer ? s->targets[i].peer->peer : NULL;
        if (p && what == TELL_OWE)
            peer_owe(p, site, path, flags);
        else if (p && what == TELL_MOVE)
            peer_move(p, site, path, to);
        else if (p && what == TELL_COMPARE)
            peer_compare(p, site);
        else if (p)
            peer_wake(p);
    }
    pthread_mutex_unlock(&d->lock);
}

static void sink_owe(void *ctx, struct site *s, struct bytes path, unsigned flags)
{
    log_debug("%s: %s is owed", s->name, QUOTED(path.data, path.len));
    tell(ctx, TELL_OWE, s, path, (struct bytes){0}, flags);
}

static void sink_move(void *ctx, struct site *s, struct bytes from, struct bytes to)
{
    log_debug(
        "%s: %s was renamed to %s", s->name, QUOTED(from.data, from.len), QUOTED(to.data, to.len));
    tell(ctx, TELL_MOVE, s, from, to, 0);
}

static void sink_compare(void *ctx, struct site *s)
{
    tell(ctx, TELL_COMPARE, s, (struct bytes){0}, (struct bytes){0}, 0);
}

static void sink_changed(void *ctx, struct site *s)
{
    tell(ctx, TELL_WAKE, s, (struct bytes){0}, (struct bytes){0}, 0);
    wake(ctx);
}

const struct scan_sink roster_sink = {
    .owe = sink_owe,
    .move = sink_move,
    .compare = sink_compare,
    .changed = sink_changed,
};
