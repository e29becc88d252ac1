/* Memory that is given out in small pieces and taken back all at once. */
#ifndef TREE_ARENA_H
#define TREE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
};

void *arena_copy(struct arena *a, const void *p, size_t n); /* aligned for bytes only; never NULL */
void arena_reset(struct arena *a);                          /* keeps one block for the next time */
void arena_free(struct arena *a);

#endif
