/*
 * What a receiver stands on: the roots that its fence lets be asked for, each with its stage and
 * its state directory. The parent looks for them before it splits, since a sandbox knows inodes,
 * not names: what comes up later is not in it. So where a root or a stage is still to be made, one
 * is made ready (ready.h).
 */
#ifndef SECONDARY_CONFINE_GROUNDS_H
#define SECONDARY_CONFINE_GROUNDS_H

#include "protocol/path.h"
#include "secondary/confine/sandbox.h"
#include "secondary/receive.h"

struct grounds;

/* Looks, makes ready, and lets the sandbox have it all, in its enclosure, too: there the directory
 * that a root is in is shown, since the stage is beside the root. Never NULL: what is not to be had
 * is an error when it is asked for. */
struct grounds *grounds_prepare(const struct receive_options *o, struct sandbox *box);
void grounds_free(struct grounds *g); /* takes away what was not needed */

/* In the child: it is the parent that takes it away. */
void grounds_leave(struct grounds *g);

/* May the sandboxed process work on this root, as it is now? 1, with the name of the empty stage
 * that is ready beside it, or ""; 0: the next process may, for which a root beneath gets a state
 * directory if it is there, or is to be made; -1 with err. */
int grounds_cover(const struct grounds *g, const char *root, bool make,
    char stage[PATH_NAME_MAX + 1], struct err *err);

/* Is the directory that the sandboxed process has for this root still what its path leads to?
 * Within its mount namespace that process may not see it. */
bool grounds_in_place(const struct grounds *g, const char *root);

/* The root's path with its links resolved, which must not lead out of what the fence names. The
 * caller frees it; NULL with err. */
char *grounds_resolve(const struct grounds *g, const char *root, struct err *err);

/* Is the state directory of this name one of theirs? */
bool grounds_has_state(const struct grounds *g, const char *name);

/* Puts the directory that is ready in the root's place; `away`: takes it out again if it is empty.
 * 0, -1 with err (its errno is mkdir's). */
int grounds_make_root(struct grounds *g, const char *root, bool away, struct err *err);

#endif
