/*
 * A batch's turn, from COMMIT to the last ACK. The commits of one site are done in the order in
 * which they were asked for; one that takes long is done in steps, and those behind it wait.
 */
#ifndef SECONDARY_COMMIT_TURN_H
#define SECONDARY_COMMIT_TURN_H

#include "secondary/commit/batch.h"

void turn_next(struct replica *r); /* goes on with whichever is due */

/* Goes on until all that were asked for are acknowledged. */
void turn_finish(struct replica *r);

/* The batch is forgotten: a commit that was begun is brought to its end, without an ACK. */
void turn_end(struct batch *b);
void turn_abandon(struct batch *b); /* the same when the site failed: it is left to its journal */

#endif
