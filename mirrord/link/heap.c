/* Blocks of malloc in a doubly linked list. Knows nothing of who uses them. */
#include "link/heap.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

struct heap_block {
    struct heap_block *next, **at;
    alignas(max_align_t) unsigned char bytes[];
};

static struct heap_block *block_of(void *p)
{
    return (struct heap_block *)((unsigned char *)p - offsetof(struct heap_block, bytes));
}

static void enlist(struct heap *h, struct heap_block *b)
{
    b->next = h->blocks;
    b->at = &h->blocks;
    if (b->next)
        b->next->at = &b->next;
    h->blocks = b;
}

static void delist(struct heap_block *b)
{
    *b->at = b->next;
    if (b->next)
        b->next->at = b->at;
}

void *heap_alloc(struct heap *h, size_t n)
{
    if (n > SIZE_MAX - sizeof(struct heap_block))
        return NULL;
    struct heap_block *b = malloc(sizeof *b + n);
    if (!b)
        return NULL;
    enlist(h, b);
    return b->bytes;
}

void *heap_resize(struct heap *h, void *p, size_t n)
{
    if (!p)
        return heap_alloc(h, n);
    if (n > SIZE_MAX - sizeof(struct heap_block))
        return NULL;
    struct heap_block *b = block_of(p);
    delist(b);
    struct heap_block *moved = realloc(b, sizeof *b + n);
    enlist(h, moved ? moved : b);
    return moved ? moved->bytes : NULL;
}

void heap_free(struct heap *h, void *p)
{
    (void)h;
    if (!p)
        return;
    delist(block_of(p));
    free(block_of(p));
}

void heap_release(struct heap *h)
{
    while (h->blocks)
        heap_free(h, h->blocks->bytes);
}
