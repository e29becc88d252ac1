/* One CLAIM to a host of the configuration: who is the primary of a site. */
#ifndef COMMAND_HANDOVER_CLAIM_H
#define COMMAND_HANDOVER_CLAIM_H

#include "command/config/config.h"
#include "tree/state/epoch.h"

struct claim; /* a session for one question */

/* Connects and greets. -1 with err: the host was not reached. */
int claim_open(const struct config *c, const struct config_host *h, const char *state_dir,
    struct claim **out, struct err *err);

/* Asks, and waits for the answer: one round trip, once for each session. `take`: the host is handed
 * the site, and raises the epoch itself. 0 it counts there; 1 refused, with err; -1 the host was
 * not reached. In the first two cases *now is what is stored there by then. */
int claim_put(struct claim *a, const char *site, const struct epoch *e, bool take,
    struct epoch *now, struct err *err);
void claim_close(struct claim *a); /* NULL is fine */

#endif
