/* The part of `mirrord check` that says which preset fits a site; see check_report.h. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "command/check/check_report.h"
#include "command/config/layout.h"

struct tally {
    unsigned sites, multisites;
};

static void print_kind(const struct config_site *s, const struct layout *l)
{
    printf("%s: %s%s%s", s->name, strcmp(l->preset, "releases") == 0 ? "releases" : "WordPress",
        l->version[0] ? " " : "", l->version);
    if (strcmp(l->preset, "bedrock") == 0)
        printf(" laid out by Bedrock");
    if (l->multisite)
        printf(", multisite");
}

/* A core or content directory that the preset does not know, as the lines that name it. */
static void print_places(const struct layout *l)
{
    const char *core =
        l->core[0] ? QUOTED(l->core, strlen(l->core)) : "wp-admin + wp-includes + *.php";
    const char *c = l->content[0] ? QUOTED(l->content, strlen(l->content)) : "wp-content";
    printf("    unit    = {\"%s/plugins/*\", \"%s/themes/*\", \"%s/languages\", \"%s\"}\n", c, c, c,
        core);
    printf("    bracket = {\"%s%s.maintenance\", \"%s/upgrade/\"}\n", l->core[0] ? core : "",
        l->core[0] ? "/" : "", c);
    if (l->content[0])
        printf("    exclude = {\"%s/upgrade/\", \"%s/upgrade-temp-backup/\", \"%s/cache/\", "
               "\"%s/debug.log\"}\n",
            c, c, c, c);
}

static void report_layout(const struct config_site *s, const char *root, struct tally *t)
{
    struct layout l;
    layout_recognise(root, &l);
    if (!l.preset)
        return;
    t->sites++;
    t->multisites += l.multisite;
    bool fits = strcmp(l.preset, preset_name(s->preset)) == 0;
    bool moved = (l.core[0] || l.content[0]) && !s->units_said;
    if (fits && !moved && !l.within)
        return;
    print_kind(s, &l);
    if (l.within) {
        printf("; its root is the project's web directory: name the project's own, so that vendor "
               "comes along, and say\n    preset = bedrock\n");
        return;
    }
    printf(fits ? "; say also\n" : ", but preset = %s (%s:%u); say there, or in defaults,\n",
        preset_name(s->preset), s->file, s->line);
    if (!fits)
        printf("    preset  = %s\n", l.preset);
    if (moved)
        print_places(&l);
}

void check_report_layouts(struct check_report *r)
{
    const struct config *c = r->config;
    struct tally t = {0};
    for (size_t i = 0; c->self && i < c->site_count; i++)
        if (strcmp(c->sites[i].primary, c->self) == 0)
            report_layout(&c->sites[i], config_root_at(&c->sites[i], c->self), &t);
    if (t.sites)
        printf("WordPress in %u site%s, %u of them multisite\n", t.sites, t.sites == 1 ? "" : "s",
            t.multisites);
}
