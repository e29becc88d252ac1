/* Small copies in large blocks; see arena.h. */
#include "tree/arena.h"

#include <string.h>

#include "base/mem.h"

enum { BLOCK_SIZE = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    char data[];
};

static struct arena_block *block_with(struct arena *a, size_t n)
{
    struct arena_block *b = a->blocks;
    if (b && b->size - b->used >= n)
        return b;
    size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;
    b = mem_alloc(sizeof *b + size);
    b->size = size;
    b->next = a->blocks;
    return a->blocks = b;
}

void *arena_copy(struct arena *a, const void *p, size_t n)
{
    struct arena_block *b = block_with(a, n + 1);
    char *copy = b->data + b->used;
    if (n)
        memcpy(copy, p, n);
    b->used += n;
    return copy;
}

void arena_reset(struct arena *a)
{
    while (a->blocks && a->blocks->next) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    if (a->blocks)
        a->blocks->used = 0;
}

void arena_free(struct arena *a)
{
    arena_reset(a);
    free(a->blocks);
    a->blocks = NULL;
}
