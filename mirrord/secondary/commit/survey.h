/*
 * A survey: before a directory is deleted or replaced, a job compares what is in it with the
 * manifest, so that nothing is destroyed that mirrord did not put there or does not mirror. The
 * answer is the step's `way`.
 */
#ifndef SECONDARY_COMMIT_SURVEY_H
#define SECONDARY_COMMIT_SURVEY_H

#include "secondary/commit/batch.h"

/* Starts looking through the directory at the atom's path. */
void survey_start(struct atom *a);
void survey_drop(struct atom *a); /* fine when there is none */

#endif
