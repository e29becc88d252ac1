/*
 * The sites that globs have matched on this host, kept over restarts, so that one that vanished is
 * not just absent: it is *gone*, which somebody is told of and says the last word on (`forget`).
 * Where nothing of a glob matches any more, all that was there until then is rather not believed.
 */
#ifndef COMMAND_CONFIG_KNOWN_SITES_H
#define COMMAND_CONFIG_KNOWN_SITES_H

#include <stdint.h>

#include "command/config/config.h"

struct known_sites;

/* What is kept in this directory; it need not be there. 0; -1 with err where it cannot be read. The
 * directory's name is borrowed. */
int known_sites_open(const char *state_dir, struct known_sites **out, struct err *err);
void known_sites_free(struct known_sites *k); /* NULL is fine */

/* Holds the configuration, just expanded, against what is known: what is new is noted, and what is
 * known and not there is added to its sites as such (SITE_GONE, SITE_ALL_GONE). Of globs that the
 * configuration does not have any more nothing is known from then on. `now`: CLOCK_REALTIME
 * seconds. 0; -1 with err where it could not be written down: the configuration is as it should be
 * all the same. */
int known_sites_apply(struct known_sites *k, struct config *c, int64_t now, struct err *err);

/* It is not known from now on. 0, also where it was not; -1 with err: it still is. */
int known_sites_forget(
    struct known_sites *k, const struct config_site *s, const char *host, struct err *err);

#endif
