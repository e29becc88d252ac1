/* A manifest is made for one filter. When a site is opened with another one, the former manifest is
 * kept until what was committed under it is known in the new one (see inherit.h). */
#ifndef SECONDARY_SITE_FORMER_H
#define SECONDARY_SITE_FORMER_H

#include "secondary/site/replica.h"

/* Opens r->manifest for this filter, and r->former where there is one to inherit from. A commit
 * that was interrupted under the former filter is finished first. Where one of them is damaged or
 * gone, what is known of it otherwise is put back (checkpoint_restore). */
int former_open_manifest(struct replica *r, const struct digest *filter, struct err *err);

/* All was inherited: the former manifest goes. */
void former_forget(struct replica *r);

/* The digest of the filter with which this root was opened last. 1; 0 never, or when no commit can
 * have been interrupted; -1. */
int former_last_filter(struct replica *r, struct digest *out, struct err *err);

/* With nothing open, after a power loss or another damage, which `why` names for the log: the
 * manifests are deleted unopened, and a copy of the last copy, where there is one, takes their
 * place. */
int former_restore(struct replica *r, const char *why, struct err *err);

/* A copy of the manifest as it is now, from any thread; it counts once it is kept, which is for
 * when all that it tells of is on the disk. */
int former_copy(struct replica *r, struct err *err);
int former_keep_copy(struct replica *r, struct err *err);
bool former_has_copy(struct replica *r);
void former_forget_copy(struct replica *r);

#endif
