/* Where the daemon's control socket is, for the commands that ask it; see config.h. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/config/config.h"
#include "primary/daemon/site_names.h"
#include "tree/state/state.h"

char *config_default_control(const char *state_dir)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0)
        return mem_copy_string("/run/mirrord/control");
    if (runtime && *runtime)
        return mem_format("%s/mirrord/control", runtime);
    return mem_format("%s/control", state_dir);
}

char *config_site_sockets(const struct config *c, const char *control)
{
    const char *slash = strrchr(control, '/');
    if (c->no_site_sockets)
        return NULL;
    if (c->site_sockets)
        return mem_copy_string(c->site_sockets);
    char *beside CLEANUP_FREE =
        mem_format("%.*s/sites", slash ? (int)(slash - control) : 1, slash ? control : ".");
    return strlen(beside) <= SITE_SOCKETS_DIR_MAX ? TAKE_PTR(beside) : NULL;
}

int config_control_path(const char *control, const char *config, char **out, struct err *err)
{
    if (control) {
        *out = mem_copy_string(control);
        return 0;
    }
    struct config *c = NULL;
    if (config_load(config ? config : CONFIG_DEFAULT_PATH, NULL, &c, err) == 0) {
        *out = mem_copy_string(c->control);
        config_free(c);
        return 0;
    }
    if (config)
        return -1;
    if (access(CONFIG_DEFAULT_PATH, F_OK) == 0)
        log_warn("%s; asking at the default place", err->text);
    err_clear(err);
    char *state_dir CLEANUP_FREE = state_default_dir();
    *out = config_default_control(state_dir);
    return 0;
}
