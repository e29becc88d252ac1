/*
 * Who looks after a replica's trash, between messages: counts it and tells the primary, makes what
 * is kept of our own apart from the live tree, removes what has been there long enough, and the
 * oldest of our own when the disk runs full: under 6 % free, or too little for what was to come.
 */
#ifndef SECONDARY_TRASH_KEEPER_H
#define SECONDARY_TRASH_KEEPER_H

#include "secondary/site/replica.h"

struct keeper;

/* Something may have come into the trash, or the disk may be fuller: soon. */
void keeper_look(struct replica *r);

/* The same; and so much did not fit on the disk. */
void keeper_make_room(struct replica *r, uint64_t bytes);
void keeper_free(struct keeper *k); /* NULL is fine */

#endif
