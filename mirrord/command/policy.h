/* What the configuration says to a receiver of a site. */
#ifndef COMMAND_POLICY_H
#define COMMAND_POLICY_H

#include "command/config.h"
#include "secondary/receive.h"

struct receive_policy policy_of(const struct config_site *s, const char *host);

#endif
