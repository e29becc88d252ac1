/* `mirrord resync [SITE [HOST…]]`, of a configuration's sites; see resync_forms.h. */
#include <string.h>

#include "base/mem.h"
#include "command/config/role.h"
#include "command/far.h"
#include "command/resync/resync_forms.h"
#include "command/words.h"
#include "tree/state/machine.h"

static bool named(char **names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

/* One job: the site, as it is here under this epoch, to one of its hosts. */
static void push_to_host(struct resync_run *r, const struct config *c, const struct config_site *s,
    const struct config_host *h, const struct epoch *epoch)
{
    struct peer_options peer;
    struct err err;
    char **argv = far_peer_options(c, h, &r->host_id, &peer, &err);
    if (!argv) {
        resync_run_note(r, &err);
        return;
    }
    struct site_options site = resync_run_site(r, s->filter);
    site.name = s->name;
    site.root = config_root_at(s, c->self);
    site.units = s->units;
    site.owner = s->owner;
    site.special_bits = s->special_bits;
    site.fsync_batch = s->fsync_batch;
    site.drift_report = s->drift_report;
    site.max_size = s->max_size;
    site.keep_days = s->keep_days;
    site.unit_grace = s->unit_grace;
    site.keep_root = !r->scratch;
    if (r->asked->max_delete_percent == RESYNC_NOT_SAID) {
        site.max_delete_percent = s->max_delete_percent;
        site.max_delete_count = s->max_delete_count;
    }
    const struct resync_target target = {.name = h->name,
        .place = config_root_at(s, h->name),
        .link = peer.link,
        .without = config_exclude_at(s, h->name),
        .compress = peer.compress,
        .bwlimit = r->asked->bwlimit ? r->asked->bwlimit : peer.bwlimit,
        .keepalive_ms = peer.keepalive_ms};
    char *name CLEANUP_FREE = mem_format("%s %s", s->name, h->name);
    resync_run_job(r, name, &site, &target, epoch);
    words_free(argv);
}

static void push_site(struct resync_run *r, const struct config *c, const struct config_site *s)
{
    const struct resync_options *o = r->asked;
    struct role role;
    struct err err;
    if (!config_site_has_host(s, c->self) || !named(o->operands, o->operand_count > 0, s->name))
        return;
    if (role_of(c, s, r->state_dir, &role, &err) < 0) {
        resync_run_note(r, &err);
        return;
    }
    if (!role.here)
        return;
    for (char **h = s->hosts; *h && !*r->stop; h++)
        if (strcmp(*h, c->self) != 0 &&
            named(o->operands + 1, o->operand_count > 1 ? o->operand_count - 1 : 0, *h))
            push_to_host(r, c, s, config_host(c, *h), &role.epoch);
}

/* The end of a dry run over all sites. */
static void sum_up(struct resync_run *r)
{
    const struct resync_options *o = r->asked;
    struct err differ;
    char *line CLEANUP_FREE = resync_summary_line(r->summary, o->checksum);
    if (o->verbosity >= 0 && !o->json)
        puts(line);
    if (!r->worst.code && resync_summary_verdict(r->summary, &differ) < 0)
        r->worst = differ;
}

/* All that were asked for, one after the other. */
static int work_through(struct resync_run *r, const struct config *c, struct err *err)
{
    const struct resync_options *o = r->asked;
    if (resync_run_begin(r, o->state_dir ? o->state_dir : c->state_dir, err) < 0 ||
        machine_check(r->state_dir, err) < 0)
        return -1;
    snprintf(r->host, sizeof r->host, "%s", c->self);
    r->results = o->json ? json_array() : NULL;
    r->summary = o->dry_run && !o->verify ? resync_summary_new() : NULL;
    for (size_t i = 0; i < c->site_count && !*r->stop; i++)
        push_site(r, c, &c->sites[i]);
    if (r->results) {
        char *text CLEANUP_FREE = json_print(r->results, true);
        puts(text);
    }
    if (r->summary)
        sum_up(r);
    return 0;
}

/* A site of a glob whose root is not there: the daemon may know that it was, and says so. */
static int look_for_missing(struct resync_run *r, const struct config *c, struct err *err)
{
    const char *name = r->asked->operands[0];
    const struct config_site *block;
    char *root CLEANUP_FREE = NULL;
    bool possible = config_find_root(c, name, c->self, &block, &root) == 0;
    int done = possible && !r->asked->verify ? resync_by_daemon(r, c, err) : 0;
    return done ? done : config_unknown_site(c, name, err);
}

/* 0: what was named is to be had here. */
static int check_names(struct resync_run *r, const struct config *c, struct err *err)
{
    const struct resync_options *o = r->asked;
    if (o->operand_count == 0)
        return 0;
    const struct config_site *s = config_site(c, o->operands[0]);
    if (!s)
        return look_for_missing(r, c, err);
    struct role role;
    if (role_of(c, s, o->state_dir ? o->state_dir : c->state_dir, &role, err) < 0)
        return -1;
    if (!role.here)
        return err_set(err, role.fenced ? ERR_REFUSED : ERR_USAGE,
            "%s is not the primary of site %s: that is %s", c->self, s->name, role.primary);
    for (int i = 1; i < o->operand_count; i++)
        if (!config_site_has_host(s, o->operands[i]) || strcmp(o->operands[i], c->self) == 0)
            return err_set(
                err, ERR_USAGE, "%s is not a secondary of site %s", o->operands[i], s->name);
    return 0;
}

int resync_sites(struct resync_run *r, struct err *err)
{
    struct config *c;
    if (config_load(r->asked->config, r->asked->as, &c, err) < 0)
        return -1;
    int result = c->self ? check_names(r, c, err) : config_no_self(c, err);
    if (result == 0 && !r->asked->verify)
        result = resync_by_daemon(r, c, err);
    if (result == 0)
        result = work_through(r, c, err);
    config_free(c);
    return result < 0 ? -1 : 0;
}
