/*
 * What a replaced unit holds that mirrord did not put there. It is gone through beside the
 * manifest, which still is the one before the commit: what would be lost is set aside, and what is
 * not mirrored goes back into the live unit.
 */
#ifndef SECONDARY_UNIT_REPLACED_H
#define SECONDARY_UNIT_REPLACED_H

#include "secondary/commit/commit_impl.h"

struct replaced;

/* Of what the unit's step left in the stage. */
struct replaced *replaced_new(struct commit *c, struct step *u);
void replaced_free(struct replaced *x); /* NULL is fine; what was not looked at stays */

/* Works until the deadline (io_now_us). 1 there is more, 0 done. */
int replaced_step(struct replaced *x, uint64_t deadline);

/* Frees it. 1 the rest is to be kept for a while, 0 there is nothing; -1: something could not be
 * set aside (logged), and all is kept under a name that nobody removes. */
int replaced_end(struct replaced *x);

#endif
