/*
 * `mirrord check`: is the configuration right, and is the machine as it needs it? The parts of the
 * check are in check_*.c; here are the order, the verdict, and --effective.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/check/check_report.h"
#include "command/command.h"
#include "command/options.h"
#include "command/status/status_text.h"
#include "primary/daemon/site_names.h"

enum { REACH_TIMEOUT_MS = 10000 };

struct request {
    const char *config, *as, *effective;
    bool offline;
};

void check_report_problem(
    struct check_report *r, const char *file, unsigned line, const char *what, const char *repair)
{
    r->problems++;
    if (line)
        printf("%s:%u: %s\n", file, line, what);
    else
        printf("%s: %s\n", file, what);
    printf("    repair: %s\n", repair);
}

static void print_summary(const struct config *c)
{
    size_t pushed = 0, received = 0;
    for (size_t i = 0; c->self && i < c->site_count; i++) {
        bool primary = strcmp(c->sites[i].primary, c->self) == 0;
        pushed += primary;
        received += !primary && config_site_has_host(&c->sites[i], c->self);
    }
    printf("%s: %zu host%s, %zu site%s; ", c->path, c->host_count, c->host_count == 1 ? "" : "s",
        c->site_count, c->site_count == 1 ? "" : "s");
    if (c->self)
        printf("this is %s, primary of %zu, secondary of %zu\n", c->self, pushed, received);
    else
        printf("this host is not in it\n");
}

static void print_rules(const struct filter *f, const char *indent)
{
    for (size_t i = 0; i < filter_count(f); i++) {
        struct msg_rule rule;
        filter_rule(f, i, &rule);
        printf("%s%s %s\n", indent, rule.include ? "include" : "exclude",
            QUOTED(rule.pattern.data, rule.pattern.len));
    }
}

/* What differs on one host, besides its root. */
static void print_at(const struct config_site *s, const char *host)
{
    static const char *const words[] = {[OWNER_NO] = "no", [OWNER_YES] = "yes"};
    const struct config_at *at = config_at(s, host);
    if (at && at->owner == OWNER_FIXED)
        printf("    owner %s%s%s\n", at->user, at->group ? ":" : "", at->group ? at->group : "");
    else if (at && at->owner != OWNER_AS_SITE)
        printf("    owner %s\n", words[at->owner]);
    if (at && at->exclude)
        print_rules(at->exclude, "    ");
}

static void print_units(const struct config_site *s)
{
    const char *text;
    for (size_t i = 0; (text = unit_rules_unit(s->units, i)); i++)
        printf("  unit %s\n", QUOTED(text, strlen(text)));
    for (size_t i = 0; (text = unit_rules_bracket(s->units, i)); i++)
        printf("  bracket %s\n", QUOTED(text, strlen(text)));
    if (unit_rules_unit(s->units, 0))
        printf("  units are switched when quiet for %u ms, after %g s in any case; what they "
               "replace stays for %u s\n",
            unit_rules_settle(s->units), unit_rules_settle_max(s->units) / 1000.0, s->unit_grace);
}

static void print_hooks(const struct config_site *s)
{
    for (char **host = s->hosts; *host; host++) {
        struct config_hook h = config_hook_at(s, *host);
        const char *user = h.user ? h.user : "the root's owner";
        if (h.command)
            printf("  after a commit on %s: %s (as %s, for %g s at most)\n", *host,
                QUOTED(h.command, strlen(h.command)), user, h.timeout_ms / 1000.0);
        if (h.on_switch)
            printf("  around the switch of units on %s: %s (as %s, for %g s at most)\n", *host,
                QUOTED(h.on_switch, strlen(h.on_switch)), user, h.on_switch_timeout_ms / 1000.0);
    }
}

static void print_socket(const struct config *c, const struct config_site *s)
{
    char *dir CLEANUP_FREE = config_site_sockets(c, c->control);
    char *name CLEANUP_FREE = dir ? site_socket_name(dir, s->name) : NULL;
    if (dir)
        printf("  socket %s/%s, of %s\n", dir, PLAIN(name),
            s->socket_user ? PLAIN(s->socket_user) : "the root's owner");
}

static void print_health(const struct config_site *s)
{
    printf("  on a secondary unhealthy when something has been owed for over %u s; ",
        s->health_lag_ms / 1000);
    if (s->health_orphaned_ms == CONFIG_HEALTH_NEVER)
        puts("not for want of a primary");
    else if (s->health_orphaned_ms == 0)
        puts("and when no primary is there");
    else
        printf("and when no primary is there for over %u s\n",
            (unsigned)(s->health_orphaned_ms / 1000));
}

static int print_effective(const struct config *c, const char *name, struct err *err)
{
    const struct config_site *s = config_site(c, name);
    if (!s)
        return err_set(err, ERR_USAGE, "there is no site %s in %s (on this host)", name, c->path);
    printf("site %s (%s:%u)\n", s->name, s->file, s->line);
    for (char **h = s->hosts; *h; h++) {
        printf("  %-9s %s: %s\n", strcmp(*h, s->primary) == 0 ? "primary" : "secondary", *h,
            config_root_at(s, *h));
        print_at(s, *h);
    }
    printf("  preset %s, owner %s, special-bits %s, fsync %s, drift %s\n", preset_name(s->preset),
        s->owner ? "yes" : "no", s->special_bits ? "yes" : "no",
        s->fsync_batch ? "batch" : "checkpoint", s->drift_report ? "report" : "heal");
    printf("  held when more than %u %% and more than %u entries would be deleted\n",
        s->max_delete_percent, s->max_delete_count);
    if (s->keep_days)
        printf("  what is deleted or overwritten on a secondary is kept for %u day%s\n",
            s->keep_days, s->keep_days == 1 ? "" : "s");
    if (s->min_free.percent)
        printf("  %u %% of a secondary's disk stay free of bulk\n", s->min_free.percent);
    else if (s->min_free.bytes)
        printf("  %llu bytes of a secondary's disk stay free of bulk\n",
            (unsigned long long)s->min_free.bytes);
    if (s->max_size)
        printf("  files over %llu bytes are left alone\n", (unsigned long long)s->max_size);
    print_health(s);
    print_socket(c, s);
    print_units(s);
    print_hooks(s);
    printf("  rules, the last that matches wins (all else is mirrored):\n");
    print_rules(s->filter, "  ");
    return 0;
}

static int check_all(const struct config *c, bool offline, struct err *err)
{
    struct check_report r = {.config = c};
    print_summary(c);
    check_report_places(&r);
    check_report_metrics(&r);
    check_report_sandbox();
    check_report_roots(&r);
    check_report_hooks(&r);
    check_report_sockets(&r);
    check_report_layouts(&r);
    check_report_limits(&r);
    if (!offline)
        check_report_reach(&r, REACH_TIMEOUT_MS);
    if (r.problems == 0) {
        puts("all well");
        return 0;
    }
    fflush(stdout);
    return err_set(err, ERR_FAILED, "%u problem%s", r.problems, r.problems == 1 ? "" : "s");
}

int command_check(int argc, char **argv)
{
    struct request r = {.config = CONFIG_DEFAULT_PATH};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        {0, "effective", OPTION_TEXT, &r.effective, "SITE",
            "print what is in force for this site, defaults and rules, and check nothing"},
        {0, "offline", OPTION_FLAG, &r.offline, NULL, "do not try to reach the secondaries"},
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST] [--offline | --effective SITE]",
        "Checks configuration, roots, limits and reachability: what is wrong, its line, the "
        "repair.",
        specs, 0};
    struct err err = {0};
    struct config *c = NULL;
    if (options_parse(&o, argc, argv, &err) <= 0 || config_load(r.config, r.as, &c, &err))
        return options_report(argv[0], &err);
    if (r.effective)
        print_effective(c, r.effective, &err);
    else
        check_all(c, r.offline, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
