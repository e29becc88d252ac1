/*
 * Pairs of a watch descriptor and a directory's number, found by either: one of each is in one pair
 * at most. Made for a daemon that watches a million directories: about 25 bytes each. All zeros is
 * an empty one.
 */
#ifndef PRIMARY_SCAN_PAIR_MAP_H
#define PRIMARY_SCAN_PAIR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pair_map {
    uint64_t *dirs; /* of the pairs, in no order */
    uint32_t *wds;
    size_t count, room;
    uint32_t *slots[2]; /* by descriptor, by number: which pair, from 1 on; 0: none */
    size_t mask;
};

void pair_map_free(struct pair_map *m); /* what it holds; it is empty then */

/* Neither of them may be in a pair yet, nor be 0. */
void pair_map_put(struct pair_map *m, int wd, uint64_t dir);
uint64_t pair_map_dir(const struct pair_map *m, int wd); /* 0: it is in no pair */
int pair_map_wd(const struct pair_map *m, uint64_t dir); /* 0: likewise */
void pair_map_remove(struct pair_map *m, int wd);        /* with its pair; none is fine */

/* Pair by pair from *at = 0 on; false at the end. Nothing may be put or removed meanwhile. */
bool pair_map_each(const struct pair_map *m, size_t *at, int *wd, uint64_t *dir);

#endif
