/* Content that is on this disk already. Jobs that the batch's commit waits for. */
#ifndef SECONDARY_STAGE_COPY_H
#define SECONDARY_STAGE_COPY_H

#include "secondary/commit/batch.h"

/* Stages the content of `source`, which must have the entry's digest. */
void copy_start(struct atom *a, struct bytes source);

/* Does the live file have the entry's content? Sets step.verified. */
void copy_verify(struct atom *a);

#endif
