/*
 * A hash map from byte strings to pointers, with the entries also in order of insertion, so that
 * a set of paths can be used as a queue and searched by name. Keys are copied; values are the
 * caller's. Not thread-safe.
 */
#ifndef BASE_SET_H
#define BASE_SET_H

#include <stddef.h>
#include <stdint.h>

struct set;

struct set_item {
    struct set_item *prev, *next; /* order of insertion; for reading only */
    struct set_item *chain;
    uint64_t hash;
    void *value;
    size_t len;
    char key[]; /* NUL-terminated copy */
};

struct set *set_new(void);
void set_free(struct set *s); /* items, not values; NULL is fine */

/* The item of this key, or NULL. */
struct set_item *set_find(const struct set *s, const void *key, size_t len);

/* Finds or appends; a new item's value is NULL. The pointer stays valid until it is removed. */
struct set_item *set_add(struct set *s, const void *key, size_t len);

/* Unlinks and frees an item of this set. */
void set_remove(struct set *s, struct set_item *item);

/* Moves an item to the end of the order. */
void set_requeue(struct set *s, struct set_item *item);

size_t set_count(const struct set *s);
struct set_item *set_first(const struct set *s); /* oldest, or NULL; follow ->next until NULL */

#endif
