/*
 * Seen: digests that a push learned while it sent files, on their way into the manifest. Collected
 * and stored many to a transaction. Not thread-safe.
 */
#ifndef PRIMARY_SEEN_H
#define PRIMARY_SEEN_H

#include "primary/site.h"

struct seen;

struct seen *seen_new(struct site *s);
void seen_free(struct seen *n); /* what was not stored is lost, which costs time only */

/* Notes that the file at this path was read whole and has this digest, with these validators. */
void seen_add(struct seen *n, struct bytes path, const struct record *r);
size_t seen_count(const struct seen *n);

/* Stores what the manifest still agrees with: the same path is a file with the same validators. */
int seen_store(struct seen *n, struct err *err);

#endif
