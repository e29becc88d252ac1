/*
 * The shared fields. Every check here answers through the reader's flag, so that decoders stay
 * straight lines.
 */
#include "protocol/field.h"

#include <string.h>

#include "protocol/msg.h"
#include "protocol/path.h"

void field_require(struct wire_reader *r, bool condition)
{
    if (!condition)
        r->bad = true;
}

void field_require_name(struct wire_reader *r, bool condition)
{
    if (!condition && !r->bad)
        r->bad = r->refused = true;
}

void field_put_digest(struct wire_writer *w, const struct digest *d)
{
    wire_raw(w, d->b, sizeof(d->b));
}

void field_get_digest(struct wire_reader *r, struct digest *out)
{
    wire_get_raw(r, out->b, sizeof(out->b));
}

uint8_t field_get_enum(struct wire_reader *r, uint8_t last)
{
    uint8_t v = wire_get_u8(r);
    field_require(r, v <= last);
    return v;
}

bool field_get_bool(struct wire_reader *r)
{
    return field_get_enum(r, 1) == 1;
}

uint64_t field_get_size(struct wire_reader *r)
{
    uint64_t v = wire_get_u64(r);
    field_require(r, v <= ENTRY_SIZE_MAX);
    return v;
}

struct bytes field_get_text(struct wire_reader *r, size_t max)
{
    struct bytes b = wire_get_short(r, max);
    field_require(r, b.len == 0 || memchr(b.data, '\0', b.len) == NULL);
    return b;
}

struct bytes field_get_path(struct wire_reader *r)
{
    struct bytes b = wire_get_short(r, UINT16_MAX);
    field_require_name(r, path_valid(b));
    return b;
}

struct bytes field_get_path_beneath(struct wire_reader *r)
{
    struct bytes b = field_get_path(r);
    field_require_name(r, b.len > 0);
    return b;
}

struct bytes field_get_name(struct wire_reader *r)
{
    struct bytes b = wire_get_short(r, UINT16_MAX);
    field_require_name(r, path_name_valid(b));
    return b;
}

uint16_t field_get_reason(struct wire_reader *r)
{
    uint16_t v = wire_get_u16(r);
    field_require(r, v > REASON_NONE && v <= REASON_LAST);
    return v;
}
