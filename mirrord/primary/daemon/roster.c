/*
 * Which sites there are: made equal to a plan, with the peers of each. Opening them is
 * roster_open.c's.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/daemon/daemon_impl.h"

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

void roster_reopen(struct daemon *d, struct roster_site *s, bool accept_root)
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

void roster_attach_peers(struct daemon *d, struct roster_site *s)
{
    for (size_t i = 0; i < s->target_count; i++) {
        struct roster_target *t = &s->targets[i];
        struct roster_peer *p = t->peer ? NULL : roster_find_peer(d, t->name);
        if (!p || !s->site)
            continue;
        peer_add_site(p->peer, s->site, t->remote_root, t->without);
        if (s->force && (set_count(s->force) == 0 || set_find(s->force, t->name, strlen(t->name))))
            peer_force(p->peer, s->site);
        pthread_mutex_lock(&d->lock);
        t->peer = p;
        pthread_mutex_unlock(&d->lock);
        /* What was found between the two calls has not been told to this peer. */
        peer_compare_news(p->peer, s->site);
    }
}

static int check_plan(const struct daemon_plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->site_count; i++)
        for (size_t k = 0; k < plan->sites[i].target_count; k++)
            if (!roster_planned_peer(plan, plan->sites[i].targets[k].peer))
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
    roster_remove_peers(d, plan);
    for (size_t i = 0; i < plan->peer_count; i++)
        if (!roster_find_peer(d, plan->peers[i].name))
            roster_add_peer(d, &plan->peers[i]);
    for (size_t i = 0; i < plan->site_count; i++) {
        if (roster_find(d, plan->sites[i].options.name))
            continue;
        s = copy_site(&plan->sites[i]);
        pthread_mutex_lock(&d->lock);
        TAILQ_INSERT_TAIL(&d->sites, s, order);
        pthread_mutex_unlock(&d->lock);
    }
    TAILQ_FOREACH (s, &d->sites, order)
        roster_attach_peers(d, s);
    return 0;
}

void roster_free(struct daemon *d)
{
    roster_remove_peers(d, NULL);
    remove_sites(d, NULL);
    struct roster_leaving *l;
    while ((l = TAILQ_FIRST(&d->leaving))) {
        TAILQ_REMOVE(&d->leaving, l, order);
        site_unref(l->site);
        free(l);
    }
}
