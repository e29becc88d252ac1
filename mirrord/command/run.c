/*
 * `mirrord run`: the daemon. Here the configuration becomes the plan of primary/daemon/daemon.h,
 * and again on a reload; everything else is primary/'s.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/known_sites.h"
#include "command/config/role.h"
#include "command/far.h"
#include "command/handover/handover.h"
#include "command/options.h"
#include "command/words.h"
#include "primary/daemon/daemon.h"
#include "secondary/health/health.h"
#include "tree/content/digest.h"
#include "tree/state/machine.h"
#include "tree/state/state.h"

struct run {
    const char *config, *as, *state_dir, *control;
    unsigned reread_every_s;           /* 0: not said */
    char *state_dir_now, *control_now; /* of the first plan: these two stay while it runs */
    struct config *now;                /* what counts: as it was read last, expanded lately */
    struct known_sites *known;
    char complaint[ERR_TEXT_MAX]; /* why the globs could not be expanded, as it was said last */
    struct handovers *handovers;
};

/* A plan and what it points to besides the configuration. */
struct plan {
    struct daemon_plan daemon;
    struct peer_options *peers;
    char ***argvs; /* of each peer's far end */
    struct daemon_site *sites;
    struct daemon_target *targets; /* of all sites, one after the other */
    struct daemon_idle *idle;
    const char **globs;
    char *site_sockets;
    struct role *roles; /* of the configuration's sites */
};

static void plan_free(struct plan *p)
{
    for (size_t i = 0; p->argvs && i < p->daemon.peer_count; i++)
        words_free(p->argvs[i]);
    free(p->argvs);
    free(p->peers);
    free(p->sites);
    free(p->targets);
    free(p->idle);
    free(p->globs);
    free(p->site_sockets);
    free(p->roles);
}

static bool is_secondary(const struct plan *p, const struct config *c, const char *host)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (p->roles[i].here && config_site_has_host(&c->sites[i], host))
            return true;
    return false;
}

/* Who pushes which site: read once, so that the plan is of one piece. */
static void read_roles(struct plan *p, const struct config *c)
{
    struct err why;
    p->roles = mem_array(c->site_count, sizeof *p->roles);
    for (size_t i = 0; i < c->site_count; i++)
        if (config_site_has_host(&c->sites[i], c->self) &&
            role_of(c, &c->sites[i], p->daemon.state_dir, &p->roles[i], &why) < 0)
            log_error("%s", why.text); /* it is not pushed */
}

static int plan_peer(struct plan *p, const struct config *c, const struct config_host *h,
    const struct digest *host_id, struct err *err)
{
    size_t n = p->daemon.peer_count;
    p->argvs[n] = far_peer_options(c, h, host_id, &p->peers[n], err);
    if (!p->argvs[n])
        return -1;
    p->daemon.peer_count++;
    return 0;
}

static int plan_peers(struct plan *p, const struct config *c, struct err *err)
{
    struct digest host_id;
    p->peers = mem_array(c->host_count, sizeof *p->peers);
    p->argvs = mem_array(c->host_count, sizeof *p->argvs);
    if (state_host_id(p->daemon.state_dir, &host_id, err))
        return -1;
    for (size_t i = 0; i < c->host_count; i++) {
        const struct config_host *h = &c->hosts[i];
        if (c->self && strcmp(h->name, c->self) != 0 && is_secondary(p, c, h->name) &&
            plan_peer(p, c, h, &host_id, err))
            return -1;
    }
    p->daemon.peers = p->peers;
    return 0;
}

/* Takes the text and gives it back with one more line. */
static char *with_line(char *text, const char *line)
{
    char *longer = mem_format("%s%s\n", text, line);
    free(text);
    return longer;
}

static char *with_target(char *text, const struct daemon_target *t)
{
    struct msg_rule rule;
    text = with_line(text, t->peer);
    for (size_t i = 0; t->without && i < filter_count(t->without); i++) {
        filter_rule(t->without, i, &rule);
        char *pattern CLEANUP_FREE =
            mem_format("-%.*s", (int)rule.pattern.len, (const char *)rule.pattern.data);
        text = with_line(text, pattern);
    }
    return text;
}

static char *with_units(char *text, const struct unit_rules *r)
{
    char *times CLEANUP_FREE = mem_format("%u %u", unit_rules_settle(r), unit_rules_settle_max(r));
    for (size_t i = 0; unit_rules_unit(r, i); i++)
        text = with_line(text, unit_rules_unit(r, i));
    text = with_line(text, times);
    for (size_t i = 0; unit_rules_bracket(r, i); i++)
        text = with_line(text, unit_rules_bracket(r, i));
    return text;
}

/* Over everything that matters for the site: equal means that a reload leaves it alone. */
static uint64_t site_identity(const struct daemon_site *s, const struct epoch *e)
{
    struct digest filter, d;
    const struct site_options *o = &s->options;
    char *text CLEANUP_FREE = mem_format("%s\n%s\n%s\n%d %d %d %u %u %u %u %u %llu %llu %llu\n",
        o->name, o->root, o->state_dir, s->presence, o->owner,
        o->special_bits | o->fsync_batch << 1 | o->drift_report << 2, o->max_delete_percent,
        o->max_delete_count, o->keep_days, o->unit_grace, o->min_free.percent,
        (unsigned long long)o->min_free.bytes, (unsigned long long)o->max_size,
        (unsigned long long)e->counter);
    for (size_t i = 0; i < s->target_count; i++)
        text = with_target(text, &s->targets[i]);
    text = with_units(text, o->units);
    filter_digest(o->filter, &filter);
    char *whole CLEANUP_FREE = mem_alloc(strlen(text) + sizeof filter);
    memcpy(whole, text, strlen(text));
    memcpy(whole + strlen(text), &filter, sizeof filter);
    digest_plain(whole, strlen(text) + sizeof filter, &d);
    uint64_t identity;
    memcpy(&identity, &d, sizeof identity);
    return identity;
}

static void plan_site(struct plan *p, const struct config *c, const struct config_site *s,
    struct daemon_target *targets)
{
    struct daemon_site *d = &p->sites[p->daemon.site_count++];
    *d = (struct daemon_site){.options = {.name = s->name,
                                  .root = config_root_at(s, c->self),
                                  .state_dir = p->daemon.state_dir,
                                  .filter = s->filter,
                                  .units = s->units,
                                  .owner = s->owner,
                                  .special_bits = s->special_bits,
                                  .fsync_batch = s->fsync_batch,
                                  .drift_report = s->drift_report,
                                  .max_delete_percent = s->max_delete_percent,
                                  .max_delete_count = s->max_delete_count,
                                  .keep_days = s->keep_days,
                                  .unit_grace = s->unit_grace,
                                  .min_free = s->min_free,
                                  .max_size = s->max_size,
                                  .keep_root = true},
        .targets = targets,
        .presence = s->presence == SITE_THERE  ? DAEMON_SITE_THERE
                    : s->presence == SITE_GONE ? DAEMON_SITE_GONE
                                               : DAEMON_SITE_ALL_GONE,
        .gone_since = s->gone_since,
        .glob = s->block ? config_root_at(s->block, c->self) : NULL};
    for (char **h = s->hosts; *h; h++)
        if (strcmp(*h, c->self) != 0)
            targets[d->target_count++] =
                (struct daemon_target){.peer = *h, .without = config_exclude_at(s, *h)};
    d->stamp = p->roles[s - c->sites].stamp;
    d->socket_user = s->socket_user;
    d->identity = site_identity(d, &p->roles[s - c->sites].epoch);
}

static void plan_idle(struct plan *p, const struct config *c, const struct config_site *s)
{
    const struct role *role = &p->roles[s - c->sites];
    if (!config_site_has_host(s, c->self) || s->presence != SITE_THERE)
        return;
    p->idle[p->daemon.idle_count++] = (struct daemon_idle){.name = s->name,
        .root = config_root_at(s, c->self),
        .primary = role->primary,
        .fenced = role->fenced,
        .stamp = role->stamp,
        .socket_user = s->socket_user,
        .health_lag_ms = s->health_lag_ms,
        .health_orphaned_ms = s->health_orphaned_ms};
}

static void plan_globs(struct plan *p, const struct config *c)
{
    p->globs = mem_array(c->glob_count, sizeof *p->globs);
    for (size_t i = 0; i < c->glob_count; i++)
        if (config_site_has_host(&c->globs[i], c->self))
            p->globs[p->daemon.glob_count++] = config_root_at(&c->globs[i], c->self);
    p->daemon.globs = p->globs;
}

static void plan_sites(struct plan *p, const struct config *c)
{
    size_t next = 0;
    p->sites = mem_array(c->site_count, sizeof *p->sites);
    p->idle = mem_array(c->site_count, sizeof *p->idle);
    p->targets = mem_array(c->site_count * c->host_count, sizeof *p->targets);
    for (size_t i = 0; i < c->site_count; i++) {
        if (!p->roles[i].here) {
            plan_idle(p, c, &c->sites[i]);
            continue;
        }
        plan_site(p, c, &c->sites[i], p->targets + next);
        next += p->sites[p->daemon.site_count - 1].target_count;
    }
    p->daemon.sites = p->sites;
    p->daemon.idle = p->idle;
}

/* *p is good for plan_free in any case. */
static int make_plan(const struct run *r, const struct config *c, struct plan *p, struct err *err)
{
    *p = (struct plan){.daemon = {.self = c->self}};
    p->daemon.rescan_ms = (uint64_t)c->rescan * 1000;
    p->daemon.scan_rate = c->scan_rate;
    p->daemon.metrics = c->metrics;
    p->daemon.metrics_ms = c->metrics_ms;
    p->daemon.reread_every_s = r->reread_every_s;
    p->daemon.state_dir = r->state_dir_now ? r->state_dir_now : c->state_dir;
    p->daemon.control = r->control_now ? r->control_now : c->control;
    p->site_sockets = config_site_sockets(c, p->daemon.control);
    p->daemon.site_sockets = p->site_sockets;
    if (!c->self)
        return config_no_self(c, err);
    read_roles(p, c);
    if (plan_peers(p, c, err))
        return -1;
    plan_sites(p, c);
    plan_globs(p, c);
    return 0;
}

static void warn_about_places(const struct run *r, const struct config *c)
{
    if (!r->state_dir && strcmp(c->state_dir, r->state_dir_now) != 0)
        log_warn("state-dir is now %s: that counts from the next start", c->state_dir);
    if (!r->control && strcmp(c->control, r->control_now) != 0)
        log_warn("control is now %s: that counts from the next start", c->control);
}

/* What is known of sites that were there is told by their presence. */
static void recall(struct run *r, struct config *c)
{
    struct err why;
    if (known_sites_apply(r->known, c, time(NULL), &why) < 0)
        log_error("%s: after a restart it will not be known which sites are gone", why.text);
}

/* Takes the configuration over, unless it cannot be applied. */
static int apply(struct run *r, struct daemon *d, struct config *c, struct err *err)
{
    struct plan p;
    recall(r, c);
    int rc = make_plan(r, c, &p, err);
    if (rc == 0) {
        warn_about_places(r, c);
        rc = daemon_apply(d, &p.daemon, err);
    }
    plan_free(&p);
    config_free(rc == 0 ? r->now : c);
    if (rc == 0)
        r->now = c;
    handovers_look(r->handovers);
    return rc;
}

static bool look_at_health(void *ctx, const struct daemon_idle *s, struct daemon_health *out)
{
    const struct run *r = ctx;
    const struct health_limits limits = {.lag_ms = s->health_lag_ms,
        .orphaned_ms =
            s->health_orphaned_ms == CONFIG_HEALTH_NEVER ? HEALTH_NEVER : s->health_orphaned_ms};
    struct health h;
    struct err ignored;
    enum health_role role = s->fenced ? HEALTH_FENCED : HEALTH_SECONDARY;
    if (health_look(r->state_dir_now, s->root, role, &limits, &h, &ignored) < 0)
        return false;
    *out = (struct daemon_health){.up = h.up,
        .state = health_state_name(h.state),
        .owed_paths = h.owed_paths,
        .behind_ms = h.behind_ms};
    memcpy(out->why, h.why, sizeof out->why);
    return true;
}

static int reload(void *ctx, struct daemon *d, struct err *err)
{
    struct run *r = ctx;
    struct config *c;
    return config_load(r->config, r->as, &c, err) ? -1 : apply(r, d, c, err);
}

/* Which sites there are, and which of them are gone: equal means that nothing came or went. */
static char *constellation(const struct config *c)
{
    struct buf text = {0};
    for (size_t i = 0; i < c->site_count; i++) {
        char *line CLEANUP_FREE = mem_format("%s\n%d\n", c->sites[i].name, c->sites[i].presence);
        buf_append(&text, line, strlen(line));
    }
    char *all = mem_copy_bytes(buf_bytes(&text), buf_len(&text));
    buf_free(&text);
    return all;
}

static void complain(struct run *r, const struct err *why)
{
    if (strcmp(r->complaint, why->text) != 0)
        log_error("%s: sites that come or go are not noticed until this is repaired", why->text);
    memcpy(r->complaint, why->text, sizeof r->complaint);
}

/* The file may have been edited since, and not be meant to count yet: it is not read again. */
static void expand(void *ctx, struct daemon *d)
{
    struct run *r = ctx;
    struct plan p;
    struct err why;
    char *before CLEANUP_FREE = constellation(r->now);
    if (config_expand_again(r->now, &why) < 0) {
        complain(r, &why);
        return;
    }
    r->complaint[0] = '\0';
    recall(r, r->now);
    char *after CLEANUP_FREE = constellation(r->now);
    if (strcmp(before, after) == 0)
        return;
    if (make_plan(r, r->now, &p, &why) < 0 || daemon_apply(d, &p.daemon, &why) < 0)
        log_error("%s", why.text);
    plan_free(&p);
    handovers_look(r->handovers);
}

static int forget(void *ctx, struct daemon *d, const char *name, struct err *err)
{
    struct run *r = ctx;
    const struct config_site *s = config_site(r->now, name);
    if (s && s->block && known_sites_forget(r->known, s, r->now->self, err) < 0)
        return -1;
    expand(r, d);
    return 0;
}

static int start(struct run *r, struct daemon **d, struct err *err)
{
    const struct daemon_hooks hooks = {
        .reload = reload, .expand = expand, .forget = forget, .health = look_at_health, .ctx = r};
    struct config *c;
    struct plan p;
    if (config_load(r->config, r->as, &c, err))
        return -1;
    r->state_dir_now = mem_copy_string(r->state_dir ? r->state_dir : c->state_dir);
    r->control_now = mem_copy_string(r->control ? r->control : c->control);
    int rc = make_plan(r, c, &p, err);
    if (rc == 0)
        rc = machine_check(r->state_dir_now, err);
    if (rc == 0)
        rc = daemon_new(&p.daemon, &hooks, d, err);
    plan_free(&p);
    if (rc == 0)
        rc = known_sites_open(r->state_dir_now, &r->known, err);
    if (rc == 0)
        return apply(r, *d, c, err);
    config_free(c);
    return rc;
}

static int run(struct run *r, struct err *err)
{
    struct daemon *d = NULL;
    int rc = start(r, &d, err);
    if (rc == 0) {
        r->handovers = handovers_start(r->config, r->as, r->state_dir_now, r->control_now);
        rc = daemon_run(d, err);
    }
    if (d)
        daemon_free(d);
    handovers_stop(r->handovers);
    known_sites_free(r->known);
    config_free(r->now);
    free(r->state_dir_now);
    free(r->control_now);
    return rc;
}

int command_run(int argc, char **argv)
{
    struct run r = {.config = CONFIG_DEFAULT_PATH};
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        OPTION_STATE_DIR(&r.state_dir),
        OPTION_CONTROL(&r.control),
        OPTION_REREAD(&r.reread_every_s),
        OPTION_VERBOSE(&verbosity),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST]",
        "The daemon, in the foreground: watches this host's sites and keeps their secondaries "
        "level.",
        specs, 0};
    struct err err = {0};
    if (options_parse(&o, argc, argv, &err) <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_INFO, verbosity);
    run(&r, &err);
    return options_report(argv[0], &err);
}
