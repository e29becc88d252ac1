/* The presets; see preset.h. */
#include "tree/preset.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define BACKUP_SIZE (UINT64_C(2) << 30) /* files over it are backups */

struct preset {
    const char *name;
    const char *const *excludes;
    const char *const *maintenance;  /* left out unless PRESET_MAINTENANCE */
    const char *const *local_config; /* left out if PRESET_LOCAL_CONFIG */
    const char *const *units, *const *brackets;
    uint64_t max_size;
};

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NOTHING   ((const char *const[]){NULL})

/* What is transient in a content directory, and what plugins write on every server themselves. */
#define OF_CONTENT(dir)                                                                            \
    dir "/upgrade/", dir "/upgrade-temp-backup/", dir "/cache/", dir "/debug.log", dir "/wflogs/", \
        dir "/uploads/wc-logs/", dir "/ai1wm-backups/", dir "/updraft/", dir "/backups-dup-*/",    \
        dir "/backwpup*/", dir "/wpvividbackups/", dir "/*.tmp", dir "/et-cache/",                 \
        dir "/litespeed/", dir "/w3tc-config/", dir "/uploads/elementor/css/"

/* At any depth: of PHP, version control, NFS and editors. */
#define ANYWHERE "**/error_log", ".git/", ".nfs*", "*~", ".*.sw[a-z]", "#*#", ".#*"

static const struct preset presets[] = {
    {
        .name = "none",
        .excludes = NOTHING,
        .maintenance = NOTHING,
        .local_config = NOTHING,
        .units = NOTHING,
        .brackets = NOTHING,
    },
    {
        .name = "wordpress",
        .excludes = LIST(OF_CONTENT("wp-content"), ANYWHERE),
        .maintenance = LIST("/.maintenance"),
        .local_config = LIST("/wp-config.php"),
        .units = LIST("wp-content/plugins/*", "wp-content/themes/*", "wp-content/languages",
            "wp-admin + wp-includes + *.php"),
        .brackets = LIST(".maintenance", "wp-content/upgrade/", ".git/index.lock"),
        .max_size = BACKUP_SIZE,
    },
    {
        /* roots.io: core and plugins by Composer, the content directory beside them */
        .name = "bedrock",
        .excludes = LIST(OF_CONTENT("web/app"), ANYWHERE),
        .maintenance = LIST("web/wp/.maintenance"),
        .local_config = LIST("/.env", "/.env.local"),
        .units = LIST("web/app/plugins/*", "web/app/themes/*", "web/app/mu-plugins/*",
            "web/app/languages", "web/wp", "vendor"),
        .brackets = LIST("web/wp/.maintenance", "web/app/upgrade/", ".git/index.lock"),
        .max_size = BACKUP_SIZE,
    },
    {
        /* Capistrano, Deployer and their like: releases/N, shared, and a link to one of them */
        .name = "releases",
        .excludes = LIST(
            "/repo/", "/.dep/", OF_CONTENT("**/wp-content"), OF_CONTENT("**/web/app"), ANYWHERE),
        .maintenance = LIST("releases/*/.maintenance", "releases/*/web/wp/.maintenance"),
        .local_config = LIST("shared/wp-config.php", "shared/.env", "shared/.env.local"),
        .units = LIST("releases/*"),
        .brackets = LIST(".dep/deploy.lock"),
        .max_size = BACKUP_SIZE,
    },
};

enum { PRESETS = sizeof presets / sizeof *presets };

const struct preset *preset_at(unsigned i)
{
    return i < PRESETS ? &presets[i] : NULL;
}

const char *preset_name(const struct preset *p)
{
    return p->name;
}

const struct preset *preset_find(const char *name, struct err *err)
{
    for (size_t i = 0; i < PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    err_set(err, ERR_USAGE,
        "there is no preset \"%s\" (there are none, wordpress, bedrock and releases)",
        QUOTED(name, strlen(name)));
    return NULL;
}

int preset_add_excludes(const struct preset *p, unsigned choices, struct filter *f, struct err *err)
{
    const char *const *lists[] = {p->excludes, choices & PRESET_MAINTENANCE ? NULL : p->maintenance,
        choices & PRESET_LOCAL_CONFIG ? p->local_config : NULL};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i] && filter_prepend(f, lists[i], err) < 0)
            return -1;
    return 0;
}

/* The tables are right: a test adds them all. */
static void must(int result, const struct err *err)
{
    if (result == 0)
        return;
    log_error("%s", err->text);
    abort();
}

void preset_add_units(const struct preset *p, struct unit_rules *r)
{
    struct err err;
    for (const char *const *text = p->units; *text; text++)
        must(unit_rules_add(r, *text, &err), &err);
}

void preset_add_brackets(const struct preset *p, struct unit_rules *r)
{
    struct err err;
    for (const char *const *text = p->brackets; *text; text++)
        must(unit_rules_add_bracket(r, *text, &err), &err);
}

uint64_t preset_max_size(const struct preset *p)
{
    return p->max_size;
}
