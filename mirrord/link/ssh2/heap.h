/* Memory that is given back as a whole: a library that forgets some of what it asked for cannot
 * make a daemon grow with every session. */
#ifndef LINK_HEAP_H
#define LINK_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct heap {
    struct heap_block *blocks;
    bool wipes; /* what is given back is overwritten: a secret may have been in it */
};

/* As malloc, realloc and free; NULL where there is no memory. */
void *heap_alloc(struct heap *h, size_t n);
void *heap_resize(struct heap *h, void *p, size_t n);
void heap_free(struct heap *h, void *p);

/* Frees all that is left. */
void heap_release(struct heap *h);

#endif
