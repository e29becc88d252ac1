/*
 * Fields that several messages share, each with its check: digests, booleans, names, texts. For the
 * codec's own files, and those that encode what the receiver's processes tell each other.
 */
#ifndef PROTOCOL_FIELD_H
#define PROTOCOL_FIELD_H

#include "protocol/entry.h"

void field_put_digest(struct wire_writer *w, const struct digest *d);
void field_get_digest(struct wire_reader *r, struct digest *out);

/* u8, 0 or 1. */
bool field_get_bool(struct wire_reader *r);

/* u8 that is at most `last`. */
uint8_t field_get_enum(struct wire_reader *r, uint8_t last);

/* u64 that fits the kernel's signed file sizes. */
uint64_t field_get_size(struct wire_reader *r);

/* u16-prefixed: a string without NUL bytes; a path (the empty one is the root); a path that is not
 * the root; one component of a path. */
struct bytes field_get_text(struct wire_reader *r, size_t max);
struct bytes field_get_path(struct wire_reader *r);
struct bytes field_get_path_beneath(struct wire_reader *r);
struct bytes field_get_name(struct wire_reader *r);

/* u16, one of enum msg_reason but REASON_NONE. */
uint16_t field_get_reason(struct wire_reader *r);

/* Marks the reader bad unless the condition holds; the second one for names and paths. */
void field_require(struct wire_reader *r, bool condition);
void field_require_name(struct wire_reader *r, bool condition);

#endif
