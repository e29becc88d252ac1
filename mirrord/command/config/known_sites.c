/* The list of sites that were there, and its file; see known_sites.h. */
#include "command/config/known_sites.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"

#define KNOWN_FILE "sites"

enum { FILE_MAX = 64 << 20 };

struct known {
    int64_t gone_since;   /* 0: it was there at the last look, or all of its glob were missing */
    int64_t missed_since; /* it is among those; not kept */
    uint64_t seen;        /* the look that it was there at */
};

/* Keys are NAME TAB PATTERN. */
struct known_sites {
    const char *dir;
    struct set *all;
    uint64_t looks;
    bool changed; /* since it was written */
};

/* --- the file: GONE-SINCE TAB NAME TAB PATTERN, a line each --- */

static void take_line(struct known_sites *k, const char *line)
{
    int64_t since;
    int end = 0;
    if (sscanf(line, "%" SCNd64 "%n", &since, &end) != 1 || line[end++] != '\t' ||
        !strchr(line + end, '\t')) {
        log_warn("the list of known sites has a line that is damaged, which is left out: %s",
            QUOTED(line, strlen(line)));
        return;
    }
    struct set_item *item = set_add(k->all, line + end, strlen(line + end));
    if (!item->value)
        item->value = mem_alloc(sizeof(struct known));
    *(struct known *)item->value = (struct known){.gone_since = since};
}

static int load(struct known_sites *k, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/%s", k->dir, KNOWN_FILE);
    char *text CLEANUP_FREE = NULL, *rest;
    int r = io_slurp(AT_FDCWD, path, FILE_MAX, &text, NULL, err);
    if (r != 0)
        return r == 1 ? 0 : -1;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        take_line(k, line);
    return 0;
}

static int save(struct known_sites *k, struct err *err)
{
    struct buf text = {0};
    int dir CLEANUP_FD = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno, "open %s", k->dir);
    for (const struct set_item *i = set_first(k->all); i; i = i->next) {
        const struct known *known = i->value;
        char *line CLEANUP_FREE = mem_format("%" PRId64 "\t%s\n", known->gone_since, i->key);
        if (!memchr(i->key, '\n', i->len))
            buf_append(&text, line, strlen(line));
    }
    int r = io_publish(dir, KNOWN_FILE, buf_bytes(&text), buf_len(&text), err);
    buf_free(&text);
    k->changed = k->changed && r < 0;
    return r < 0 ? err_prefix(err, "%s", k->dir) : 0;
}

/* --- the list --- */

int known_sites_open(const char *state_dir, struct known_sites **out, struct err *err)
{
    struct known_sites *k = mem_alloc(sizeof *k);
    *k = (struct known_sites){.dir = state_dir, .all = set_new()};
    if (load(k, err) < 0) {
        known_sites_free(k);
        return -1;
    }
    *out = k;
    return 0;
}

static void drop(struct known_sites *k, struct set_item *item)
{
    free(item->value);
    set_remove(k->all, item);
    k->changed = true;
}

void known_sites_free(struct known_sites *k)
{
    if (!k)
        return;
    while (set_first(k->all))
        drop(k, set_first(k->all));
    set_free(k->all);
    free(k);
}

static char *key_of(const char *name, const struct config_site *block, const char *host)
{
    return mem_format("%s\t%s", name, config_root_at(block, host));
}

/* The block with this pattern here; NULL: there is none any more. */
static const struct config_site *block_of(const struct config *c, const char *pattern)
{
    for (size_t i = 0; i < c->glob_count; i++)
        if (config_site_has_host(&c->globs[i], c->self) &&
            strcmp(config_root_at(&c->globs[i], c->self), pattern) == 0)
            return &c->globs[i];
    return NULL;
}

static void note_present(struct known_sites *k, const struct config *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        if (!s->block || s->presence != SITE_THERE)
            continue;
        char *key CLEANUP_FREE = key_of(s->name, s->block, c->self);
        struct set_item *item = set_add(k->all, key, strlen(key));
        struct known *known = item->value;
        k->changed |= !known || known->gone_since;
        if (!known)
            item->value = known = mem_alloc(sizeof *known);
        *known = (struct known){.seen = k->looks};
    }
}

/* Is there anything of this block? */
static bool has_matches(const struct config *c, const struct config_site *block)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (c->sites[i].block == block && c->sites[i].presence == SITE_THERE)
            return true;
    return false;
}

static void add_missing(struct known_sites *k, struct config *c, struct known *known,
    const char *name, const struct config_site *block, int64_t now)
{
    bool all = !known->gone_since && !has_matches(c, block);
    if (all) {
        known->missed_since = known->missed_since ? known->missed_since : now;
        config_add_gone(c, block, name, SITE_ALL_GONE, known->missed_since);
        return;
    }
    k->changed |= !known->gone_since;
    if (!known->gone_since)
        known->gone_since = known->missed_since ? known->missed_since : now;
    config_add_gone(c, block, name, SITE_GONE, known->gone_since);
}

int known_sites_apply(struct known_sites *k, struct config *c, int64_t now, struct err *err)
{
    struct set_item *item, *next;
    if (!c->self)
        return 0;
    k->looks++;
    note_present(k, c);
    for (item = set_first(k->all); item; item = next) {
        next = item->next;
        struct known *known = item->value;
        const char *tab = strchr(item->key, '\t');
        char *name CLEANUP_FREE = mem_copy_bytes(item->key, (size_t)(tab - item->key));
        const struct config_site *block = block_of(c, tab + 1);
        if (!block || (known->seen != k->looks && config_site(c, name)))
            drop(k, item);
        else if (known->seen != k->looks)
            add_missing(k, c, known, name, block, now);
    }
    return k->changed ? save(k, err) : 0;
}

int known_sites_forget(
    struct known_sites *k, const struct config_site *s, const char *host, struct err *err)
{
    char *key CLEANUP_FREE = key_of(s->name, s->block, host);
    struct set_item *item = set_find(k->all, key, strlen(key));
    if (!item)
        return 0;
    struct known *copy = mem_alloc(sizeof *copy);
    *copy = *(struct known *)item->value;
    drop(k, item);
    if (save(k, err) == 0) {
        free(copy);
        return 0;
    }
    set_add(k->all, key, strlen(key))->value = copy;
    return -1;
}
