/*
 * `mirrord health`: may this host's sites be served? Looks at each (secondary/health/health.c
 * judges), and tells people, or a load balancer whose connection is standard input and output. That
 * one is told "down" by evidence only: what is wrong with the question, such as a configuration
 * that cannot be read, is logged, and all servers that share the mistake stay in.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/role.h"
#include "command/health/health_report.h"
#include "command/options.h"

enum { ALARM_S = 10, NOBODY = 65534 };

struct wish {
    const char *config, *as, *state_dir, *orphaned;
    bool http, agent, json;
    int verbosity;
    unsigned orphaned_ms; /* where `orphaned` says it */
};

/* --- looking --- */

static int look_at_one(const struct wish *w, const struct config *c, const struct config_site *s,
    const char *root, struct health *out, struct err *err)
{
    const char *state_dir = w->state_dir ? w->state_dir : c->state_dir;
    unsigned orphaned = w->orphaned ? w->orphaned_ms : s->health_orphaned_ms;
    struct health_limits limits = {.lag_ms = s->health_lag_ms,
        .orphaned_ms = orphaned == CONFIG_HEALTH_NEVER ? HEALTH_NEVER : orphaned};
    struct role role;
    if (role_of(c, s, state_dir, &role, err) < 0)
        return -1;
    enum health_role as = role.here     ? HEALTH_PRIMARY
                          : role.fenced ? HEALTH_FENCED
                                        : HEALTH_SECONDARY;
    if (health_look(state_dir, root, as, &limits, out, err) < 0)
        return -1;
    if (as != HEALTH_SECONDARY || !out->primary[0])
        snprintf(out->primary, sizeof out->primary, "%s", role.primary);
    return 0;
}

static void add_item(const struct wish *w, const struct config *c, const struct config_site *s,
    const char *name, const char *root, struct health_report *r)
{
    struct err why;
    r->items = mem_resize(r->items, r->count + 1, sizeof *r->items);
    struct health_item *item = &r->items[r->count++];
    *item = (struct health_item){.name = mem_copy_string(name)};
    if (look_at_one(w, c, s, root, &item->health, &why) == 0)
        return;
    log_error("health: site %s: %s", name, why.text);
    item->error = mem_copy_string(why.text);
    item->health = (struct health){.up = true};
}

static int add_named(const struct wish *w, const struct config *c, char **names,
    struct health_report *r, struct err *err)
{
    for (; *names; names++) {
        const struct config_site *s;
        char *root CLEANUP_FREE = NULL;
        if (config_find_root(c, *names, c->self, &s, &root))
            return err_set(err, ERR_USAGE, "there is no site %s in %s", *names, c->path);
        if (!config_site_has_host(s, c->self))
            return err_set(err, ERR_USAGE, "%s is not among the hosts of site %s (%s:%u)", c->self,
                *names, s->file, s->line);
        add_item(w, c, s, *names, root, r);
    }
    return 0;
}

/* A host that has nothing to serve is down: it is new, or a volume is not mounted. */
static char *why_none(const struct config *c)
{
    for (size_t i = 0; i < c->glob_count; i++)
        if (config_site_has_host(&c->globs[i], c->self))
            return mem_format(
                "no site is here: nothing matches %s (%s:%u); is its volume mounted, or "
                "has nothing been copied here yet?",
                config_root_at(&c->globs[i], c->self), c->globs[i].file, c->globs[i].line);
    return mem_format("no site is here: %s has none with %s among its hosts; add it to one, or let "
                      "no load balancer send anybody here",
        c->path, c->self);
}

static int look(
    const struct wish *w, struct config *c, char **names, struct health_report *r, struct err *err)
{
    if (!c->self)
        return config_no_self(c, err);
    r->host = c->self;
    if (*names)
        return add_named(w, c, names, r, err);
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        if (config_site_has_host(s, c->self))
            add_item(w, c, s, s->name, config_root_at(s, c->self), r);
    }
    if (!r->count)
        r->none = why_none(c);
    return 0;
}

/* --- answering --- */

/* What is left to be done needs no rights at all. As another user than root it was started so. */
static void drop_rights(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                              setresuid(NOBODY, NOBODY, NOBODY) < 0))
        log_warn("health: cannot give up root's rights: %s", strerror(errno));
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, none) < 0)
        log_warn("health: cannot give up capabilities: %s", strerror(errno));
}

static void too_late(int number)
{
    (void)number;
    _exit(ERR_TEMPORARY);
}

/* Whatever hangs, a disk or who asks, this process does not stay. */
static _Noreturn void serve(const struct wish *w, struct health_report *r, struct err *why)
{
    struct err err;
    if (why->code) {
        log_error("health: %s", why->text);
        r->error = why->text;
    }
    drop_rights();
    int bad = w->http ? health_serve_http(r, STDIN_FILENO, STDOUT_FILENO, &err)
                      : health_serve_agent(r, STDIN_FILENO, STDOUT_FILENO, &err);
    if (bad)
        log_info("health: %s", err.text);
    _exit(0); /* that somebody asks badly is no failure of the unit */
}

static int tell(const struct wish *w, const struct health_report *r)
{
    bool unknown = false;
    for (size_t i = 0; i < r->count; i++)
        unknown |= r->items[i].error != NULL;
    char *json CLEANUP_FREE = w->json ? health_json(r, NULL) : NULL;
    if (json)
        fputs(json, stdout);
    else if (w->verbosity >= 0)
        health_print(r, stdout);
    return !health_is_up(r) ? ERR_BEHIND : unknown ? ERR_FAILED : 0;
}

static int run(const struct wish *w, char **names, struct err *err)
{
    struct health_report r = {0};
    struct config *c = NULL;
    int result = 0;
    if (w->http || w->agent) {
        signal(SIGALRM, too_late);
        alarm(ALARM_S);
    }
    if (config_load(w->config, w->as, &c, err) == 0)
        look(w, c, names, &r, err);
    if (w->http || w->agent)
        serve(w, &r, err);
    if (!err->code)
        result = tell(w, &r);
    for (size_t i = 0; i < r.count; i++) {
        free(r.items[i].name);
        free(r.items[i].error);
    }
    free(r.items);
    free(r.none);
    config_free(c);
    return result;
}

int command_health(int argc, char **argv)
{
    struct wish w = {.config = CONFIG_DEFAULT_PATH};
    const struct option_spec specs[] = {
        {0, "http", OPTION_FLAG, &w.http, NULL,
            "answer one HTTP request on standard input and output: 200 or 503"},
        {0, "agent", OPTION_FLAG, &w.agent, NULL, "answer as HAProxy's agent-check: up or down"},
        {0, "orphaned", OPTION_TEXT, &w.orphaned, "up|down|TIME",
            "what a site without its primary counts as (default: the file's)"},
        {0, "json", OPTION_FLAG, &w.json, NULL, "print one JSON object"},
        OPTION_CONFIG(&w.config),
        OPTION_AS(&w.as),
        OPTION_STATE_DIR(&w.state_dir),
        OPTION_QUIET(&w.verbosity),
        {0},
    };
    const struct options o = {"[--http | --agent] [--orphaned up|down|TIME] [SITE…]",
        "Says whether this host's sites may be served; exits with 4 where one may not.", specs, -1};
    struct err err = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    if (w.http && w.agent)
        err_set(&err, ERR_USAGE, "--http and --agent exclude each other");
    if (!err.code && w.orphaned)
        config_parse_orphaned(w.orphaned, &w.orphaned_ms, &err);
    if (err.code)
        return options_report(argv[0], &err);
    int result = run(&w, argv + first, &err);
    return err.code ? options_report(argv[0], &err) : result;
}
