/* The stored role or the configured one; see role.h. */
#include "command/config/role.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

int role_of(const struct config *c, const struct config_site *s, const char *state_dir,
    struct role *out, struct err *err)
{
    struct err ignored;
    *out = (struct role){0};
    int dir CLEANUP_FD = epochs_open(state_dir, config_root_at(s, c->self), false, &ignored);
    out->stamp = dir < 0 ? 0 : epoch_stamp(dir);
    if (epoch_of(state_dir, config_root_at(s, c->self), &out->epoch, err) < 0)
        return err_prefix(err, "site %s", s->name);
    bool stored = out->epoch.role != ROLE_CONFIGURED;
    out->here = stored ? out->epoch.role == ROLE_PRIMARY : strcmp(s->primary, c->self) == 0;
    out->fenced = out->epoch.role == ROLE_FENCED;
    snprintf(out->primary, sizeof out->primary, "%s", stored ? out->epoch.primary : s->primary);
    return 0;
}
