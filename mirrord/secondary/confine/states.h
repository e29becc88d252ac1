/*
 * The state directories of the roots that lie beneath one directory, where any of them may be asked
 * for (`receive --root DIR`). A sandbox knows inodes, not names: it gets those that there are by
 * now, and no other root's.
 */
#ifndef SECONDARY_CONFINE_STATES_H
#define SECONDARY_CONFINE_STATES_H

#include <stdbool.h>

#include "base/err.h"
#include "secondary/confine/sandbox.h"

struct states;

/* Those of the roots at or beneath `top`, a resolved path, with their epochs (for reading). Never
 * NULL: what cannot be read is not among them. */
struct states *states_find(const char *state_dir, const char *top, struct sandbox *box);
void states_free(struct states *s); /* NULL is fine */

/* Is the directory of this name one of them? */
bool states_has(const struct states *s, const char *name);

/* Is that of the root at this resolved path? 1; 0: it was made, or marked as this root's, for the
 * next sandbox to have it; -1 with err. */
int states_know(const struct states *s, const char *root, struct err *err);

#endif
