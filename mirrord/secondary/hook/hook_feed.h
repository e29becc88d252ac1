/* What the sandboxed child says of its commits to who runs the commands after them, and what it
 * tells the primary of how they went. */
#ifndef SECONDARY_HOOK_HOOK_FEED_H
#define SECONDARY_HOOK_HOOK_FEED_H

#include "secondary/commit/commit_impl.h"

/* What readers see of this commit is done, and its journal still stands: should this process end in
 * between, the next one says "everything". */
void hook_feed_commit(const struct commit *c);

/* What readers see of this commit is done: those that are held learn what changed, and go on. */
void hook_feed_switched(const struct commit *c);

/* The site was opened: what is due from before becomes so, and the primary learns what fails. */
void hook_feed_opened(struct replica *r);

/* Often; it looks now and then how the commands went, and tells the primary what is new. */
void hook_feed_look(struct tools *tools);

#endif
