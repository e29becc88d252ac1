/* The part of `mirrord check` that says which preset fits a site; see check_report.h. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
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

/* ---- where core or content are elsewhere than the preset has them ---- */

static const struct preset *wordpress(void)
{
    return preset_find("wordpress", NULL);
}

/* What the preset says of a place, as this layout has it; false: that is where it is. */
static bool move_place(const struct layout *l, const char *text, char **out)
{
    static const char content[] = "wp-content";
    size_t slash = text[0] == '/', n = strlen(content);
    *out = NULL;
    if (l->content[0] && strncmp(text + slash, content, n) == 0 && text[slash + n] == '/')
        *out = mem_format("%s%s", QUOTED(l->content, strlen(l->content)), text + slash + n);
    else if (l->core[0] && strcmp(text + slash, ".maintenance") == 0)
        *out = mem_format("%s/.maintenance", QUOTED(l->core, strlen(l->core)));
    else if (l->core[0] && strncmp(text, "wp-admin", strlen("wp-admin")) == 0)
        *out = mem_format("%s", QUOTED(l->core, strlen(l->core)));
    return *out != NULL;
}

/* One line of the configuration: key = {"…", "…"}, all of them or only what moved. */
struct list {
    const struct layout *layout;
    const char *key;
    unsigned count;
};

static void add_to_list(struct list *list, const char *text, bool always)
{
    char *moved CLEANUP_FREE = NULL;
    if (!move_place(list->layout, text, &moved) && !always)
        return;
    if (list->count++ == 0)
        printf("    %-7s = {", list->key);
    printf("%s\"%s\"", list->count > 1 ? ", " : "", moved ? moved : text);
}

static void end_list(const struct list *list)
{
    if (list->count)
        puts("}");
}

/* Units and brackets replace the preset's, so all are said. */
static void print_units(const struct layout *l)
{
    struct unit_rules *r = unit_rules_new();
    struct list units = {l, "unit", 0}, brackets = {l, "bracket", 0};
    const char *text;
    preset_add_units(wordpress(), r);
    preset_add_brackets(wordpress(), r);
    for (size_t i = 0; (text = unit_rules_unit(r, i)); i++)
        add_to_list(&units, text, true);
    end_list(&units);
    for (size_t i = 0; (text = unit_rules_bracket(r, i)); i++)
        add_to_list(&brackets, text, true);
    end_list(&brackets);
    unit_rules_free(r);
}

/* Exclusions stand beside the preset's, so only what moved is said. */
static void print_excludes(const struct config_site *s, const struct layout *l)
{
    struct filter *f = filter_new();
    struct list excludes = {l, "exclude", 0};
    preset_add_excludes(wordpress(), s->local_maintenance ? 0 : PRESET_MAINTENANCE, f, NULL);
    for (size_t i = 0; i < filter_count(f); i++) {
        struct msg_rule rule;
        filter_rule(f, i, &rule);
        char *text CLEANUP_FREE = mem_copy_bytes(rule.pattern.data, rule.pattern.len);
        add_to_list(&excludes, text, false);
    }
    end_list(&excludes);
    filter_free(f);
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
    if (moved) {
        print_units(&l);
        print_excludes(s, &l);
    }
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
