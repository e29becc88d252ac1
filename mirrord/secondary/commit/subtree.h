/*
 * A part of the manifest, record by record, each directory before what is in it. Made for jobs: the
 * transaction may be another one at each call, and what changed in between is simply met or missed.
 */
#ifndef SECONDARY_COMMIT_SUBTREE_H
#define SECONDARY_COMMIT_SUBTREE_H

#include "tree/manifest/manifest.h"

struct subtree;

struct subtree *subtree_new(struct bytes top); /* `top` itself comes first */
void subtree_free(struct subtree *s);          /* NULL is fine */

/* The next record and its path. *path lives until the next call, what *r points to as in
 * manifest_get. 1, 0 at the end, -1. */
int subtree_next(struct subtree *s, struct manifest_txn *t, struct bytes *path, struct record *r,
    struct err *err);

/* What is beneath the directory that came last is not wanted. */
void subtree_skip(struct subtree *s);

#endif
