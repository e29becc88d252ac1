/* `mirrord pause` and `mirrord resume`: ask the daemon to hold back what it would send, and to go
 * on.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/control_client.h"
#include "command/options.h"

enum { TIMEOUT_MS = 30000 };

struct request {
    const char *config, *control, *duration, *reason;
    int verbosity;
    unsigned for_ms; /* 0: until it is resumed */
};

static int ask(const struct request *r, const char *what, const char *name, struct json **reply,
    struct err *err)
{
    char *path CLEANUP_FREE = NULL;
    if (config_control_path(r->control, r->config, &path, err))
        return -1;
    struct json *request = json_object();
    json_set_text(request, "do", what);
    json_set_text(request, "name", name);
    json_set_number(request, "for_s", (r->for_ms + 999) / 1000);
    json_set_text(request, "reason", r->reason ? r->reason : "");
    int rc = control_client_ask(path, request, TIMEOUT_MS, reply, err);
    json_free(request);
    return rc;
}

static void report(
    const struct request *r, const char *what, const char *name, const struct json *reply)
{
    bool pause = strcmp(what, "pause") == 0;
    bool host = strcmp(json_get_text(reply, "kind", ""), "host") == 0;
    char *plain CLEANUP_FREE = mem_copy_bytes(name, strcspn(name, ":"));
    if (r->verbosity < 0)
        return;
    if (!pause && !json_get_bool(reply, "was_paused", false))
        printf("%s was not paused\n", plain);
    else if (!pause)
        printf("%s: resumed\n", plain);
    else
        printf("%s: paused%s%s; nothing is sent %s, what happens is kept owed\n"
               "      type: mirrord resume %s\n",
            plain, r->duration ? " for " : "", r->duration ? r->duration : "",
            host ? "to this host" : "of this site", name);
}

/* argv[0] says which of the two. */
static int run(struct request *r, const struct options *o, int argc, char **argv)
{
    struct err err = {0};
    struct json *reply = NULL;
    int first = options_parse(o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    if (first == argc)
        err_set(&err, ERR_USAGE, "say which site or host: mirrord status --all names them");
    else if (r->duration &&
             (config_parse_duration(r->duration, &r->for_ms, NULL) || r->for_ms == 0))
        err_set(&err, ERR_USAGE, "--for %s: not a time such as 30m or 2h, of a week at most",
            QUOTED(r->duration, strlen(r->duration)));
    else if (ask(r, argv[0], argv[first], &reply, &err) == 0)
        report(r, argv[0], argv[first], reply);
    json_free(reply);
    return options_report(argv[0], &err);
}

int command_pause(int argc, char **argv)
{
    struct request r = {0};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_CONTROL(&r.control),
        {0, "for", OPTION_TEXT, &r.duration, "TIME", "resume by itself after 30m, 2h, ..."},
        {0, "reason", OPTION_TEXT, &r.reason, "TEXT", "what status says about it"},
        OPTION_QUIET(&r.verbosity),
        {0},
    };
    const struct options o = {"[--for TIME] [--reason TEXT] SITE|HOST",
        "Sends nothing of this site, or to this host, until it is resumed. \"HOST:\" is the host "
        "where a site has the same name.",
        specs, 1};
    return run(&r, &o, argc, argv);
}

int command_resume(int argc, char **argv)
{
    struct request r = {0};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_CONTROL(&r.control),
        OPTION_QUIET(&r.verbosity),
        {0},
    };
    const struct options o = {
        "SITE|HOST", "Sends again what was paused, beginning with what is owed by now.", specs, 1};
    return run(&r, &o, argc, argv);
}
