/*
 * The bottom of the codec: integers and strings into a growing buffer and out of a fixed one. It
 * knows byte order, bounds and the two sticky flags; what the bytes mean is for the layers above.
 */
#include "protocol/wire.h"

#include <stdlib.h>
#include <string.h>

enum { WIRE_CAP_FIRST = 256 };

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

struct bytes bytes_of(const char *text)
{
    return (struct bytes){text, text != NULL ? strlen(text) : 0};
}

void wire_free(struct wire_writer *w)
{
    free(w->data);
    *w = (struct wire_writer){.max = w->max};
}

void wire_reset(struct wire_writer *w)
{
    w->len = 0;
    w->bad = false;
}

/* Makes room for n more bytes. Memory that ends only marks the writer: this layer is pure, and how
 * much is asked for may depend on the peer. */
static bool wire_grow(struct wire_writer *w, size_t n)
{
    size_t limit = w->max != 0 ? w->max : SIZE_MAX;
    if (n > limit || w->len > limit - n)
        return false;
    size_t want = w->len + n;
    if (want <= w->cap)
        return true;
    size_t cap = w->cap > 0 ? w->cap : WIRE_CAP_FIRST;
    while (cap < want)
        cap = cap > SIZE_MAX / 2 ? want : cap * 2;
    if (cap > limit)
        cap = limit;
    uint8_t *data = realloc(w->data, cap);
    if (data == NULL)
        return false;
    w->data = data;
    w->cap = cap;
    return true;
}

/* Where the next n bytes go, which count as written; NULL with the writer bad from then on. */
static uint8_t *wire_room(struct wire_writer *w, size_t n)
{
    if (w->bad || !wire_grow(w, n)) {
        w->bad = true;
        return NULL;
    }
    uint8_t *at = w->data + w->len;
    w->len += n;
    return at;
}

void wire_raw(struct wire_writer *w, const void *p, size_t n)
{
    uint8_t *at = n > 0 ? wire_room(w, n) : NULL;
    if (at != NULL)
        memcpy(at, p, n);
}

/* The lowest n bytes of v, lowest first. */
static void wire_store(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static void wire_integer(struct wire_writer *w, uint64_t v, size_t n)
{
    uint8_t *at = wire_room(w, n);
    if (at != NULL)
        wire_store(at, v, n);
}

void wire_u8(struct wire_writer *w, uint8_t v)
{
    wire_integer(w, v, 1);
}

void wire_u16(struct wire_writer *w, uint16_t v)
{
    wire_integer(w, v, 2);
}

void wire_u32(struct wire_writer *w, uint32_t v)
{
    wire_integer(w, v, 4);
}

void wire_u64(struct wire_writer *w, uint64_t v)
{
    wire_integer(w, v, 8);
}

void wire_blob(struct wire_writer *w, struct bytes b)
{
    if (b.len > UINT32_MAX) {
        w->bad = true;
        return;
    }
    wire_u32(w, (uint32_t)b.len);
    wire_raw(w, b.data, b.len);
}

void wire_short(struct wire_writer *w, struct bytes b)
{
    if (b.len > UINT16_MAX) {
        w->bad = true;
        return;
    }
    wire_u16(w, (uint16_t)b.len);
    wire_raw(w, b.data, b.len);
}

void wire_patch_u32(struct wire_writer *w, size_t at, uint32_t v)
{
    if (w->bad)
        return;
    if (w->len < 4 || at > w->len - 4) {
        w->bad = true;
        return;
    }
    wire_store(w->data + at, v, 4);
}

struct wire_reader wire_reader_of(const void *p, size_t n)
{
    return (struct wire_reader){.data = p, .len = n};
}

/* The next n bytes, or NULL with the reader bad from then on. */
static const uint8_t *wire_take(struct wire_reader *r, size_t n)
{
    if (r->bad || n > r->len - r->pos) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += n;
    return p;
}

static uint64_t wire_get_integer(struct wire_reader *r, size_t n)
{
    const uint8_t *p = wire_take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p != NULL && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
    return (uint8_t)wire_get_integer(r, 1);
}

uint16_t wire_get_u16(struct wire_reader *r)
{
    return (uint16_t)wire_get_integer(r, 2);
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    return (uint32_t)wire_get_integer(r, 4);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
    return wire_get_integer(r, 8);
}

void wire_get_raw(struct wire_reader *r, void *out, size_t n)
{
    if (n == 0)
        return;
    const uint8_t *p = wire_take(r, n);
    if (p != NULL)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

/* A string whose length has just been read; the limit comes first, then the bounds. */
static struct bytes wire_get_string(struct wire_reader *r, size_t len, size_t max)
{
    if (len > max)
        r->bad = true;
    if (r->bad || len == 0)
        return (struct bytes){NULL, 0};
    const uint8_t *p = wire_take(r, len);
    return (struct bytes){p, p != NULL ? len : 0};
}

struct bytes wire_get_blob(struct wire_reader *r, size_t max)
{
    return wire_get_string(r, wire_get_u32(r), max);
}

struct bytes wire_get_short(struct wire_reader *r, size_t max)
{
    return wire_get_string(r, wire_get_u16(r), max);
}

bool wire_done(const struct wire_reader *r)
{
    return !r->bad && r->pos == r->len;
}
