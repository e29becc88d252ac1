/* A site's settings that count at the secondary's end; see policy.h. */
#include "command/config/policy.h"

#include <grp.h>
#include <pwd.h>

static int unknown(const struct config_at *at, const char *kind, const char *name, struct err *err)
{
    return err_set(err, ERR_USAGE, "%s:%u: at %s: owner: there is no %s %s on this host", at->file,
        at->line, at->host, kind, name);
}

static int find_owner(const struct config_at *at, struct receive_policy *p, struct err *err)
{
    const struct passwd *user = getpwnam(at->user);
    if (!user)
        return unknown(at, "user", at->user, err);
    p->uid = user->pw_uid;
    p->gid = user->pw_gid;
    const struct group *group = at->group ? getgrnam(at->group) : NULL;
    if (at->group && !group)
        return unknown(at, "group", at->group, err);
    if (group)
        p->gid = group->gr_gid;
    return 0;
}

int policy_of(
    const struct config_site *s, const char *self, struct receive_policy *out, struct err *err)
{
    const struct config_at *at = self ? config_at(s, self) : NULL;
    struct receive_policy p = {
        .said = true,
        .owner = s->owner ? RECEIVE_OWNER_MIRRORED : RECEIVE_OWNER_LEFT,
        .limit = {s->max_delete_percent, s->max_delete_count},
        .keep_days = s->keep_days,
        .unit_grace = s->unit_grace,
        .hook = self && config_hook_at(s, self).command,
        .on_switch = self && config_hook_at(s, self).on_switch,
        .special_bits = s->special_bits,
        .min_free = s->min_free,
    };
    if (at && at->owner != OWNER_AS_SITE)
        p.owner = at->owner == OWNER_FIXED ? RECEIVE_OWNER_FIXED
                  : at->owner == OWNER_YES ? RECEIVE_OWNER_MIRRORED
                                           : RECEIVE_OWNER_LEFT;
    if (p.owner == RECEIVE_OWNER_FIXED && find_owner(at, &p, err) < 0)
        return -1;
    *out = p;
    return 0;
}
