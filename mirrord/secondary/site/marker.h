/*
 * The marker: how a root is known again as the one that mirrord filled before. A file in the root's
 * state directory that names the root's inode and birth time, so that neither another directory
 * at the same path nor a copy is taken for it. Not an extended attribute of the root: a mirror has
 * none that its source has not, and `rsync -X` would say so.
 */
#ifndef SECONDARY_SITE_MARKER_H
#define SECONDARY_SITE_MARKER_H

#include "base/err.h"
#include "protocol/path.h"

enum { MARKER_ID = 32 };

#define MARKER_FILE "marker" /* in the root's state directory */

struct marker {
    char id[MARKER_ID + 1];        /* of the root: 16 random bytes in hex */
    char stage[PATH_NAME_MAX + 1]; /* the name of its stage directory */
};

enum { MARKER_OTHER = 2 };

/* 1 found; MARKER_OTHER: the one that was marked is another directory; 0 none, -1. */
int marker_read(int root_fd, int state_fd, struct marker *out, struct err *err);

/* Writes it, with a new id where it has none yet. */
int marker_write(int root_fd, int state_fd, struct marker *m, struct err *err);

#endif
