/*
 * The end of replaced units: when their time has come, the names that they share with the live tree
 * are unlinked, and the manifest learns the ctime that this leaves; the rest is dead like any
 * other.
 */
#ifndef SECONDARY_UNIT_RETIRE_H
#define SECONDARY_UNIT_RETIRE_H

#include "secondary/site/replica.h"

struct retire;

/* Looks after what is kept in the replica's stage, now and later. */
void retire_schedule(struct replica *r);

/* Removes what is due for about budget_ms; false when nothing is left that is. */
bool retire_some(struct replica *r, unsigned budget_ms);
void retire_free(struct retire *x); /* NULL is fine; what is kept stays */

#endif
