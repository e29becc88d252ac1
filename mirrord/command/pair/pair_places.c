/*
 * The directories that sites are in: a secondary makes the root of a site, but not what a volume
 * may have to be mounted on. Where it is missing on a host, that is said, and made after a person's
 * yes.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_impl.h"

static int ask(
    struct pair_end *end, const char *what, const char *path, struct json **answer, struct err *err)
{
    struct json *request = json_object();
    json_set_text(request, "do", what);
    json_set_text(request, "path", path);
    return pair_end_ask(end, request, answer, err);
}

/* A mirrord that does not understand the question is an older one: nothing is known then. */
static bool is_missing(struct pair_end *end, const char *path)
{
    struct json *answer;
    struct err ignored;
    if (ask(end, "missing", path, &answer, &ignored))
        return false;
    bool missing = json_get_bool(answer, "missing", false);
    json_free(answer);
    return missing;
}

static bool is_listed(const struct pair_places *l, const struct pair_end *end, const char *path)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->places[i].end == end && strcmp(l->places[i].path, path) == 0)
            return true;
    return false;
}

/* Above the root of a site, or above what the '*' of a glob stands for. */
static void look(struct pair_places *l, const struct pair_member *m, const struct config_site *s)
{
    if (!m->end || !config_site_has_host(s, m->host->name) ||
        strcmp(s->primary, m->host->name) == 0)
        return;
    char *path CLEANUP_FREE = mem_copy_string(config_root_at(s, m->host->name));
    path[strcspn(path, "*")] = '\0';
    char *slash = strrchr(path, '/');
    slash[slash == path] = '\0';
    if (is_listed(l, m->end, path) || !is_missing(m->end, path))
        return;
    l->places = mem_resize(l->places, l->count + 1, sizeof *l->places);
    l->places[l->count++] = (struct pair_place){m->end, TAKE_PTR(path)};
}

void pair_places_find(const struct pairing *p, struct pair_places *out)
{
    const struct config *c = p->config;
    for (size_t m = 0; m < p->count; m++) {
        for (size_t i = 0; i < c->glob_count; i++)
            look(out, &p->members[m], &c->globs[i]);
        for (size_t i = 0; i < c->site_count; i++)
            if (!c->sites[i].block)
                look(out, &p->members[m], &c->sites[i]);
    }
    for (size_t i = 0; i < out->count; i++)
        printf(
            "%s: %s, where sites are to be, is missing (or its volume is not mounted): is made\n",
            pair_end_name(out->places[i].end), out->places[i].path);
}

int pair_places_make(const struct pair_places *l, struct err *err)
{
    for (size_t i = 0; i < l->count; i++) {
        struct json *answer;
        if (ask(l->places[i].end, "make-directory", l->places[i].path, &answer, err))
            return -1;
        json_free(answer);
    }
    return 0;
}

void pair_places_free(struct pair_places *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->places[i].path);
    free(l->places);
    *l = (struct pair_places){0};
}
