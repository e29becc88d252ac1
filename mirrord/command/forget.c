/* `mirrord forget`: a site that is gone is not known any more; see primary/forget.c. */
#include <stdio.h>

#include "base/mem.h"
#include "command/command.h"
#include "command/config.h"
#include "command/control_client.h"
#include "command/options.h"

enum { TIMEOUT_MS = 60000 };

struct request {
    const char *config, *control;
    int verbosity;
};

static int ask(const struct request *r, const char *site, struct err *err)
{
    char *path CLEANUP_FREE = NULL;
    if (config_control_path(r->control, r->config, &path, err))
        return -1;
    struct json *request = json_object(), *reply = NULL;
    json_set_text(request, "do", "forget");
    json_set_text(request, "site", site);
    int rc = control_client_ask(path, request, TIMEOUT_MS, &reply, err);
    json_free(request);
    json_free(reply);
    return rc;
}

int command_forget(int argc, char **argv)
{
    struct request r = {0};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_CONTROL(&r.control),
        OPTION_QUIET(&r.verbosity),
        {0},
    };
    const struct options o = {"SITE",
        "Says that a site which is gone was removed for good: it is not known any more. Its copies "
        "stay on the secondaries.",
        specs, 1};
    struct err err = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    if (first == argc)
        err_set(&err, ERR_USAGE, "say which site");
    else if (ask(&r, argv[first], &err) == 0 && r.verbosity >= 0)
        printf("%s: forgotten\n", argv[first]);
    return options_report(argv[0], &err);
}
