/* Which host is the primary of a site: the stored epoch, above the configuration. */
#ifndef COMMAND_CONFIG_ROLE_H
#define COMMAND_CONFIG_ROLE_H

#include "command/config/config.h"
#include "tree/state/epoch.h"

struct role {
    bool here;   /* this host is the primary */
    bool fenced; /* it was, and another host was promoted */
    char primary[MSG_HOST_MAX + 1];
    struct epoch epoch;
    uint64_t stamp; /* of its file, from before it was read: a later one is news */
};

/* 0; -1 with err where the epoch cannot be read. */
int role_of(const struct config *c, const struct config_site *s, const char *state_dir,
    struct role *out, struct err *err);

#endif
