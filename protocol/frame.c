/*
 * Cuts a byte stream into frames and puts them together. It knows the header and the limit on the
 * length; message types and payloads are opaque to it.
 */
#include "protocol/frame.h"

/* The length on the wire counts what follows it: the type and the payload. */
enum { FRAME_LENGTH_SIZE = 4, FRAME_LENGTH_MAX = FRAME_MAX - FRAME_LENGTH_SIZE };

size_t frame_begin(struct wire_writer *w, uint8_t type)
{
    size_t start = w->len;
    wire_u32(w, 0);
    wire_u8(w, type);
    return start;
}

void frame_end(struct wire_writer *w, size_t start)
{
    if (!w->bad && w->len - start <= FRAME_MAX) {
        wire_patch_u32(w, start, (uint32_t)(w->len - start - FRAME_LENGTH_SIZE));
        return;
    }
    w->bad = true;
    w->len = start;
}

int frame_next(const void *p, size_t n, struct frame *out)
{
    if (n < FRAME_LENGTH_SIZE)
        return 0;
    struct wire_reader r = wire_reader_of(p, n);
    uint32_t length = wire_get_u32(&r);
    if (length == 0 || length > FRAME_LENGTH_MAX)
        return -1;
    if (n - FRAME_LENGTH_SIZE < length)
        return 0;
    out->type = wire_get_u8(&r);
    out->payload = (struct bytes){r.data + r.pos, length - 1};
    return (int)(FRAME_LENGTH_SIZE + length);
}
