/*
 * Which machine a state directory is of. A clone of a machine starts with the state of another one
 * and would push in its name; so the machine's id is kept beside the host's, and compared.
 */
#ifndef TREE_STATE_MACHINE_H
#define TREE_STATE_MACHINE_H

#include "base/err.h"

/* Notes the machine at first. ERR_REFUSED when the state is another machine's; 0 also where a
 * machine has no id (containers). */
int machine_check(const char *state_dir, struct err *err);

/* The operator says: the machine is the same one (its id changed), or this is a clone, which gets a
 * host id of its own: it is no primary by what is stored then. */
int machine_keep(const char *state_dir, struct err *err);
int machine_new(const char *state_dir, struct err *err);

#endif
