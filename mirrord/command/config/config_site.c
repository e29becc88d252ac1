/*
 * A site, or a block of them, from its block in a file: what every key means and its default. What
 * `defaults` says comes first, what the site says itself next, what its preset says last.
 */
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "command/config/config_impl.h"
#include "protocol/msg.h"

#define MIN_FREE_MAX 90 /* percent */

static int take_patterns(
    const struct config_block *b, const char *key, bool include, struct filter *f, struct err *err)
{
    const struct config_value *v = config_value(b, key);
    for (size_t i = 0; v && i < v->count; i++) {
        struct err why;
        if (filter_add(f, include, bytes_of(v->texts[i]), &why))
            return config_fail_at(b, key, err, "%s", why.text);
    }
    return 0;
}

/* Adds the rules of another filter. */
static int take_filter(const struct filter *from, struct filter *to, struct err *err)
{
    struct msg_rule rule;
    for (size_t i = 0; i < filter_count(from); i++) {
        filter_rule(from, i, &rule);
        if (filter_add(to, rule.include, rule.pattern, err))
            return -1;
    }
    return 0;
}

static int take_preset(const struct config_block *b, struct config_site *s, struct err *err)
{
    struct err why;
    char *name CLEANUP_FREE = NULL;
    if (config_take_text(b, "preset", &name, err))
        return -1;
    const struct preset *found = name ? preset_find(name, &why) : s->preset;
    if (!found)
        return config_fail_at(b, "preset", err, "%s", why.text);
    s->preset = found;
    return 0;
}

/* A key with two values, the second of which sets it. */
static int take_choice(const struct config_block *b, const char *key, const char *no,
    const char *yes, bool *out, struct err *err)
{
    const char *const words[] = {no, yes, NULL};
    unsigned at = *out;
    if (config_take_word(b, key, words, &at, err))
        return -1;
    *out = at == 1;
    return 0;
}

/* A list of units or brackets, which replaces the one before it; {none} has none. */
static int take_list(const struct config_block *b, const char *key, struct unit_rules *r,
    int (*add)(struct unit_rules *, const char *, struct err *), struct err *err)
{
    const struct config_value *v = config_value(b, key);
    bool none = v && v->count == 1 && strcmp(v->texts[0], "none") == 0;
    for (size_t i = 0; v && !none && i < v->count; i++) {
        struct err why;
        if (add(r, v->texts[i], &why))
            return config_fail_at(b, key, err, "%s", why.text);
    }
    return 0;
}

static int take_units(const struct config_block *b, struct config_site *s, struct err *err)
{
    unsigned settle = unit_rules_settle(s->units), most = unit_rules_settle_max(s->units);
    if (config_value(b, "unit")) {
        unit_rules_clear(s->units);
        s->units_said = true;
    }
    if (config_value(b, "bracket")) {
        unit_rules_clear_brackets(s->units);
        s->brackets_said = true;
    }
    if (take_list(b, "unit", s->units, unit_rules_add, err) ||
        take_list(b, "bracket", s->units, unit_rules_add_bracket, err) ||
        config_take_duration(b, "settle", &settle, err) ||
        config_take_duration(b, "settle-max", &most, err))
        return -1;
    unit_rules_set_times(s->units, settle, most);
    return 0;
}

/* "5%" or "10G"; "0": nothing is kept free. */
static int take_min_free(const struct config_block *b, struct config_site *s, struct err *err)
{
    const struct config_value *v = config_value(b, "min-free");
    struct space_rule rule = {0};
    bool percent = v && strchr(v->texts[0], '%');
    if (!v)
        return 0;
    if (percent ? config_take_percent(b, "min-free", &rule.percent, err)
                : config_take_size(b, "min-free", &rule.bytes, err))
        return -1;
    if (rule.percent > MIN_FREE_MAX)
        return config_fail_at(b, "min-free", err, "more than %d%% is never free", MIN_FREE_MAX);
    s->min_free = rule;
    return 0;
}

/* What a load balancer is told of it on a secondary. */
static int take_health(const struct config_block *b, struct config_site *s, struct err *err)
{
    const struct config_value *v = config_value(b, "health-orphaned");
    struct err why;
    if (config_take_duration(b, "health-max-lag", &s->health_lag_ms, err))
        return -1;
    if (config_value(b, "health-max-lag") && s->health_lag_ms < 1000)
        return config_fail_at(b, "health-max-lag", err, "is less than a second");
    if (v && config_parse_orphaned(v->texts[0], &s->health_orphaned_ms, &why))
        return config_fail_at(b, "health-orphaned", err, "%s", why.text);
    return 0;
}

/* The settings that `defaults` and sites share; what is not set stays, patterns are added. */
static int take_settings(const struct config_block *b, struct config_site *s, struct err *err)
{
    if (take_preset(b, s, err) ||
        take_choice(b, "wp-config", "mirror", "local", &s->local_config, err) ||
        take_choice(b, "maintenance", "mirror", "local", &s->local_maintenance, err) ||
        config_take_bool(b, "owner", &s->owner, err) ||
        config_take_bool(b, "special-bits", &s->special_bits, err) ||
        take_choice(b, "fsync", "checkpoint", "batch", &s->fsync_batch, err) ||
        take_choice(b, "drift", "heal", "report", &s->drift_report, err) ||
        take_min_free(b, s, err) ||
        config_take_percent(b, "max-delete", &s->max_delete_percent, err) ||
        config_take_number(b, "max-delete-count", 0, UINT_MAX, &s->max_delete_count, err) ||
        config_take_size(b, "max-size", &s->max_size, err) ||
        config_take_number(b, "keep-deleted", 0, MSG_KEEP_DAYS_MAX, &s->keep_days, err) ||
        config_take_number(b, "unit-grace", 0, MSG_UNIT_GRACE_MAX, &s->unit_grace, err) ||
        config_take_hook(b, &s->hook, err) || take_health(b, s, err) ||
        config_take_text(b, "socket-user", &s->socket_user, err) || take_units(b, s, err) ||
        take_patterns(b, "exclude", false, s->filter, err) ||
        take_patterns(b, "include", true, s->filter, err))
        return -1;
    return 0;
}

/* "yes", "no", or who is to own everything there: "user" or "user:group". */
static int take_owner(const struct config_block *b, struct config_at *at, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    bool yes = false;
    if (config_take_text(b, "owner", &text, err) || !text)
        return text || !config_value(b, "owner") ? 0 : -1;
    if (config_is_bool(text)) {
        if (config_take_bool(b, "owner", &yes, err))
            return -1;
        at->owner = yes ? OWNER_YES : OWNER_NO;
        return 0;
    }
    char *colon = strchr(text, ':');
    size_t user = colon ? (size_t)(colon - text) : strlen(text);
    if (user == 0 || (colon && (!colon[1] || strchr(colon + 1, ':'))))
        return config_fail_at(
            b, "owner", err, "'%s' is none of yes, no, USER and USER:GROUP", text);
    at->owner = OWNER_FIXED;
    at->user = mem_copy_bytes(text, user);
    at->group = colon ? mem_copy_string(colon + 1) : NULL;
    return 0;
}

static int take_excludes_at(const struct config_block *b, struct config_at *at, struct err *err)
{
    if (!config_value(b, "exclude"))
        return 0;
    at->exclude = filter_new();
    return take_patterns(b, "exclude", false, at->exclude, err);
}

static int read_at(const struct config_block *b, struct config_site *s, struct err *err)
{
    s->at = mem_array(b->block_count, sizeof *s->at);
    for (size_t i = 0; i < b->block_count; i++) {
        const struct config_block *from = &b->blocks[i];
        struct config_at *at = &s->at[s->at_count++];
        at->file = mem_copy_string(from->file);
        at->line = from->line;
        if (config_take_title(from, &at->host, err) ||
            config_take_root(from, "root", &at->root, err) || take_owner(from, at, err) ||
            take_excludes_at(from, at, err) || config_take_hook(from, &at->hook, err))
            return -1;
    }
    return 0;
}

/* What is not mirrored on this host is not mirrored from it either, should it be the primary. For a
 * secondary, as many again travel with the site's. */
static int apply_excludes_at(
    const struct config_block *b, struct config_site *s, const char *self, struct err *err)
{
    size_t most = 0;
    const struct filter *own = self ? config_exclude_at(s, self) : NULL;
    if (own && take_filter(own, s->filter, err))
        return config_fail_at(b, "exclude", err, "more than %d patterns", MSG_RULES_MAX);
    for (size_t i = 0; i < s->at_count; i++)
        if (s->at[i].exclude && filter_count(s->at[i].exclude) > most)
            most = filter_count(s->at[i].exclude);
    return filter_count(s->filter) + most <= MSG_RULES_MAX
               ? 0
               : config_fail_at(b, "exclude", err, "more than %d patterns, with those of a host",
                     MSG_RULES_MAX);
}

static int read_site_hosts(const struct config_block *b, struct config_site *s, struct err *err)
{
    const struct config_value *v = config_value(b, "hosts");
    s->hosts = mem_array((v ? v->count : 0) + 1, sizeof *s->hosts);
    for (size_t i = 0; v && i < v->count; i++)
        s->hosts[i] = mem_copy_string(v->texts[i]);
    return v ? 0 : config_fail_at(b, "", err, "it has no hosts: say hosts = {web1, web2}");
}

static void set_site_defaults(const struct config_block *b, struct config_site *s)
{
    s->file = mem_copy_string(b->file);
    s->line = b->line;
    s->preset = preset_find("none", NULL);
    s->local_maintenance = true;
    s->filter = filter_new();
    s->units = unit_rules_new();
    s->owner = true;
    s->max_delete_percent = 20;
    s->max_delete_count = 200;
    s->unit_grace = CONFIG_UNIT_GRACE;
    s->health_lag_ms = CONFIG_LAG_MS;
    s->health_orphaned_ms = CONFIG_HEALTH_NEVER;
    s->max_size = CONFIG_NOT_SAID;
    s->min_free.percent = SPACE_PERCENT;
}

/* What the site did not say itself. */
static int apply_preset(const struct config_block *b, struct config_site *s, struct err *err)
{
    struct err why;
    unsigned choices = (s->local_maintenance ? 0 : PRESET_MAINTENANCE) |
                       (s->local_config ? PRESET_LOCAL_CONFIG : 0);
    if (s->max_size == CONFIG_NOT_SAID)
        s->max_size = preset_max_size(s->preset);
    if (!s->units_said)
        preset_add_units(s->preset, s->units);
    if (!s->brackets_said)
        preset_add_brackets(s->preset, s->units);
    if (preset_add_excludes(s->preset, choices, s->filter, &why))
        return config_fail_at(b, "exclude", err, "%s", why.text);
    return 0;
}

int config_read_site(const struct config_block *b, const struct config_block *defaults,
    const char *root_key, const char *self, struct config_site *s, struct err *err)
{
    set_site_defaults(b, s);
    if (read_site_hosts(b, s, err) || config_take_title(b, &s->name, err) ||
        (defaults && take_settings(defaults, s, err)) || take_settings(b, s, err) ||
        config_take_root(b, root_key, &s->root, err) ||
        config_take_text(b, "primary", &s->primary, err) || read_at(b, s, err))
        return -1;
    if (!s->root)
        return config_fail_at(b, "", err, "it has no %s", root_key);
    if (!s->primary)
        return config_fail_at(b, "", err, "it has no primary: say which host is written to");
    return apply_preset(b, s, err) || apply_excludes_at(b, s, self, err) ? -1 : 0;
}
