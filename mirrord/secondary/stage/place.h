/* Where an atom is staged: a name of its own in the stage, or its real name inside the staged
 * directory of the same batch that will contain it, so that a new subtree appears by one rename. */
#ifndef SECONDARY_STAGE_PLACE_H
#define SECONDARY_STAGE_PLACE_H

#include "secondary/commit/batch.h"

/* Decides step.staged (and step.above). The directory to make it in, borrowed, and the name there;
 * -1 with errno. */
int place_new(struct atom *a, char name[PATH_NAME_MAX + 1]);

/* The group that a new thing at the atom's path inherits from a setgid directory, where owners
 * are not mirrored; -1: none. */
gid_t place_group(struct atom *a);

/* Takes what a failed or aborted step staged out of the staged directory that contains it, so that
 * it does not appear with it. Steps staged inside it (among these n) follow. */
void place_detach(struct stage *stage, struct step *s, struct step **steps, size_t n);

#endif
