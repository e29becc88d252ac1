/* The end of a site's copies: `mirrord forget --delete-copies`. */
#ifndef COMMAND_RESYNC_COPIES_H
#define COMMAND_RESYNC_COPIES_H

#include <stdatomic.h>

#include "command/config/config.h"

struct copies {
    const struct config *c;
    const struct config_site *s; /* the site, or the `sites` block that has this name */
    const char *name, *root;     /* root: where it was on this host */
    const char *state_dir;
    bool quiet; /* else each secondary is named with what was deleted */
    const atomic_bool *stop;
};

/* What is mirrored of this site is deleted on all its secondaries, as if the site were empty: each
 * takes out of the root that its own configuration has for that name what mirrord put there, in the
 * trash where it keeps what is deleted, and sets aside what others did. What is excluded stays, and
 * the root's directory. A root that is not the one that was filled is refused. 0; -1 with err: on
 * some of them not. */
int copies_delete(const struct copies *copies, struct err *err);

#endif
