/* Setting aside what mirrord did not put there, instead of destroying it. */
#ifndef SECONDARY_TRASH_FOREIGN_H
#define SECONDARY_TRASH_FOREIGN_H

#include "secondary/stage/stage.h"

/* Renames dirfd/name into a new place of the stage's trash, with a file that says that it was at
 * `path` beneath the root. Logged. -1 with err: it is where it was. */
int foreign_keep(struct stage *s, int dirfd, const char *name, struct bytes path, struct err *err);

#endif
