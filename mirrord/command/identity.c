/* `mirrord identity`: whose the state directory is, after a machine was cloned or got a new id. */
#include <stdio.h>

#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/options.h"
#include "tree/state/machine.h"

int command_identity(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL;
    bool fresh = false, keep = false;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        {0, "new", OPTION_FLAG, &fresh, NULL, "this machine is a clone: another host", NULL},
        {0, "keep", OPTION_FLAG, &keep, NULL, "this machine is the same host", NULL},
        {0},
    };
    const struct options o = {"--new | --keep",
        "Says whose the state directory is that another machine has made.", specs, 0};
    struct err err = {0};
    struct config *c = NULL;
    if (options_parse(&o, argc, argv, &err) <= 0)
        return options_report(argv[0], &err);
    if (fresh == keep)
        err_set(&err, ERR_USAGE, "say --new (a clone) or --keep (the same host)");
    else if (config_load(config, as, &c, &err) == 0) {
        const char *dir = state_dir ? state_dir : c->state_dir;
        if ((fresh ? machine_new(dir, &err) : machine_keep(dir, &err)) == 0)
            puts(fresh ? "this is a host of its own now" : "this is the same host");
    }
    config_free(c);
    return options_report(argv[0], &err);
}
