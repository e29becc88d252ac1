/* Looking things up in a loaded configuration, sizes, and freeing; see config.h. */
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/config/config_impl.h"

enum { DURATION_MAX_MS = 7 * 24 * 3600 * 1000 };

const struct config_host *config_host(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->host_count; i++)
        if (strcmp(c->hosts[i].name, name) == 0)
            return &c->hosts[i];
    return NULL;
}

const struct config_site *config_site(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (strcmp(c->sites[i].name, name) == 0)
            return &c->sites[i];
    return NULL;
}

const struct config_at *config_at(const struct config_site *s, const char *host)
{
    for (size_t i = 0; i < s->at_count; i++)
        if (strcmp(s->at[i].host, host) == 0)
            return &s->at[i];
    return NULL;
}

const char *config_root_at(const struct config_site *s, const char *host)
{
    const struct config_at *at = config_at(s, host);
    return at && at->root ? at->root : s->root;
}

const struct filter *config_exclude_at(const struct config_site *s, const char *host)
{
    const struct config_at *at = config_at(s, host);
    return at ? at->exclude : NULL;
}

bool config_site_has_host(const struct config_site *s, const char *host)
{
    for (char **h = s->hosts; *h; h++)
        if (strcmp(*h, host) == 0)
            return true;
    return false;
}

/* What a shell's * would match in one component of a path, and a site may be called. */
static bool name_matches(const char *name)
{
    return *name && *name != '.' && !strpbrk(name, "/:*");
}

int config_find_root(const struct config *c, const char *name, const char *host,
    const struct config_site **site, char **root)
{
    const struct config_site *s = config_site(c, name);
    if (s) {
        *site = s;
        *root = mem_copy_string(config_root_at(s, host));
        return 0;
    }
    for (size_t i = 0; name_matches(name) && i < c->glob_count; i++) {
        s = &c->globs[i];
        if (!config_site_has_host(s, host))
            continue;
        const char *pattern = config_root_at(s, host);
        size_t before = strcspn(pattern, "*");
        *site = s;
        *root = mem_format("%.*s%s%s", (int)before, pattern, name, pattern + before + 1);
        return 0;
    }
    return 1;
}

int config_no_self(const struct config *c, struct err *err)
{
    enum { NAMED_MAX = 5 };
    char name[HOST_NAME_MAX + 1] = "";
    char *hosts = mem_copy_string("");
    gethostname(name, sizeof name - 1);
    for (size_t i = 0; i < c->host_count && i < NAMED_MAX; i++) {
        char *more = mem_format(
            "%s%s%s", hosts, i ? ", " : "", QUOTED(c->hosts[i].name, strlen(c->hosts[i].name)));
        free(hosts);
        hosts = more;
    }
    err_set(err, ERR_USAGE,
        "%s does not have this host, which is called %s; it has %s%s: correct the name there, or "
        "say "
        "--as HOST",
        c->path, QUOTED(name, strlen(name)), hosts[0] ? hosts : "none",
        c->host_count > NAMED_MAX ? ", …" : "");
    free(hosts);
    return -1;
}

int config_unknown_site(const struct config *c, const char *name, struct err *err)
{
    const struct config_site *s;
    char *root CLEANUP_FREE = NULL;
    if (!c->self || config_find_root(c, name, c->self, &s, &root) != 0)
        return err_set(
            err, ERR_USAGE, "there is no site %s in %s", QUOTED(name, strlen(name)), c->path);
    return err_set(err, ERR_USAGE,
        "there is no site %s in %s: its root as one of %s (%s:%u) would be %s, which is not there; "
        "see mirrord status",
        name, c->path, s->name, s->file, s->line, root);
}

int config_parse_size(const char *text, uint64_t *out, struct err *err)
{
    static const char units[] = "KMGT";
    char *end;
    double v = text[0] >= '0' && text[0] <= '9' ? strtod(text, &end) : -1;
    if (v < 0 || strpbrk(text, "xXpPeE"))
        return err_set(err, ERR_USAGE, "'%s' is not a size such as 500K, 20M or 1.5G", text);
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        v *= ldexp(1, 10 * (int)(unit - units + 1));
        end++;
    }
    if (*end || v >= 9e18)
        return err_set(err, ERR_USAGE, "'%s' is not a size such as 500K, 20M or 1.5G", text);
    *out = (uint64_t)v;
    return 0;
}

int config_parse_duration(const char *text, unsigned *out_ms, struct err *err)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}};
    char *end = NULL;
    bool number = text[0] >= '0' && text[0] <= '9' && !strpbrk(text, "xXpPeE");
    double v = number ? strtod(text, &end) : -1;
    for (size_t i = 0; v >= 0 && i < sizeof units / sizeof *units; i++) {
        double ms = v * units[i].ms;
        if (strcmp(end, units[i].name) != 0 || ms > DURATION_MAX_MS)
            continue;
        *out_ms = (unsigned)ms;
        return 0;
    }
    return err_set(err, ERR_USAGE, "'%s' is not a time such as 100ms, 1.5s or 10m", text);
}

int config_parse_orphaned(const char *text, unsigned *out_ms, struct err *err)
{
    struct err ignored;
    if (strcmp(text, "up") == 0)
        *out_ms = CONFIG_HEALTH_NEVER;
    else if (strcmp(text, "down") == 0)
        *out_ms = 0;
    else if (config_parse_duration(text, out_ms, &ignored))
        return err_set(err, ERR_USAGE, "'%s' is none of up, down, and a time such as 10m", text);
    return 0;
}

static void free_host(struct config_host *h)
{
    free(h->name);
    free(h->address);
    free(h->user);
    free(h->identity);
    free(h->known_hosts);
    free(h->remote_command);
    free(h->file);
}

void config_free_site(struct config_site *s)
{
    free(s->name);
    free(s->root);
    for (char **h = s->hosts; h && *h; h++)
        free(*h);
    free(s->hosts);
    free(s->primary);
    free(s->socket_user);
    for (size_t i = 0; i < s->at_count; i++) {
        free(s->at[i].host);
        free(s->at[i].root);
        free(s->at[i].user);
        free(s->at[i].group);
        filter_free(s->at[i].exclude);
        free(s->at[i].file);
        config_hook_free(&s->at[i].hook);
    }
    free(s->at);
    config_hook_free(&s->hook);
    filter_free(s->filter);
    unit_rules_free(s->units);
    free(s->file);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->host_count; i++)
        free_host(&c->hosts[i]);
    for (size_t i = 0; i < c->site_count; i++)
        config_free_site(&c->sites[i]);
    for (size_t i = 0; i < c->glob_count; i++)
        config_free_site(&c->globs[i]);
    config_free_sources(c);
    free(c->hosts);
    free(c->sites);
    free(c->globs);
    free(c->path);
    free(c->state_dir);
    free(c->control);
    free(c->metrics);
    free(c->site_sockets);
    free(c->identity);
    free(c->known_hosts);
    free(c->self);
    free(c);
}
