/*
 * What a batch with units waits for between its COMMIT and its journal: a job that decides how each
 * unit is switched and builds the new ones in the stage. Nothing live is changed by it.
 */
#ifndef SECONDARY_UNIT_SWAP_H
#define SECONDARY_UNIT_SWAP_H

#include "secondary/commit/batch.h"

/* For a batch whose turn has come: is it ready to be journalled? If not, it is being worked on, and
 * batch_job_done comes. It may have failed atoms then. */
bool swap_ready(struct batch *b);

/* The batch's end: what was built and not published goes. Fine when there is none. */
void swap_free(struct batch *b);

#endif
