/*
 * Bytes in and out: fixed-width little-endian integers and length-prefixed byte strings.
 *
 * One writer that grows to a stated maximum, one reader with a sticky `bad` flag: encoders and
 * decoders are straight lines with one check at the end. Nothing here knows messages.
 */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes somebody else owns. Text in it is not NUL-terminated. {NULL, 0} is the empty string. */
struct bytes {
    const void *data;
    size_t len;
};

bool bytes_equal(struct bytes a, struct bytes b);
int bytes_compare(struct bytes a, struct bytes b); /* memcmp order, the shorter first */
struct bytes bytes_of(const char *text);           /* of a C string; NULL is empty */

struct wire_writer {
    uint8_t *data; /* malloc'ed; the owner frees it with wire_free */
    size_t len, cap;
    size_t max; /* never grows beyond; 0 = no limit */
    bool bad;   /* something did not fit, or memory ended; nothing more is written */
};

void wire_free(struct wire_writer *w);
void wire_reset(struct wire_writer *w); /* empty again and not bad; keeps the memory */
void wire_u8(struct wire_writer *w, uint8_t v);
void wire_u16(struct wire_writer *w, uint16_t v);
void wire_u32(struct wire_writer *w, uint32_t v);
void wire_u64(struct wire_writer *w, uint64_t v);
void wire_raw(struct wire_writer *w, const void *p, size_t n); /* no length in front */
void wire_blob(struct wire_writer *w, struct bytes b);         /* u32 length, bytes */
void wire_short(struct wire_writer *w, struct bytes b); /* u16 length, bytes; bad above 65,535 */
void wire_patch_u32(struct wire_writer *w, size_t at, uint32_t v); /* overwrite at an offset */

struct wire_reader {
    const uint8_t *data;
    size_t len, pos;
    bool bad;     /* ran over the end or over a limit; every later read gives zeros */
    bool refused; /* bad, and the first fault was a name or a path that may not be sent */
};

struct wire_reader wire_reader_of(const void *p, size_t n);
uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
void wire_get_raw(struct wire_reader *r, void *out, size_t n); /* zeros when bad */

/* Points into the reader's bytes; bad when longer than max. */
struct bytes wire_get_blob(struct wire_reader *r, size_t max);
struct bytes wire_get_short(struct wire_reader *r, size_t max);

/* The one check at the end: not bad, and nothing left over. */
bool wire_done(const struct wire_reader *r);

#endif
