/* `mirrord reload`: asks the daemon to read its configuration again. */
#include <stdio.h>

#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/control_client.h"
#include "command/options.h"

enum { TIMEOUT_MS = 120000 };

static int ask(const char *control, const char *config, struct err *err)
{
    char *path CLEANUP_FREE = NULL;
    if (config_control_path(control, config, &path, err))
        return -1;
    struct json *request = json_object(), *reply = NULL;
    json_set_text(request, "do", "reload");
    int rc = control_client_ask(path, request, TIMEOUT_MS, &reply, err);
    json_free(request);
    json_free(reply);
    return rc;
}

int command_reload(int argc, char **argv)
{
    const char *config = NULL, *control = NULL;
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_CONTROL(&control),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[-c FILE] [--control PATH]",
        "Makes the daemon read its configuration again; after an error it keeps the old one.",
        specs, 0};
    struct err err = {0};
    if (options_parse(&o, argc, argv, &err) <= 0 || ask(control, config, &err))
        return options_report(argv[0], &err);
    if (verbosity >= 0)
        puts("reloaded");
    return 0;
}
