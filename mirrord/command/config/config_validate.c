/* The rules between the parts of a configuration, after all files are read; see config_impl.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "command/config/config_impl.h"
#include "command/nearest.h"

static int fail(const struct config_site *s, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct config_site *s, struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(err, ERR_USAGE, "%s:%u: %s %s: %s", s->file, s->line,
        strchr(s->root, '*') ? "sites" : "site", s->name, text);
}

static int unknown_host(
    const struct config *c, const struct config_site *s, const char *name, struct err *err)
{
    const char **names CLEANUP_FREE = mem_array(c->host_count + 1, sizeof *names);
    for (size_t i = 0; i < c->host_count; i++)
        names[i] = c->hosts[i].name;
    const char *meant = nearest_word(name, names);
    if (meant)
        return fail(s, err, "there is no host %s: did you mean %s?", name, meant);
    return fail(s, err, "there is no host %s: add  host %s { address = … }", name, name);
}

static int check_hosts(const struct config *c, const struct config_site *s, struct err *err)
{
    for (char **h = s->hosts; *h; h++) {
        if (!config_host(c, *h))
            return unknown_host(c, s, *h, err);
        for (char **other = s->hosts; other < h; other++)
            if (strcmp(*h, *other) == 0)
                return fail(s, err, "hosts names %s twice", *h);
    }
    if (!config_site_has_host(s, s->primary))
        return fail(s, err, "its primary %s is not among its hosts", s->primary);
    for (size_t i = 0; i < s->at_count; i++)
        if (!config_site_has_host(s, s->at[i].host))
            return fail(s, err, "at %s: that host is not among its hosts", s->at[i].host);
    return 0;
}

/* One '*', which names the site, and no other wildcard: so the same name means the same site on
 * every host. */
static int check_pattern(const struct config_site *s, const char *root, struct err *err)
{
    const char *star = strchr(root, '*');
    if (!star || strpbrk(root, "?[") || strchr(star + 1, '*'))
        return fail(s, err, "%s: a pattern of sites has exactly one '*' and no '?' or '['", root);
    return 0;
}

int config_validate_site(
    const struct config *c, const struct config_site *s, bool glob, struct err *err)
{
    if (check_hosts(c, s, err))
        return -1;
    for (char **h = s->hosts; glob && *h; h++)
        if (check_pattern(s, config_root_at(s, *h), err))
            return -1;
    return 0;
}

struct place { /* a site's root on one host */
    const struct config_site *site;
    const char *host, *root;
};

/* Slashes sort before everything, so that what lies beneath a root follows it at once. */
static int compare_roots(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    int x = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
    int y = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
    return x - y;
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int hosts = strcmp(x->host, y->host);
    return hosts ? hosts : compare_roots(x->root, y->root);
}

static bool overlap(const struct place *outer, const struct place *inner)
{
    return strcmp(outer->host, inner->host) == 0 && io_path_beneath(inner->root, outer->root);
}

static int check_overlaps(const struct config *c, struct err *err)
{
    size_t n = 0, count = 0;
    for (size_t i = 0; i < c->site_count; i++)
        for (char **h = c->sites[i].hosts; *h; h++)
            count++;
    struct place *places CLEANUP_FREE = mem_array(count, sizeof *places);
    for (size_t i = 0; i < c->site_count; i++)
        for (char **h = c->sites[i].hosts; *h; h++)
            places[n++] = (struct place){&c->sites[i], *h, config_root_at(&c->sites[i], *h)};
    qsort(places, n, sizeof *places, compare_places);
    for (size_t i = 1; i < n; i++) {
        const struct place *a = &places[i - 1], *b = &places[i];
        if (overlap(a, b))
            return fail(b->site, err, "its root %s on %s overlaps %s of site %s (%s:%u)", b->root,
                b->host, a->root, a->site->name, a->site->file, a->site->line);
    }
    return 0;
}

static int check_names(const struct config *c, struct err *err)
{
    struct set *names = set_new();
    int rc = 0;
    for (size_t i = 0; i < c->site_count && rc == 0; i++) {
        struct config_site *s = &c->sites[i];
        struct set_item *item = set_add(names, s->name, strlen(s->name));
        const struct config_site *first = item->value;
        if (first)
            rc = fail(s, err, "%s has the same name as %s (%s:%u)", s->root, first->root,
                first->file, first->line);
        item->value = s;
    }
    set_free(names);
    return rc;
}

int config_validate_all(const struct config *c, struct err *err)
{
    if (check_names(c, err))
        return -1;
    return check_overlaps(c, err);
}
