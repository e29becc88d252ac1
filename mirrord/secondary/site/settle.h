/*
 * Once all that a secondary has is what its primary has (LEVEL), it counts as put there by mirrord,
 * whoever did it: an rsync of former days, or mirrord itself while this host was the primary.
 * Otherwise each such file would be set aside as foreign when it changes for the first time.
 */
#ifndef SECONDARY_SITE_SETTLE_H
#define SECONDARY_SITE_SETTLE_H

#include "secondary/site/replica.h"

/* Goes through the manifest in steps between messages. Drift that was known when the site was
 * opened is no more; where some was found since, all that is known stays theirs. */
void settle_start(struct replica *r);
void settle_free(struct settle *s); /* NULL is fine */

#endif
