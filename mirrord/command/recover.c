/* `mirrord recover`: at boot, before the web server, finishes what a killed receiver left. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config.h"
#include "command/options.h"
#include "command/policy.h"

/* One site that cannot be recovered does not keep the others waiting; the first error counts. */
static int recover_all(const struct config *c, const char *state_dir, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        struct err why;
        if (!config_site_has_host(s, c->self) || strcmp(s->primary, c->self) == 0)
            continue; /* what a receiver commits lies on secondaries only */
        const char *root = config_root_at(s, c->self);
        if (access(root, F_OK) != 0)
            continue; /* nothing was ever received there */
        const struct receive_policy policy = policy_of(s);
        if (receive_recover(state_dir, root, &policy, &why) == 0) {
            log_info("site %s: recovered", s->name);
            continue;
        }
        if (rc == 0)
            *err = why;
        rc = -1;
        log_error("site %s: %s", s->name, why.text);
    }
    return rc ? err_prefix(err, "not every site could be recovered") : 0;
}

int command_recover(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL;
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        OPTION_VERBOSE(&verbosity),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST]",
        "Finishes interrupted commits of this host's sites; run at boot, before the web server.",
        specs, 0};
    struct err err = {0};
    struct config *c = NULL;
    if (options_parse(&o, argc, argv, &err) <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_WARNING, verbosity);
    if (config_load(config, as, &c, &err))
        return options_report(argv[0], &err);
    if (!c->self)
        err_set(&err, ERR_USAGE, "%s does not have this host: say --as HOST", c->path);
    else
        recover_all(c, state_dir ? state_dir : c->state_dir, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
