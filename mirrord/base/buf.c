/* A growing byte buffer; see buf.h. */
#include "base/buf.h"

#include <string.h>

#include "base/mem.h"

enum { SMALLEST = 4096 };

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

uint8_t *buf_room(struct buf *b, size_t n)
{
    if (b->start == b->end)
        b->start = b->end = 0;
    if (b->cap - b->end >= n && b->data)
        return b->data + b->end;
    size_t len = buf_len(b);
    if (b->start > 0) { /* move down before growing */
        memmove(b->data, b->data + b->start, len);
        b->start = 0;
        b->end = len;
    }
    if (b->cap - len < n || !b->data) {
        size_t want = b->cap ? b->cap : SMALLEST;
        while (want < len + n)
            want *= 2;
        b->data = mem_resize(b->data, want, 1);
        b->cap = want;
    }
    return b->data + b->end;
}

void buf_fill(struct buf *b, size_t n)
{
    b->end += n;
}

void buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_room(b, n), p, n);
    b->end += n;
}

void buf_drain(struct buf *b, size_t n)
{
    b->start += n;
}

void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}
