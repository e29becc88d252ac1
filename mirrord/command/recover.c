/* `mirrord recover`: at boot, before the web server, finishes what a killed receiver left. */
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/policy.h"
#include "command/options.h"
#include "secondary/hook/hook.h"
#include "tree/state/state.h"

enum { LIMIT_S = 30, HOOK_MS = 10 * 1000 }; /* the web server waits for it */

/* A command that is due, of an interrupted commit or one whose receiver was killed. The web server
 * waits: what takes longer is run with the next session. */
static void run_hook(const struct config *c, const struct config_site *s, const char *state_dir)
{
    struct receive_hook hook;
    struct err ignored;
    char *root CLEANUP_FREE = realpath(config_root_at(s, c->self), NULL);
    if (!root || !config_receive_hook(s, c->self, RECEIVE_ON_COMMIT, &hook))
        return;
    int dir CLEANUP_FD = state_open_resolved(state_dir, root, &ignored);
    struct hooks *hooks = hooks_new(state_dir);
    if (dir >= 0)
        hooks_know(hooks, bytes_of(s->name), root, &hook, dir);
    if (hooks_pending(hooks))
        hooks_finish(hooks, HOOK_MS);
    hooks_free(hooks);
    receive_hook_clear(&hook);
}

/* One site that cannot be recovered does not keep the others waiting; the first error counts. What
 * is not begun in time is left to the receiver, which does the same before it does anything else.
 */
static int recover_all(
    const struct config *c, const char *state_dir, unsigned limit_s, struct err *err)
{
    int rc = 0;
    uint64_t end = io_now_ms() + limit_s * UINT64_C(1000);
    for (size_t i = 0; i < c->site_count; i++) {
        const struct config_site *s = &c->sites[i];
        struct err why;
        if (!config_site_has_host(s, c->self) || strcmp(s->primary, c->self) == 0)
            continue; /* what a receiver commits lies on secondaries only */
        const char *root = config_root_at(s, c->self);
        if (access(root, F_OK) != 0)
            continue; /* nothing was ever received there */
        if (io_now_ms() >= end)
            return err_set(err, ERR_TEMPORARY,
                "not begun within %u s: site %s and those after it; each is finished when its "
                "primary connects",
                limit_s, s->name);
        struct receive_policy policy;
        if (policy_of(s, c->self, &policy, &why) == 0 &&
            receive_recover(state_dir, root, &policy, &why) == 0) {
            log_info("site %s: recovered", s->name);
            run_hook(c, s, state_dir);
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
    unsigned limit = LIMIT_S;
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        {'t', "timeout", OPTION_NUMBER, &limit, "SECONDS",
            "begin no site after so long (default 30)"},
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
        config_no_self(c, &err);
    else
        recover_all(c, state_dir ? state_dir : c->state_dir, limit, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
