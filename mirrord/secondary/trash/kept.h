/*
 * Keeping what mirrord itself put there when it is deleted or overwritten, where the site wants
 * that (keep-deleted). What cannot be kept goes like anything else: the trash never stands in the
 * way.
 */
#ifndef SECONDARY_TRASH_KEPT_H
#define SECONDARY_TRASH_KEPT_H

#include "secondary/site/replica.h"

/* At the end of an item's name. */
enum kept_state {
    KEPT_DONE = 'd',
    KEPT_SHARED = 's', /* may share inodes with others, until the keeper has made them apart */
    KEPT_UNIT = 'u',   /* the same; and of what a unit's switch left only what is not empty stays */
};

bool kept_wanted(const struct replica *r); /* by the site, and there is a stage to keep it in */

/* Renames dirfd/name, which was at `path`, into the trash. False: it is where it was. */
bool kept_take(struct replica *r, int dirfd, const char *name, struct bytes path);

/* Gives what is about to be replaced by a rename another name there: no directory. */
bool kept_link(struct replica *r, int dirfd, const char *name, struct bytes path);

/* The same as kept_take for what is left of a replaced unit, in this directory of the stage. */
bool kept_take_unit(struct replica *r, const char *holder, struct bytes path);

#endif
