/*
 * Seen: digests of files that were read, on their way into the manifest. Collected and stored many
 * to a transaction. Not thread-safe.
 */
#ifndef TREE_MANIFEST_SEEN_H
#define TREE_MANIFEST_SEEN_H

#include "tree/manifest/manifest.h"

struct seen;

struct seen *seen_new(struct manifest *m); /* borrowed */
void seen_free(
    struct seen *n); /* what was not stored is lost, which costs time only; NULL is fine */

/* Notes that the file at this path was read whole and has this digest, with these validators. */
void seen_add(struct seen *n, struct bytes path, const struct record *r);
size_t seen_count(const struct seen *n);

/* Stores what the manifest still agrees with: the same path is a file with the same validators. */
int seen_store(struct seen *n, struct err *err);

#endif
