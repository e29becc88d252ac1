/*
 * Where epochs lie: STATE/epochs/NAME-HASH, a directory for each root, named as its state is
 * (state.h) but apart from it. A receiver's sandboxed process writes its roots' state, and may only
 * read here.
 */
#ifndef TREE_STATE_EPOCHS_H
#define TREE_STATE_EPOCHS_H

#include <stdbool.h>

#include "base/err.h"

enum { EPOCHS_NONE = -2 };

/* The directory of this root's epoch: a descriptor that the caller closes. EPOCHS_NONE (`make`
 * false) where there is none; -1 with err. It is made with its lock's
 * file, for who may only read; others may pass through, though not list, for cron lines that ask
 * who the primary is. */
int epochs_open(const char *state_dir, const char *root_path, bool make, struct err *err);

/* The same for a path that is resolved already, and not looked at again. */
int epochs_open_resolved(const char *state_dir, const char *root_path, bool make, struct err *err);

/* Removes it, with the lock that is in it: there must be no epoch. 0 also where there is none. */
int epochs_forget(const char *state_dir, const char *root_path, struct err *err);

/* The directory of them all, made where it is missing; as above. */
int epochs_open_all(const char *state_dir, struct err *err);

#endif
