/* What the configuration says to a receiver of a site. */
#ifndef COMMAND_CONFIG_POLICY_H
#define COMMAND_CONFIG_POLICY_H

#include "command/config/config.h"
#include "secondary/receive.h"

/* On this host, whose users and groups it looks up: so not in a sandbox. -1 with err: there is no
 * such user or group here. */
int policy_of(
    const struct config_site *s, const char *self, struct receive_policy *out, struct err *err);

#endif
