/* Counting sites that are equal, differ, or could not be compared; see resync_summary.h. */
#include "command/resync/resync_summary.h"

#include <string.h>

#include "base/mem.h"

enum { NAMES_MAX = 20 }; /* more are only counted */

enum found { FOUND_EQUAL, FOUND_DIFFERENT, FOUND_NOTHING, FOUND_KINDS };

struct resync_summary {
    size_t sites;
    size_t counts[FOUND_KINDS]; /* of sites, the one at work left out */
    char *names[FOUND_KINDS];   /* of them, with commas */
    char *site;                 /* at work */
    enum found found;           /* the worst of its mirrors so far */
};

struct resync_summary *resync_summary_new(void)
{
    return mem_alloc(sizeof(struct resync_summary));
}

void resync_summary_free(struct resync_summary *s)
{
    if (!s)
        return;
    for (int i = 0; i < FOUND_KINDS; i++)
        free(s->names[i]);
    free(s->site);
    free(s);
}

static char *with_name(char *names, const char *name)
{
    char *longer = names ? mem_format("%s, %s", names, name) : mem_copy_string(name);
    free(names);
    return longer;
}

static void end_site(struct resync_summary *s)
{
    if (!s->site)
        return;
    if (s->counts[s->found]++ < NAMES_MAX)
        s->names[s->found] = with_name(s->names[s->found], s->site);
    free(TAKE_PTR(s->site));
}

bool resync_summary_note(struct resync_summary *s, const char *site,
    const struct resync_result *out, const struct err *err)
{
    enum found found = err->code && err->code != ERR_PARTIAL ? FOUND_NOTHING
                       : out->items || err->code             ? FOUND_DIFFERENT
                                                             : FOUND_EQUAL;
    if (!s->site || strcmp(s->site, site) != 0) {
        end_site(s);
        s->sites++;
        s->site = mem_copy_string(site);
        s->found = FOUND_EQUAL;
    }
    if (found > s->found)
        s->found = found;
    return found == FOUND_EQUAL;
}

/* The site at work counts, too. */
static size_t count(const struct resync_summary *s, enum found kind)
{
    return s->counts[kind] + (s->site && s->found == kind);
}

static char *names(const struct resync_summary *s, enum found kind)
{
    size_t n = count(s, kind);
    bool last = s->site && s->found == kind && s->counts[kind] < NAMES_MAX;
    char *all = s->names[kind] ? mem_copy_string(s->names[kind]) : NULL;
    if (last)
        all = with_name(all, s->site);
    if (n <= NAMES_MAX)
        return all;
    char *cut = mem_format("%s and %zu more", all, n - NAMES_MAX);
    free(all);
    return cut;
}

static char *part(
    const struct resync_summary *s, enum found kind, const char *one, const char *many)
{
    size_t n = count(s, kind);
    char *which CLEANUP_FREE = n ? names(s, kind) : NULL;
    return n ? mem_format("; %zu %s: %s", n, n == 1 ? one : many, which) : mem_copy_string("");
}

char *resync_summary_line(const struct resync_summary *s, bool by_content)
{
    if (s->sites == 0)
        return mem_copy_string("this host is the primary of no site: there is nothing to compare");
    char *differ CLEANUP_FREE = part(s, FOUND_DIFFERENT, "differs", "differ");
    char *rest CLEANUP_FREE =
        part(s, FOUND_NOTHING, "could not be compared", "could not be compared");
    return mem_format("%zu of %zu site%s equal by %s%s%s", count(s, FOUND_EQUAL), s->sites,
        s->sites == 1 ? "" : "s", by_content ? "content" : "size and time", differ, rest);
}

int resync_summary_verdict(const struct resync_summary *s, struct err *err)
{
    size_t n = count(s, FOUND_DIFFERENT);
    return n ? err_set(err, ERR_BEHIND, "%zu site%s", n, n == 1 ? " differs" : "s differ") : 0;
}
