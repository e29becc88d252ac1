/*
 * Proof: what a tree that was taken over is by content. The manifest has its files by size and time
 * alone; the reading in the background (tree/walk/reread.h) gives their digests, which are stored
 * here, between messages, and the primary is told how far it is.
 */
#ifndef SECONDARY_SITE_PROOF_H
#define SECONDARY_SITE_PROOF_H

#include "secondary/site/replica.h"

struct proof;

/* `unproven` is what the primary was told by OPENED. */
struct proof *proof_new(struct replica *r, uint64_t unproven);
void proof_free(struct proof *p); /* the reading was ended; NULL is fine */

/* A file was read; any thread. */
void proof_add(struct proof *p, struct bytes path, const struct record *r);

/* Stores what was added, and tells. To be called about once a second. */
void proof_step(struct proof *p);

#endif
