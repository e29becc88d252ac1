/*
 * Where volumes are mounted inside a root, kept in its state directory: a mount point that is gone
 * shows an empty directory, which is not to be taken for one whose content was deleted.
 */
#ifndef TREE_STATE_MOUNTS_H
#define TREE_STATE_MOUNTS_H

#include "base/err.h"
#include "protocol/wire.h"

struct mounts;

struct mounts *mounts_load(int state_fd);
void mounts_free(struct mounts *m); /* NULL is fine */

void mounts_note(struct mounts *m, struct bytes path);      /* something is mounted there */
bool mounts_has(const struct mounts *m, struct bytes path); /* … or was once; NULL: false */
void mounts_forget_all(struct mounts *m);                   /* the operator says so */
int mounts_store(struct mounts *m, int state_fd, struct err *err); /* where it changed */

#endif
