/*
 * `mirrord flush`: waits until all that happened on this host before is on the secondaries.
 * Operands are turned into a site and paths beneath its root; the waiting itself is the daemon's.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/control_client.h"
#include "command/options.h"
#include "command/status/status_text.h"

enum { GRACE_MS = 10000 }; /* the daemon's own limit ends first */

struct request {
    const char *config, *as, *control;
    unsigned timeout; /* seconds */
    bool all;
    bool hook;
    bool quiet;
    char **operands; /* [SITE [PATH…]] */
    int operand_count;
};

/* The site whose root on this host holds the path. */
static const struct config_site *site_of_path(const struct config *c, const char *path)
{
    for (size_t i = 0; c->self && i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        if (config_site_has_host(s, c->self) && io_path_beneath(path, config_root_at(s, c->self)))
            return s;
    }
    return NULL;
}

/* Relative to the root, or absolute and beneath it. */
static int add_path(struct json *paths, const char *root, const char *operand, struct err *err)
{
    char *clean CLEANUP_FREE = operand[0] == '/' ? config_clean_path(operand) : NULL;
    const char *path = operand;
    if (operand[0] == '/') {
        path = clean && root ? io_path_beneath(clean, root) : NULL;
        if (!path)
            return err_set(err, ERR_USAGE, "%s is not beneath the root of that site", operand);
    }
    json_append_text(paths, path);
    if (strcmp(json_text_at(paths, json_count(paths) - 1), path) != 0)
        return err_set(err, ERR_USAGE, "%s is not UTF-8: flush the whole site instead",
            QUOTED(operand, strlen(operand)));
    return 0;
}

/* SITE [PATH…], or PATH… with the first one absolute, which says which site is meant. */
static int add_operands(
    const struct request *r, const struct config *c, struct json *request, struct err *err)
{
    const char *first = r->operands[0];
    char *clean CLEANUP_FREE = first[0] == '/' ? config_clean_path(first) : NULL;
    const struct config_site *s = NULL;
    if (first[0] == '/') {
        s = clean && c ? site_of_path(c, clean) : NULL;
        if (!s)
            return err_set(err, ERR_USAGE, "%s is in no site of this host", first);
    } else if (c) {
        s = config_site(c, first);
    }
    json_set_text(request, "site", s ? s->name : first);
    struct json *paths = json_array();
    json_set_json(request, "paths", paths);
    for (int i = first[0] == '/' ? 0 : 1; i < r->operand_count; i++)
        if (add_path(paths, s && c->self ? config_root_at(s, c->self) : NULL, r->operands[i], err))
            return -1;
    return 0;
}

/* The configuration is needed for absolute paths only: it says which root they are beneath. */
static int load_if_needed(const struct request *r, struct config **c, struct err *err)
{
    for (int i = 0; i < r->operand_count; i++)
        if (r->operands[i][0] == '/')
            return config_load(r->config ? r->config : CONFIG_DEFAULT_PATH, r->as, c, err);
    return 0;
}

static int make_request(const struct request *r, struct json *request, struct err *err)
{
    struct config *c = NULL;
    json_set_text(request, "do", "flush");
    json_set_number(request, "timeout_ms", r->timeout * 1000.0);
    json_set_bool(request, "all", r->all);
    json_set_bool(request, "hook", r->hook);
    int rc = load_if_needed(r, &c, err);
    if (rc == 0 && r->operand_count > 0)
        rc = add_operands(r, c, request, err);
    config_free(c);
    return rc;
}

static void print_waiting(const struct json *waiting)
{
    for (size_t i = 0; i < json_count(waiting); i++) {
        const struct json *w = json_at(waiting, i);
        const char *peer = json_get_text(w, "peer", ""), *site = json_get_text(w, "site", ""),
                   *path = json_get_text(w, "path", "");
        printf("%s%s%s%s%s%s%s\n", PLAIN(peer), *peer && *site ? ": " : "", PLAIN(site),
            *path && (*peer || *site) ? ": " : "", PLAIN(path), *peer || *site || *path ? ": " : "",
            PLAIN(json_get_text(w, "why", "not level")));
    }
}

/* The exit code. Secondaries that are away are named also when those that are there are level. */
static int report(const struct request *r, const struct json *reply)
{
    bool level = json_get_bool(reply, "level", false);
    if (!r->quiet)
        print_waiting(json_get(reply, "waiting"));
    return level ? 0 : ERR_BEHIND;
}

static int flush(const struct request *r, struct json **reply, struct err *err)
{
    char *path CLEANUP_FREE = NULL;
    struct json *request = json_object();
    uint64_t limit = r->timeout * UINT64_C(1000) + GRACE_MS;
    int rc = make_request(r, request, err);
    if (rc == 0)
        rc = config_control_path(r->control, r->config, &path, err);
    if (rc == 0)
        rc = control_client_ask(path, request, limit < UINT_MAX ? (unsigned)limit : 0, reply, err);
    json_free(request);
    return rc;
}

int command_flush(int argc, char **argv)
{
    struct request r = {.timeout = 60};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        OPTION_CONTROL(&r.control),
        {'t', "timeout", OPTION_NUMBER, &r.timeout, "SECONDS", "wait at most so long (default 60)"},
        {'a', "all", OPTION_FLAG, &r.all, NULL, "wait for secondaries that are away, too"},
        {0, "hook", OPTION_FLAG, &r.hook, NULL, "wait for their on-commit commands, too"},
        {'q', "quiet", OPTION_FLAG, &r.quiet, NULL, "only the exit code"},
        {0},
    };
    const struct options o = {"[--timeout SECONDS] [--all] [--hook] [SITE [PATH…]]",
        "Waits until all that happened on this host before is on the secondaries.", specs, -1};
    struct err err = {0};
    struct json *reply = NULL;
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    r.operands = argv + first;
    r.operand_count = argc - first;
    if (flush(&r, &reply, &err))
        return options_report(argv[0], &err);
    int code = report(&r, reply);
    json_free(reply);
    return code;
}
