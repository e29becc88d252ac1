/*
 * Which sites and peers there are: made equal to a plan, opened, tried again, and let go of. The
 * scanner's findings go from here to the peers of each site.
 */
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void on_peer_change(void *ctx)
{
    struct daemon *d = ctx;
    uint64_t one = 1;
    if (write(d->wake_fd, &one, sizeof one) < 0)
        return; /* it is awake as it is */
}

struct roster_site *roster_find(struct daemon *d, const char *name)
{
    struct roster_site *s;
    TAILQ_FOREACH (s, &d->sites, order)
        if (strcmp(s->options.name, name) == 0)
            return s;
    return NULL;
}

struct roster_site *roster_of(struct daemon *d, const struct site *site)
{
    struct roster_site *s;
    TAILQ_FOREACH (s, &d->sites, order)
        if (s->site == site)
            return s;
    return NULL;
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
    on_peer_change(ctx);
}

const struct scan_sink roster_sink = {
    .owe = sink_owe,
    .move = sink_move,
    .compare = sink_compare,
    .changed = sink_changed,
};

/* --- peers --- */

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

static const struct peer_options *planned_peer(const struct daemon_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->peer_count; i++)
        if (strcmp(plan->peers[i].name, name) == 0)
            return &plan->peers[i];
    return NULL;
}

static bool is_unchanged(const struct roster_peer *p, const struct daemon_plan *plan)
{
    const struct peer_options *o = planned_peer(plan, p->name);
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

static void remove_peers(struct daemon *d, const struct daemon_plan *plan)
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

static struct roster_peer *find_peer(struct daemon *d, const char *name)
{
    struct roster_peer *p;
    TAILQ_FOREACH (p, &d->peers, order)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

static void add_peer(struct daemon *d, const struct peer_options *o)
{
    struct roster_peer *p = mem_alloc(sizeof *p);
    p->name = mem_copy_string(o->name);
    p->key = key_of(o);
    p->peer = peer_new(o);
    peer_on_change(p->peer, on_peer_change, d);
    pausing_peer(d, p);
    pthread_mutex_lock(&d->lock);
    TAILQ_INSERT_TAIL(&d->peers, p, order);
    pthread_mutex_unlock(&d->lock);
    peer_start(p->peer);
}

/* --- sites --- */

/* Its root is not there: why nothing is done about it, for status and the log. */
static void set_presence(struct roster_site *s, const struct daemon_site *from)
{
    const char *root = from->options.root, *glob = from->glob ? from->glob : root;
    s->presence = from->presence;
    s->gone_since = s->error_time = from->gone_since;
    s->refused = s->presence == DAEMON_SITE_ALL_GONE;
    if (s->presence == DAEMON_SITE_GONE)
        snprintf(s->error, sizeof s->error,
            "%s is not there any more: nothing is sent, and its copies stay on the secondaries",
            QUOTED(root, strlen(root)));
    if (s->presence == DAEMON_SITE_ALL_GONE)
        snprintf(s->error, sizeof s->error,
            "nothing matches %s any more, all its sites are gone together: is the volume not "
            "mounted? Nothing is sent, and the copies stay on the secondaries",
            QUOTED(glob, strlen(glob)));
    if (s->error[0])
        log_warn("%s: %s", s->options.name, s->error);
}

static struct roster_site *copy_site(const struct daemon_site *from)
{
    struct roster_site *s = mem_alloc(sizeof *s);
    s->filter = filter_copy(from->options.filter);
    s->identity = from->identity;
    s->options = from->options;
    s->options.name = mem_copy_string(from->options.name);
    s->options.root = mem_copy_string(from->options.root);
    s->options.state_dir = mem_copy_string(from->options.state_dir);
    s->options.filter = s->filter;
    s->options.units = unit_rules_copy(from->options.units);
    s->target_count = from->target_count;
    s->targets = mem_array(from->target_count, sizeof *s->targets);
    for (size_t i = 0; i < from->target_count; i++) {
        s->targets[i].name = mem_copy_string(from->targets[i].peer);
        s->targets[i].remote_root = mem_copy_string(from->targets[i].remote_root);
        if (from->targets[i].without)
            s->targets[i].without = filter_copy(from->targets[i].without);
    }
    set_presence(s, from);
    return s;
}

static void free_site(struct roster_site *s)
{
    for (size_t i = 0; i < s->target_count; i++) {
        free(s->targets[i].name);
        free(s->targets[i].remote_root);
        filter_free(s->targets[i].without);
    }
    free(s->targets);
    free((char *)s->options.name);
    free((char *)s->options.root);
    free((char *)s->options.state_dir);
    filter_free(s->filter);
    unit_rules_free((struct unit_rules *)s->options.units);
    set_free(s->force);
    free(s);
}

/* Peers may still be sending from it: it is kept until they are through. */
static void close_site(struct daemon *d, struct roster_site *s)
{
    struct roster_leaving *l = mem_alloc(sizeof *l);
    struct site *site = s->site;
    pthread_mutex_lock(&d->lock);
    s->site = NULL;
    pthread_mutex_unlock(&d->lock);
    for (size_t i = 0; i < s->target_count; i++) {
        if (s->targets[i].peer)
            peer_remove_site(s->targets[i].peer->peer, site);
        pthread_mutex_lock(&d->lock);
        s->targets[i].peer = NULL;
        pthread_mutex_unlock(&d->lock);
    }
    scan_remove(d->scan, site);
    l->site = site;
    TAILQ_INSERT_TAIL(&d->leaving, l, order);
}

/* `planned`: it comes again at once, as the plan has it now; or NULL. */
static void remove_site(struct daemon *d, struct roster_site *s, const struct daemon_site *planned)
{
    const char *why = !planned ? "no longer mirrored from here"
                               : "its configuration has changed: it is opened anew";
    pthread_mutex_lock(&d->lock);
    TAILQ_REMOVE(&d->sites, s, order);
    pthread_mutex_unlock(&d->lock);
    if (s->presence && planned && !planned->presence)
        why = "it is there again";
    if (s->site)
        close_site(d, s);
    if (!planned || !planned->presence)
        log_info("%s: %s", s->options.name, why);
    free_site(s);
}

/* Closed and opened again as soon as its users have let go of it. */
static void reopen_site(struct daemon *d, struct roster_site *s, bool accept_root)
{
    if (s->site)
        close_site(d, s);
    s->options.accept_root = accept_root;
    s->error[0] = '\0';
    s->refused = false;
    s->open_due_ms = 0;
}

static const struct daemon_site *planned_site(
    const struct daemon_plan *plan, const struct roster_site *s)
{
    for (size_t i = 0; plan && i < plan->site_count; i++)
        if (strcmp(plan->sites[i].options.name, s->options.name) == 0)
            return &plan->sites[i];
    return NULL;
}

static void remove_sites(struct daemon *d, const struct daemon_plan *plan)
{
    struct roster_site *s, *next;
    for (s = TAILQ_FIRST(&d->sites); s; s = next) {
        next = TAILQ_NEXT(s, order);
        const struct daemon_site *planned = planned_site(plan, s);
        if (!planned || planned->identity != s->identity)
            remove_site(d, s, planned);
    }
}

/* Gives a site the peers of its targets, where it has none yet. */
static void attach_peers(struct daemon *d, struct roster_site *s)
{
    for (size_t i = 0; i < s->target_count; i++) {
        struct roster_target *t = &s->targets[i];
        struct roster_peer *p = t->peer ? NULL : find_peer(d, t->name);
        if (!p || !s->site)
            continue;
        peer_add_site(p->peer, s->site, t->remote_root, t->without);
        if (s->force && (set_count(s->force) == 0 || set_find(s->force, t->name, strlen(t->name))))
            peer_force(p->peer, s->site);
        pthread_mutex_lock(&d->lock);
        t->peer = p;
        pthread_mutex_unlock(&d->lock);
        /* What was found between the two calls has not been told to this peer. */
        peer_compare(p->peer, s->site);
    }
}

static int check_plan(const struct daemon_plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->site_count; i++)
        for (size_t k = 0; k < plan->sites[i].target_count; k++)
            if (!planned_peer(plan, plan->sites[i].targets[k].peer))
                return err_set(err, ERR_USAGE, "site %s: no such host: %s",
                    plan->sites[i].options.name, plan->sites[i].targets[k].peer);
    return 0;
}

int roster_apply(struct daemon *d, const struct daemon_plan *plan, struct err *err)
{
    struct roster_site *s;
    if (check_plan(plan, err) < 0)
        return -1;
    remove_sites(d, plan);
    remove_peers(d, plan);
    for (size_t i = 0; i < plan->peer_count; i++)
        if (!find_peer(d, plan->peers[i].name))
            add_peer(d, &plan->peers[i]);
    for (size_t i = 0; i < plan->site_count; i++) {
        if (roster_find(d, plan->sites[i].options.name))
            continue;
        s = copy_site(&plan->sites[i]);
        pthread_mutex_lock(&d->lock);
        TAILQ_INSERT_TAIL(&d->sites, s, order);
        pthread_mutex_unlock(&d->lock);
    }
    TAILQ_FOREACH (s, &d->sites, order)
        attach_peers(d, s);
    return 0;
}

/* --- opening and letting go --- */

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
    attach_peers(d, s);
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
        reopen_site(d, s, false);
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
    reopen_site(d, s, true);
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

void roster_free(struct daemon *d)
{
    remove_peers(d, NULL);
    remove_sites(d, NULL);
    struct roster_leaving *l;
    while ((l = TAILQ_FIRST(&d->leaving))) {
        TAILQ_REMOVE(&d->leaving, l, order);
        site_unref(l->site);
        free(l);
    }
}

/* --- ready --- */

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
