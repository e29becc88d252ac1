/* `mirrord trash`: what was set aside or is kept on this host, listed or put back. Reads this
 * host's disk and asks nobody. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/options.h"
#include "secondary/trash/trash.h"

struct listing {
    const char *site;
    struct json *items; /* NULL: as text */
    unsigned count;
};

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "link" : S_ISREG(mode) ? "file" : "other";
}

static void print_item(void *ctx, const struct trash_item *i)
{
    struct listing *l = ctx;
    char when[32] = "?";
    const char *origin = i->own ? "own" : "foreign";
    struct tm tm;
    time_t at = (time_t)i->since;
    l->count++;
    if (l->items) {
        struct json *j = json_object();
        json_set_text(j, "site", l->site);
        json_set_text(j, "id", i->id);
        json_set_text(j, "origin", origin);
        json_set_number(j, "since", (double)i->since);
        json_set_number(j, "until", (double)i->until);
        json_set_name(j, "path", (const char *)i->path.data, i->path.len);
        json_set_text(j, "kind", kind_of(i->mode));
        json_set_number(j, "size", (double)i->size);
        json_set_name(j, "content", i->content, strlen(i->content));
        json_append_json(l->items, j);
        return;
    }
    if (localtime_r(&at, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s  %s  %-7s  %-9s %12llu  %s: %s\n", i->id, when, origin, kind_of(i->mode),
        (unsigned long long)i->size, l->site, QUOTED(i->path.data, i->path.len));
}

static int list_site(const struct config_site *s, const struct config *c, const char *state_dir,
    struct listing *l, struct err *err)
{
    struct trash *t;
    const char *root = config_root_at(s, c->self);
    if (access(root, F_OK) != 0)
        return 0;
    if (trash_open(state_dir, root, &t, err) < 0)
        return err_prefix(err, "%s", s->name);
    l->site = s->name;
    int r = t ? trash_list(t, print_item, l, err) : 0;
    trash_close(t);
    return r;
}

static int list(
    const struct config *c, const char *state_dir, const char *site, bool json, struct err *err)
{
    struct listing l = {.items = json ? json_array() : NULL};
    int r = 0;
    for (size_t i = 0; i < c->site_count && r == 0; i++)
        if (config_site_has_host(&c->sites[i], c->self) &&
            (!site || strcmp(site, c->sites[i].name) == 0))
            r = list_site(&c->sites[i], c, state_dir, &l, err);
    if (json) {
        char *text CLEANUP_FREE = json_print(l.items, true);
        puts(text);
    } else if (r == 0 && l.count == 0) {
        puts("nothing was set aside");
    }
    json_free(l.items);
    return r;
}

static int restore(
    const struct config *c, const char *state_dir, char **operands, int count, struct err *err)
{
    struct trash *t;
    const struct config_site *s = config_site(c, operands[0]);
    if (count > 2 && operands[2][0] != '/')
        return err_set(err, ERR_USAGE, "%s is not an absolute path", operands[2]);
    if (trash_open(state_dir, config_root_at(s, c->self), &t, err) < 0)
        return -1;
    int r = t ? trash_restore(t, operands[1], count > 2 ? operands[2] : NULL, err)
              : err_set(err, ERR_USAGE, "nothing was set aside for %s", operands[0]);
    trash_close(t);
    return r;
}

static int act(const struct config *c, const char *state_dir, char **operands, int count, bool json,
    struct err *err)
{
    if (!c->self)
        return config_no_self(c, err);
    if (count > 1 && !config_site(c, operands[1]))
        return config_unknown_site(c, operands[1], err);
    if (count > 0 && count < 3 && strcmp(operands[0], "list") == 0)
        return list(c, state_dir, count > 1 ? operands[1] : NULL, json, err);
    if ((count == 3 || count == 4) && strcmp(operands[0], "restore") == 0)
        return restore(c, state_dir, operands + 1, count - 1, err);
    return err_set(err, ERR_USAGE,
        "say what: mirrord trash list [SITE], or mirrord trash restore SITE NAME [PATH]");
}

int command_trash(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL;
    bool json = false;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        {0, "json", OPTION_FLAG, &json, NULL, "a JSON array", NULL},
        {0},
    };
    const struct options o = {"list [SITE] | restore SITE ID [PATH]",
        "What was set aside, or is kept for a while, on this host instead of being destroyed.",
        specs, 4};
    struct err err = {0};
    struct config *c = NULL;
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    if (config_load(config, as, &c, &err) == 0)
        act(c, state_dir ? state_dir : c->state_dir, argv + first, argc - first, json, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
