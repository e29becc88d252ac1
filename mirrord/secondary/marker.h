/*
 * The marker: how a root is known again as the one that mirrord filled before. An extended
 * attribute of the root directory, or, where there are none, a file in the state directory. It
 * names the directory's inode (and birth time, in the file), so that a copy of a root is not taken
 * for it.
 */
#ifndef SECONDARY_MARKER_H
#define SECONDARY_MARKER_H

#include "base/err.h"
#include "protocol/path.h"

enum { MARKER_ID = 32 };

struct marker {
    char id[MARKER_ID + 1];        /* of the root: 16 random bytes in hex */
    char stage[PATH_NAME_MAX + 1]; /* the name of its stage directory */
};

/* 1 found, 0 none (or a copied one), -1. */
int marker_read(int root_fd, int state_fd, struct marker *out, struct err *err);

/* Writes it, with a new id where it has none yet. */
int marker_write(int root_fd, int state_fd, struct marker *m, struct err *err);

#endif
