/* `sites`: one site for each directory that matches; see config_impl.h. */
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/config/config_impl.h"
#include "protocol/msg.h"

void config_add_site(struct config_site **list, size_t *count, const struct config_site *s)
{
    *list = mem_resize(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = *s;
}

/* A path with the pattern's '*' replaced by the name. */
static char *with_name(const char *pattern, const char *name)
{
    size_t before = strcspn(pattern, "*");
    return mem_format("%.*s%s%s", (int)before, pattern, name, pattern + before + 1);
}

static char **copy_hosts(char *const *hosts)
{
    size_t n = 0;
    while (hosts[n])
        n++;
    char **copy = mem_array(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_copy_string(hosts[i]);
    return copy;
}

static struct config_site instance(const struct config_site *block, const char *name)
{
    struct config_site s = *block;
    s.block = block;
    s.name = mem_copy_string(name);
    s.root = with_name(block->root, name);
    s.hosts = copy_hosts(block->hosts);
    s.primary = mem_copy_string(block->primary);
    s.socket_user = mem_copy_string(block->socket_user);
    s.at = mem_array(block->at_count, sizeof *s.at);
    for (size_t i = 0; i < block->at_count; i++) {
        const struct config_at *at = &block->at[i];
        s.at[i] = (struct config_at){
            .host = mem_copy_string(at->host),
            .root = at->root ? with_name(at->root, name) : NULL,
            .owner = at->owner,
            .user = mem_copy_string(at->user),
            .group = mem_copy_string(at->group),
            .exclude = at->exclude ? filter_copy(at->exclude) : NULL,
            .file = mem_copy_string(at->file),
            .line = at->line,
            .hook = config_hook_copy(&at->hook),
        };
    }
    s.hook = config_hook_copy(&block->hook);
    s.filter = filter_copy(block->filter);
    s.units = unit_rules_copy(block->units);
    s.file = mem_copy_string(block->file);
    return s;
}

/* What the '*' matched in this path; NULL where that cannot be a site's name. */
static char *name_in(const char *path, const char *pattern)
{
    size_t before = strcspn(pattern, "*"), after = strlen(pattern) - before - 1;
    size_t len = strlen(path) - before - after;
    if (len == 0 || len > MSG_SITE_NAME_MAX)
        return NULL;
    char *name = mem_copy_bytes(path + before, len);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f || *p == ':' || *p == '*') {
            free(name);
            return NULL;
        }
    return name;
}

static void add_match(struct config *c, const struct config_site *block, const char *path)
{
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return; /* a file beside the sites; a link to a directory is refused later, with advice */
    char *name CLEANUP_FREE = name_in(path, config_root_at(block, c->self));
    if (!name) {
        log_warn("%s:%u: sites %s: %s is left out: its name cannot name a site", block->file,
            block->line, block->name, QUOTED(path, strlen(path)));
        return;
    }
    struct config_site s = instance(block, name);
    config_add_site(&c->sites, &c->site_count, &s);
}

static int expand_block(struct config *c, const struct config_site *block, struct err *err)
{
    glob_t found;
    int rc = glob(config_root_at(block, c->self), GLOB_NOESCAPE, NULL, &found);
    if (rc == GLOB_NOMATCH) {
        globfree(&found);
        return 0;
    }
    if (rc)
        return err_set(err, ERR_FAILED, "%s:%u: sites %s: the directories cannot be listed",
            block->file, block->line, block->name);
    for (size_t i = 0; i < found.gl_pathc; i++)
        add_match(c, block, found.gl_pathv[i]);
    globfree(&found);
    return 0;
}

int config_expand(struct config *c, struct err *err)
{
    for (size_t i = 0; c->self && i < c->glob_count; i++)
        if (config_site_has_host(&c->globs[i], c->self) && expand_block(c, &c->globs[i], err))
            return -1;
    return 0;
}

static void free_expanded(struct config_site *sites, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (sites[i].block)
            config_free_site(&sites[i]);
    free(sites);
}

int config_expand_again(struct config *c, struct err *err)
{
    struct config_site *before = c->sites;
    size_t count = c->site_count;
    c->sites = NULL;
    c->site_count = 0;
    for (size_t i = 0; i < count; i++)
        if (!before[i].block)
            config_add_site(&c->sites, &c->site_count, &before[i]);
    if (config_expand(c, err) == 0 && config_validate_all(c, err) == 0) {
        free_expanded(before, count);
        return 0;
    }
    free_expanded(c->sites, c->site_count);
    c->sites = before;
    c->site_count = count;
    return -1;
}

void config_add_gone(struct config *c, const struct config_site *block, const char *name,
    enum config_presence presence, int64_t since)
{
    struct config_site s = instance(block, name);
    s.presence = presence;
    s.gone_since = since;
    config_add_site(&c->sites, &c->site_count, &s);
}
