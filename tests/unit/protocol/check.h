/* What the codec's tests share: cmocka, and looking at messages as bytes. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/msg.h"

/* The payload of the only frame in w, which must be of this type. */
static inline struct bytes check_payload(const struct wire_writer *w, uint8_t type)
{
    struct frame f;
    assert_false(w->bad);
    assert_int_equal(frame_next(w->data, w->len, &f), (int)w->len);
    assert_int_equal(f.type, type);
    return f.payload;
}

/* Why the only frame in w, whose payload its decoder refused, was refused. */
static inline uint16_t check_fault(const struct wire_writer *w)
{
    struct frame f;
    assert_false(w->bad);
    assert_int_equal(frame_next(w->data, w->len, &f), (int)w->len);
    return msg_fault(&f);
}

static inline void check_text(struct bytes b, const char *text)
{
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.data, text, b.len);
}

/* A copy in memory of exactly n bytes, so that a sanitizer sees a read beyond; free it. */
static inline uint8_t *check_copy(const void *data, size_t n)
{
    uint8_t *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    if (n > 0)
        memcpy(p, data, n);
    return p;
}

/* A string of n times the same letter; the caller frees .data. */
static inline struct bytes check_long(size_t n)
{
    char *p = malloc(n + 1);
    assert_non_null(p);
    memset(p, 'x', n);
    return (struct bytes){p, n};
}

static inline void check_long_free(struct bytes b)
{
    free((void *)b.data);
}

#endif
