/* `mirrord resync SRC [USER@]HOST:DEST`; see resync_forms.h. */
#include <string.h>

#include "base/mem.h"
#include "command/resync/resync_forms.h"
#include "command/words.h"
#include "tree/preset.h"

enum { MAX_DELETE_PERCENT = 20, MAX_DELETE_COUNT = 200 };

/* Splits [USER@]HOST:DEST; HOST may be an IPv6 address in brackets. Pieces are the caller's. */
static int split_operand(const char *text, char **user, char **host, char **dest, struct err *err)
{
    const char *at = strchr(text, '@');
    const char *slash = strchr(text, '/');
    if (at && slash && slash < at)
        at = NULL;
    const char *start = at ? at + 1 : text;
    const char *end = start[0] == '[' ? strchr(start, ']') : strchr(start, ':');
    const char *colon = end && start[0] == '[' ? end + 1 : end;
    if (!end || colon[0] != ':' || end == start || !colon[1])
        return err_set(err, ERR_USAGE, "'%s' is not [USER@]HOST:DEST", text);
    for (const char *p = colon + 1; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || !p[2]))
            return err_set(err, ERR_USAGE, "%s: DEST is written without '..'", colon + 1);
    *user = at ? mem_copy_bytes(text, (size_t)(at - text)) : NULL;
    start += start[0] == '[';
    *host = mem_copy_bytes(start, (size_t)(end - start));
    *dest = mem_copy_string(colon + 1);
    return 0;
}

static char **remote_argv(const struct resync_options *o, const char *dest, struct err *err)
{
    char **argv = words_split(o->remote_command ? o->remote_command : "mirrord");
    if (!argv || !argv[0]) {
        words_free(argv);
        err_set(err, ERR_USAGE, "--remote-command: a quote is not closed, or there is no word");
        return NULL;
    }
    const char *const rest[] = {"receive", "--root", dest, NULL};
    return words_append(argv, rest);
}

int resync_once(struct resync_run *r, struct err *err)
{
    const struct resync_options *o = r->asked;
    char *user CLEANUP_FREE = NULL, *host CLEANUP_FREE = NULL, *dest CLEANUP_FREE = NULL;
    const struct preset *preset = preset_find(o->preset ? o->preset : "none", err);
    if (!preset || preset_add_excludes(preset, 0, o->filter, err) < 0)
        return -1;
    if (split_operand(o->operands[1], &user, &host, &dest, err) < 0)
        return -1;
    char **argv = remote_argv(o, dest, err);
    if (!argv || resync_run_begin(r, o->state_dir, err) < 0) {
        words_free(argv);
        return -1;
    }
    struct site_options site = resync_run_site(r, o->filter);
    struct unit_rules *units = unit_rules_new();
    preset_add_units(preset, units);
    site.units = units;
    site.root = o->operands[0];
    if (o->max_delete_percent == RESYNC_NOT_SAID) {
        site.max_delete_percent = MAX_DELETE_PERCENT;
        site.max_delete_count = MAX_DELETE_COUNT;
    }
    const struct resync_target target = {.name = host,
        .place = dest,
        .link = {.transport = o->transport,
            .host = host,
            .user = user,
            .port = o->port,
            .identity = o->identity,
            .known_hosts = o->known_hosts,
            .argv = argv},
        .remote_root =
            dest[0] == '/' ? dest : NULL, /* a relative one is the far end's to resolve */
        .compress = o->compress,
        .bwlimit = o->bwlimit,
        .keepalive_ms = CONFIG_KEEPALIVE * 1000};
    resync_run_job(r, "", &site, &target, NULL);
    unit_rules_free(units);
    words_free(argv);
    return 0;
}
