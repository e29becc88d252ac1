/* What must hold for a batch to be committed at all: the root is the one that was opened, and not
 * too much is deleted; and the
 * primary's epoch counts still: no promotion comes between before fencing_leave. */
#ifndef SECONDARY_COMMIT_GATE_H
#define SECONDARY_COMMIT_GATE_H

#include "secondary/commit/batch.h"

/* Before its commit. -1 with err and the SITE_ERROR's reason: nothing may be done. */
int gate_pass(struct batch *b, uint16_t *reason, struct err *err);

#endif
