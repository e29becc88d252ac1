/*
 * A configuration from the blocks of its files: what every key means and its default. The syntax is
 * config_file.c's, single values are config_value.c's, the rules between hosts and sites are
 * config_validate.c's.
 */
#include "command/config/config.h"

#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "command/config/config_impl.h"
#include "command/words.h"
#include "primary/daemon/site_names.h"
#include "protocol/msg.h"
#include "tree/state/state.h"

#define NOT_SAID     UINT64_MAX
#define RESCAN_MAX   (7 * 24 * 3600)
#define MIN_FREE_MAX 90 /* percent */

/* Split here once, so that everybody who starts it may rely on there being a command. */
static int check_command(const struct config_block *b, const struct config_host *h, struct err *err)
{
    char **words = words_split(h->remote_command);
    bool good = words && words[0];
    words_free(words);
    return good ? 0
                : config_fail_at(b, "remote-command", err,
                      "'%s' is no command, or a quote is not closed", h->remote_command);
}

static int read_host(const struct config_block *b, struct config_host *h, struct err *err)
{
    static const char *const transports[] = {"auto", "libssh2", "openssh", "child", NULL};
    static const char *const compressions[] = {"auto", "none", "zstd", NULL};
    unsigned transport = TRANSPORT_AUTO, compress = COMPRESS_AUTO;
    h->file = mem_copy_string(b->file);
    h->line = b->line;
    h->remote_command = mem_copy_string("mirrord");
    h->keepalive = CONFIG_KEEPALIVE;
    if (config_take_title(b, &h->name, err) || config_take_text(b, "address", &h->address, err) ||
        config_take_text(b, "user", &h->user, err) ||
        config_take_number(b, "port", 1, 65535, &h->port, err) ||
        config_take_path(b, "identity", &h->identity, err) ||
        config_take_path(b, "known-hosts", &h->known_hosts, err) ||
        config_take_text(b, "remote-command", &h->remote_command, err) ||
        config_take_word(b, "transport", transports, &transport, err) ||
        config_take_word(b, "compress", compressions, &compress, err) ||
        config_take_size(b, "bwlimit", &h->bwlimit, err) ||
        config_take_number(b, "keepalive", 1, CONFIG_KEEPALIVE, &h->keepalive, err) ||
        check_command(b, h, err))
        return -1;
    h->transport = (enum conn_transport)transport;
    h->compress = (enum config_compress)compress;
    if (!h->address)
        h->address = mem_copy_string(h->name);
    return 0;
}

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

/* A key with the values mirror and local. */
static int take_local(const struct config_block *b, const char *key, bool *local, struct err *err)
{
    static const char *const words[] = {"mirror", "local", NULL};
    unsigned at = *local;
    if (config_take_word(b, key, words, &at, err))
        return -1;
    *local = at == 1;
    return 0;
}

static int take_fsync(const struct config_block *b, struct config_site *s, struct err *err)
{
    static const char *const words[] = {"checkpoint", "batch", NULL};
    unsigned at = s->fsync_batch;
    if (config_take_word(b, "fsync", words, &at, err))
        return -1;
    s->fsync_batch = at == 1;
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

static int take_drift(const struct config_block *b, struct config_site *s, struct err *err)
{
    static const char *const words[] = {"heal", "report", NULL};
    unsigned at = s->drift_report;
    if (config_take_word(b, "drift", words, &at, err))
        return -1;
    s->drift_report = at == 1;
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
    if (take_preset(b, s, err) || take_local(b, "wp-config", &s->local_config, err) ||
        take_local(b, "maintenance", &s->local_maintenance, err) ||
        config_take_bool(b, "owner", &s->owner, err) ||
        config_take_bool(b, "special-bits", &s->special_bits, err) || take_fsync(b, s, err) ||
        take_drift(b, s, err) || take_min_free(b, s, err) ||
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
    s->max_size = NOT_SAID;
    s->min_free.percent = SPACE_PERCENT;
}

/* What the site did not say itself. */
static int apply_preset(const struct config_block *b, struct config_site *s, struct err *err)
{
    struct err why;
    unsigned choices = (s->local_maintenance ? 0 : PRESET_MAINTENANCE) |
                       (s->local_config ? PRESET_LOCAL_CONFIG : 0);
    if (s->max_size == NOT_SAID)
        s->max_size = preset_max_size(s->preset);
    if (!s->units_said)
        preset_add_units(s->preset, s->units);
    if (!s->brackets_said)
        preset_add_brackets(s->preset, s->units);
    if (preset_add_excludes(s->preset, choices, s->filter, &why))
        return config_fail_at(b, "exclude", err, "%s", why.text);
    return 0;
}

/* A site, or with root_key "glob" a block of them. *s is filled as far as it went, for freeing. */
static int read_site(const struct config_block *b, const struct config_block *defaults,
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

/* The collector reads what is named so, and nothing else. */
static int take_metrics(struct config *c, const struct config_block *file, struct err *err)
{
    size_t n = c->metrics ? strlen(c->metrics) : 0;
    if (c->metrics && (n < 6 || strcmp(c->metrics + n - 5, ".prom") != 0))
        return config_fail_at(file, "metrics", err, "'%s' does not end in .prom", c->metrics);
    if (c->metrics_ms && config_value(file, "metrics-interval"))
        return config_fail_at(file, "metrics-interval", err, "is set in another file already");
    if (config_take_duration(file, "metrics-interval", &c->metrics_ms, err))
        return -1;
    if (config_value(file, "metrics-interval") && c->metrics_ms < 1000)
        return config_fail_at(file, "metrics-interval", err, "is less than a second");
    return 0;
}

static int take_site_sockets(struct config *c, const struct config_block *file, struct err *err)
{
    const struct config_value *v = config_value(file, "site-sockets");
    if (!v)
        return 0;
    if (c->site_sockets || c->no_site_sockets)
        return config_fail_at(file, "site-sockets", err, "is set in another file already");
    c->no_site_sockets = strcmp(v->texts[0], "none") == 0;
    if (c->no_site_sockets)
        return 0;
    if (config_take_path(file, "site-sockets", &c->site_sockets, err))
        return -1;
    if (strlen(c->site_sockets) > SITE_SOCKETS_DIR_MAX)
        return config_fail_at(file, "site-sockets", err,
            "has more than %d bytes: with a name behind it, it is longer than a socket's path can "
            "be",
            SITE_SOCKETS_DIR_MAX);
    return 0;
}

static int read_globals(struct config *c, const struct config_block *file, struct err *err)
{
    struct {
        const char *key;
        char **to;
    } globals[] = {{"state-dir", &c->state_dir}, {"control", &c->control},
        {"identity", &c->identity}, {"known-hosts", &c->known_hosts}, {"metrics", &c->metrics}};
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (*globals[i].to && config_value(file, globals[i].key))
            return config_fail_at(file, globals[i].key, err, "is set in another file already");
        if (config_take_path(file, globals[i].key, globals[i].to, err))
            return -1;
    }
    if (c->rescan && config_value(file, "rescan"))
        return config_fail_at(file, "rescan", err, "is set in another file already");
    if (config_take_number(file, "rescan", 1, RESCAN_MAX, &c->rescan, err))
        return -1;
    if (c->scan_rate != NOT_SAID && config_value(file, "scan-rate"))
        return config_fail_at(file, "scan-rate", err, "is set in another file already");
    if (config_take_size(file, "scan-rate", &c->scan_rate, err))
        return -1;
    if (take_metrics(c, file, err))
        return -1;
    if (c->control && strlen(c->control) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return config_fail_at(file, "control", err, "is longer than a socket's path can be");
    return take_site_sockets(c, file, err);
}

static int add_host(struct config *c, const struct config_block *b, struct err *err)
{
    const struct config_host *first = config_host(c, b->title);
    if (first)
        return config_fail_at(
            b, "", err, "is there twice (first at %s:%u)", first->file, first->line);
    c->hosts = mem_resize(c->hosts, c->host_count + 1, sizeof *c->hosts);
    c->hosts[c->host_count] = (struct config_host){0};
    return read_host(b, &c->hosts[c->host_count++], err);
}

static int read_hosts(struct config *c, const struct config_block *file, struct err *err)
{
    for (size_t i = 0; i < file->block_count; i++)
        if (strcmp(file->blocks[i].kind, "host") == 0 && add_host(c, &file->blocks[i], err))
            return -1;
    return 0;
}

static int find_defaults(
    const struct config_block *files, const struct config_block **out, struct err *err)
{
    for (size_t i = 0; i < files->block_count; i++) {
        const struct config_block *file = &files->blocks[i];
        for (size_t j = 0; j < file->block_count; j++) {
            const struct config_block *b = &file->blocks[j];
            if (strcmp(b->kind, "defaults") != 0)
                continue;
            if (*out)
                return config_fail_at(
                    b, "", err, "is there twice (first at %s:%u)", (*out)->file, (*out)->line);
            *out = b;
        }
    }
    return 0;
}

static int read_sites(struct config *c, const struct config_block *file,
    const struct config_block *defaults, struct err *err)
{
    for (size_t i = 0; i < file->block_count; i++) {
        const struct config_block *b = &file->blocks[i];
        bool glob = strcmp(b->kind, "sites") == 0;
        if (!glob && strcmp(b->kind, "site") != 0)
            continue;
        struct config_site **list = glob ? &c->globs : &c->sites;
        size_t *count = glob ? &c->glob_count : &c->site_count;
        config_add_site(list, count, &(struct config_site){0});
        struct config_site *s = &(*list)[*count - 1];
        if (read_site(b, defaults, glob ? "glob" : "root", c->self, s, err) ||
            config_validate_site(c, s, glob, err))
            return -1;
    }
    return 0;
}

/* --as, else the host name, in full and then its first label. */
static int find_self(struct config *c, const char *as, struct err *err)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (as && !config_host(c, as))
        return err_set(err, ERR_USAGE, "--as %s: there is no such host in %s", as, c->path);
    gethostname(name, sizeof name - 1);
    const struct config_host *h = config_host(c, as ? as : name);
    if (!h) {
        name[strcspn(name, ".")] = '\0';
        h = config_host(c, name);
    }
    c->self = h ? mem_copy_string(h->name) : NULL;
    return 0;
}

static void set_defaults(struct config *c)
{
    if (!c->state_dir)
        c->state_dir = state_default_dir();
    if (!c->control)
        c->control = config_default_control(c->state_dir);
    if (c->scan_rate == NOT_SAID)
        c->scan_rate = CONFIG_SCAN_RATE;
    if (!c->metrics_ms)
        c->metrics_ms = CONFIG_METRICS_MS;
}

static int build(
    struct config *c, const struct config_block *files, const char *as, struct err *err)
{
    const struct config_block *defaults = NULL;
    for (size_t i = 0; i < files->block_count; i++)
        if (read_globals(c, &files->blocks[i], err) || read_hosts(c, &files->blocks[i], err))
            return -1;
    if (find_self(c, as, err) || find_defaults(files, &defaults, err))
        return -1;
    for (size_t i = 0; i < files->block_count; i++)
        if (read_sites(c, &files->blocks[i], defaults, err))
            return -1;
    set_defaults(c);
    return config_expand(c, err) || config_validate_all(c, err) ? -1 : 0;
}

static char *absolute(const char *path)
{
    if (path[0] == '/')
        return mem_copy_string(path);
    char *cwd CLEANUP_FREE = getcwd(NULL, 0);
    return mem_format("%s/%s", cwd ? cwd : "", path);
}

int config_load(const char *path, const char *as, struct config **out, struct err *err)
{
    struct config *c = mem_alloc(sizeof *c);
    c->scan_rate = NOT_SAID;
    struct config_block *files = NULL;
    struct timespec began;
    c->path = absolute(path);
    clock_gettime(CLOCK_REALTIME, &began);
    int rc = config_file_read(c->path, &files, err);
    if (rc == 0) {
        config_note_files(c, files, &began);
        rc = build(c, files, as, err);
    }
    config_file_free(files);
    if (rc) {
        config_free(c);
        return -1;
    }
    *out = c;
    return 0;
}
