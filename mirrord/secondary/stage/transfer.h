/*
 * Content on its way into the stage: inline, in DATA frames, as a delta against the live file, or
 * copied from another file of the replica. Nothing is staged as good before its digest, size and
 * metadata are right; what goes wrong fails the atom.
 */
#ifndef SECONDARY_STAGE_TRANSFER_H
#define SECONDARY_STAGE_TRANSFER_H

#include "secondary/commit/batch.h"

void transfer_inline(struct atom *a, const struct msg_entry *m);
void transfer_begin(struct atom *a, bool delta); /* HOW_DATA, HOW_DELTA */
/* HOW_BASED: the primary is told at once where the live file has not this content. */
void transfer_begin_based(struct atom *a, const struct digest *base);

void transfer_data(struct atom *a, const struct msg_data *m);
void transfer_finish(struct atom *a, const struct msg_finish *m);
/* -1: more is asked for than may be, and the session must end. */
int transfer_range(struct atom *a, const struct msg_range *m, struct err *err);
bool transfer_is_job(const struct atom *a); /* the commit waits for it */
void transfer_drop(struct atom *a);         /* fine when there is none; what is staged stays */

#endif
