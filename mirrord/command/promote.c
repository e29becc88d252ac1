/*
 * `mirrord promote`: this host becomes the primary of sites, whatever has become of the one before;
 * and `mirrord is-primary`, which asks. The epoch is raised here first, durably, then claimed on
 * every host that can be reached; the daemon here sees it and begins to push.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/policy.h"
#include "command/config/role.h"
#include "command/control_client.h"
#include "command/handover/claim.h"
#include "command/handover/handover.h"
#include "command/options.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

enum { SETTLE_MS = 15000, SETTLE_SLICE_MS = 50 };

struct promotion {
    const struct config *c;
    const struct config_site *s;
    const char *state_dir;
    struct epoch now; /* what is stored here */
};

static int write_epoch(
    struct promotion *p, bool raise, uint64_t above, bool settled, struct err *err)
{
    const char *root = config_root_at(p->s, p->c->self);
    struct epoch *e = &p->now;
    struct err damaged;
    int dir CLEANUP_FD = epochs_open(p->state_dir, root, true, err);
    int lock CLEANUP_FD = dir < 0 ? -1 : epoch_lock(dir, err);
    if (lock < 0)
        return -1;
    handover_forget(dir);
    if (epoch_read(dir, e, &damaged) < 0)
        log_warn("%s: %s", p->s->name, damaged.text);
    if (raise)
        e->counter = (e->counter > above ? e->counter : above) + 1;
    e->role = settled ? ROLE_PRIMARY : ROLE_SECONDARY;
    snprintf(e->primary, sizeof e->primary, "%s", p->c->self);
    if (state_host_id(p->state_dir, &e->id, err) < 0)
        return -1;
    return epoch_write(dir, e, err);
}

/* What the former primary's receiver has begun is finished; it lets go of the root when it sees the
 * new epoch. Then only does the daemon here see its new role. */
static int settle(struct promotion *p, struct err *err)
{
    const char *root = config_root_at(p->s, p->c->self);
    uint64_t until = io_now_ms() + SETTLE_MS;
    if (access(root, F_OK) != 0)
        return err_set(err, ERR_FAILED, "the root %s is not there", root);
    struct receive_policy policy;
    if (policy_of(p->s, p->c->self, &policy, err) < 0)
        return -1;
    while (receive_recover(p->state_dir, root, &policy, err) < 0) {
        if (err->code != ERR_TEMPORARY || io_now_ms() > until)
            return -1;
        poll(NULL, 0, SETTLE_SLICE_MS);
    }
    return write_epoch(p, false, 0, true, err);
}

/* The first time; what is the primary already has nothing to settle. */
static int begin(struct promotion *p, struct err *err)
{
    struct role role;
    struct err damaged;
    bool here = role_of(p->c, p->s, p->state_dir, &role, &damaged) == 0 && role.here;
    if (write_epoch(p, true, 0, here, err) < 0)
        return -1;
    return here ? 0 : settle(p, err);
}

/* As claim_put; also where it cannot be connected. */
static int claim_at(
    const struct promotion *p, const char *host, struct epoch *there, struct err *err)
{
    struct claim *a = NULL;
    int r = claim_open(p->c, config_host(p->c, host), p->state_dir, &a, err);
    if (r == 0)
        r = claim_put(a, p->s->name, &p->now, false, there, err);
    claim_close(a);
    return r;
}

/* 0; 1 another host has a higher epoch, in *above. */
static int claim_everywhere(const struct promotion *p, uint64_t *above)
{
    int higher = 0;
    for (char **h = p->s->hosts; *h; h++) {
        struct epoch there = {0};
        struct err why;
        if (strcmp(*h, p->c->self) == 0)
            continue;
        int r = claim_at(p, *h, &there, &why);
        if (r < 0)
            log_warn("%s: %s was not reached, and is refused when it comes back: %s", p->s->name,
                *h, why.text);
        if (r == 1 && there.counter >= p->now.counter && epoch_is_near(&p->now, there.counter)) {
            higher = 1;
            *above = there.counter > *above ? there.counter : *above;
        } else if (r == 1) {
            log_warn("%s: %s: %s", p->s->name, *h, why.text);
        }
    }
    return higher;
}

static int promote(
    const struct config *c, const struct config_site *s, const char *state_dir, struct err *err)
{
    enum { TRIES = 5 };
    struct promotion p = {.c = c, .s = s, .state_dir = state_dir};
    uint64_t above = 0;
    int higher = 1;
    for (int i = 0; i < TRIES && higher; i++) {
        if ((i == 0 ? begin(&p, err) : write_epoch(&p, true, above, true, err)) < 0)
            return err_prefix(err, "%s", s->name);
        higher = claim_everywhere(&p, &above);
    }
    if (higher)
        return err_set(
            err, ERR_REFUSED, "%s: another host is being promoted at the same time", s->name);
    printf("%s: %s is the primary (epoch %llu)\n", s->name, c->self,
        (unsigned long long)p.now.counter);
    return 0;
}

static bool daemon_runs(const struct config *c)
{
    struct json *ping = json_object(), *reply = NULL;
    struct err ignored;
    json_set_text(ping, "do", "ping");
    int alive = control_client_ask(c->control, ping, 5000, &reply, &ignored);
    json_free(ping);
    json_free(reply);
    return alive == 0;
}

/* Of --all: there was nothing to do. */
static int say_nothing_done(const struct config *c, size_t sites, struct err *err)
{
    if (sites == 0)
        return err_set(err, ERR_USAGE,
            "%s has no site with %s among its hosts, or none is here yet", c->path, c->self);
    printf("%s is the primary of %s already\n", c->self, sites == 1 ? "its site" : "all its sites");
    return 0;
}

static int promote_all(
    const struct config *c, const char *state_dir, char **names, int count, struct err *err)
{
    size_t sites = 0, done = 0;
    int rc = 0;
    for (int i = 0; i < count; i++) {
        const struct config_site *s = config_site(c, names[i]);
        if (!s || !config_site_has_host(s, c->self))
            return err_set(
                err, ERR_USAGE, "%s is not a site of %s in %s", names[i], c->self, c->path);
    }
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        bool named = count == 0;
        struct role role;
        struct err why;
        for (int k = 0; k < count; k++)
            named |= strcmp(names[k], s->name) == 0;
        if (!named || !config_site_has_host(s, c->self))
            continue;
        sites++;
        if (count == 0 && role_of(c, s, state_dir, &role, &why) == 0 && role.here)
            continue;
        done++;
        if (promote(c, s, state_dir, &why) == 0)
            continue;
        if (rc == 0)
            *err = why;
        else
            log_error("%s", why.text);
        rc = -1;
    }
    return done == 0 ? say_nothing_done(c, sites, err) : rc;
}

static int load(const char *config, const char *as, struct config **c, struct err *err)
{
    if (config_load(config, as, c, err) < 0)
        return -1;
    if ((*c)->self)
        return 0;
    config_no_self(*c, err);
    config_free(*c);
    return -1;
}

int command_promote(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL, *control = NULL;
    bool all = false;
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        OPTION_CONTROL(&control),
        {0, "all", OPTION_FLAG, &all, NULL, "all sites of this host", NULL},
        OPTION_VERBOSE(&verbosity),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST] SITE… | --all",
        "Makes this host the primary of these sites; the former one is refused from then on.",
        specs, -1};
    struct err err = {0};
    struct config *c = NULL;
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_WARNING, verbosity);
    if (all == (first < argc))
        err_set(&err, ERR_USAGE, "say which sites, or --all: mirrord status --all names them");
    else if (load(config, as, &c, &err) == 0) {
        if (control) {
            free(c->control);
            c->control = mem_copy_string(control);
        }
        promote_all(c, state_dir ? state_dir : c->state_dir, argv + first, argc - first, &err);
        if (!daemon_runs(c))
            log_warn("no daemon answers at %s: nothing is pushed before mirrord run is started",
                c->control);
        config_free(c);
    }
    return options_report(argv[0], &err);
}

int command_is_primary(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST] SITE",
        "Exits with 0 where this host is the primary of the site, else with 1; for cron lines.",
        specs, 1};
    struct err err = {0};
    struct config *c = NULL;
    struct role role = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    if (first == argc)
        err_set(&err, ERR_USAGE, "say which site: mirrord is-primary example.com");
    else if (load(config, as, &c, &err) == 0) {
        const struct config_site *s = config_site(c, argv[first]);
        if (!s)
            config_unknown_site(c, argv[first], &err);
        else
            role_of(c, s, state_dir ? state_dir : c->state_dir, &role, &err);
        config_free(c);
    }
    if (err.code == ERR_FAILED)
        err.code = ERR_TEMPORARY; /* 1 is an answer */
    return err.code ? options_report(argv[0], &err) : role.here ? 0 : 1;
}
