/* A growing byte buffer that is filled at the end and drained at the front: what waits to be sent
 * or has been received but not yet understood. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t start; /* first byte not yet drained */
    size_t end;   /* behind the last byte */
    size_t cap;
};

void buf_free(struct buf *b);

/* Makes room for n more bytes and returns where they go; buf_fill then says how many came. */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_fill(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *p, size_t n);

/* Drops n ≤ buf_len bytes at the front. Pointers into the buffer stay valid until buf_room. */
void buf_drain(struct buf *b, size_t n);
void buf_clear(struct buf *b);

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

static inline const uint8_t *buf_bytes(const struct buf *b)
{
    return b->data ? b->data + b->start : NULL;
}

#endif
