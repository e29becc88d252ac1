/* A hash map from numbers to numbers, 16 bytes a slot; neither may be 0. A zeroed one is empty. */
#ifndef PRIMARY_SCAN_NUMBER_MAP_H
#define PRIMARY_SCAN_NUMBER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct number_map {
    struct number_slot {
        uint64_t key, value;
    } * slots;
    size_t mask; /* slots - 1; 0 with slots NULL */
    size_t count;
};

void number_map_free(struct number_map *m);                              /* what it holds */
uint64_t number_map_get(const struct number_map *m, uint64_t key);       /* 0: not there */
void number_map_put(struct number_map *m, uint64_t key, uint64_t value); /* in place of another */
void number_map_remove(struct number_map *m, uint64_t key);              /* fine if not there */

/* Walks over all pairs: *at starts as 0. Nothing may be changed meanwhile. */
bool number_map_each(const struct number_map *m, size_t *at, uint64_t *key, uint64_t *value);

#endif
