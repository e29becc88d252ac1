/* Blocks of malloc in a doubly linked list. Knows nothing of who uses them. */
#include "link/ssh2/heap.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct heap_block {
    struct heap_block *next, **at;
    size_t size; /* of the bytes */
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
    b->size = n;
    enlist(h, b);
    return b->bytes;
}

/* realloc may leave a copy behind. */
static void *move_and_wipe(struct heap *h, void *p, size_t n)
{
    size_t size = block_of(p)->size;
    void *moved = heap_alloc(h, n);
    if (!moved)
        return NULL;
    memcpy(moved, p, size < n ? size : n);
    heap_free(h, p);
    return moved;
}

void *heap_resize(struct heap *h, void *p, size_t n)
{
    if (!p)
        return heap_alloc(h, n);
    if (h->wipes)
        return move_and_wipe(h, p, n);
    if (n > SIZE_MAX - sizeof(struct heap_block))
        return NULL;
    struct heap_block *b = block_of(p);
    delist(b);
    struct heap_block *moved = realloc(b, sizeof *b + n);
    if (moved)
        moved->size = n;
    enlist(h, moved ? moved : b);
    return moved ? moved->bytes : NULL;
}

void heap_free(struct heap *h, void *p)
{
    if (!p)
        return;
    struct heap_block *b = block_of(p);
    delist(b);
    if (h->wipes)
        explicit_bzero(b->bytes, b->size);
    free(b);
}

void heap_release(struct heap *h)
{
    while (h->blocks)
        heap_free(h, h->blocks->bytes);
}
