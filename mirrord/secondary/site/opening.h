/* How a site is opened: the root, the lock, the marker, the manifest, the walk; a job in steps. */
#ifndef SECONDARY_SITE_OPENING_H
#define SECONDARY_SITE_OPENING_H

#include "secondary/site/replica.h"

/* Finds or makes the root. 0, or -1 with err and the SITE_ERROR's reason. */
int opening_root(struct replica *r, uint16_t *reason, struct err *err);

/* The rest, as the replica's job; ends with OPENED or the replica's failure. */
void opening_start(struct replica *r);

/* A site that the process before had open (renewal.h) is open again, without a walk and a word to
 * the primary. -1 with err. */
int opening_resume(struct replica *r, const struct replica_before *before, struct err *err);

/* Marker, stage and manifest of a root, and the end of an interrupted commit: what `recover` and an
 * opening share once the lock is held. */
int opening_manifest(struct replica *r, const struct digest *filter, struct err *err);

#endif
