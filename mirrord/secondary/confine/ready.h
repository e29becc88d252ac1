/*
 * What a sandboxed receiver may still have to make: the root, and the stage beside it. A sandbox
 * knows inodes, not names, so an empty directory is made ready for each before the process is
 * confined, under a reserved name, and taken away again when nobody needed it.
 */
#ifndef SECONDARY_CONFINE_READY_H
#define SECONDARY_CONFINE_READY_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/path.h"
#include "secondary/confine/sandbox.h"

struct ready_dir { /* fd < 0: none */
    char name[PATH_NAME_MAX + 1];
    int fd; /* locked, as long as somebody may need it */
};

struct ready {
    int above; /* the directory that the root is in, while something is ready there; else -1 */
    struct ready_dir root, stage;
};

/* Nothing is ready yet for the root at this resolved path. */
void ready_init(struct ready *r, const char *real);
void ready_leave(struct ready *r); /* closes all; what is ready stays */

/* Makes ready what is lacking, and lets the sandbox have it: a root where `root` is -1, a stage
 * where the root's marker names none that is there. The descriptors (`state` is -1 where there is
 * none: names are noted there, so that a killed receiver's are found) stay the caller's. */
void ready_make(struct ready *r, struct sandbox *box, int root, int state);

/* Removes what nobody used. */
void ready_take_away(struct ready *r, int state);

/* Gives the directory that is ready its name, that of the root. -1 with errno, which is EEXIST
 * where something has it. */
int ready_put_root(struct ready *r, const char *name);

/* Back to where it was ready, unless somebody put something in meanwhile: false, it stays. */
bool ready_take_root_back(struct ready *r, const char *name);

#endif
