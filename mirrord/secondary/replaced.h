/* What a replaced unit holds that mirrord did not put there. */
#ifndef SECONDARY_REPLACED_H
#define SECONDARY_REPLACED_H

#include "secondary/commit_impl.h"

/* Goes through what the unit's step left in the stage, beside the manifest, which still is the one
 * before the commit. What would be lost is set aside; what is not mirrored goes back into the live
 * unit. 1 the rest is to be kept for a while, 0 there is nothing; -1: something could not be set
 * aside (logged), and all is kept under a name that nobody removes. */
int replaced_sort(struct commit *c, struct step *u);

#endif
