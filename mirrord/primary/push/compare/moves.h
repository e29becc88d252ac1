/*
 * Which of the differences found are moves.
 */
#ifndef PRIMARY_PUSH_COMPARE_MOVES_H
#define PRIMARY_PUSH_COMPARE_MOVES_H

#include "primary/push/compare/difference.h"

/* Gives what is new there a `source` among what is to be deleted there, where that is equal; a
 * whole directory becomes a move, and its source is `taken`. Returns how many entries are not to be
 * deleted any more for that. Reads files here whose digest is not known and which may match. */
uint64_t moves_match(struct push_site *ps, struct differences *all);

#endif
