/* How a configured host is reached: its link, and what is started there. */
#ifndef COMMAND_FAR_H
#define COMMAND_FAR_H

#include "command/config/config.h"
#include "primary/push/peer/peer.h"

/* Fills *out for this host of the configuration; strings are the configuration's. Returns the far
 * end's argument vector, which out->link.argv points to and the caller frees with words_free; NULL
 * with err when remote-command cannot be split. */
char **far_peer_options(const struct config *c, const struct config_host *h,
    const struct digest *host_id, struct peer_options *out, struct err *err);

#endif
