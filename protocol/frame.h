/*
 * Frames: u32 length of what follows, u8 message type, payload. A frame is at most FRAME_MAX bytes
 * in all, so that a live message never waits behind more than one of bulk.
 */
#ifndef PROTOCOL_FRAME_H
#define PROTOCOL_FRAME_H

#include "protocol/wire.h"

enum {
    FRAME_MAX = 65536, /* whole frame */
    FRAME_HEADER = 5,  /* length and type */
    FRAME_PAYLOAD_MAX = FRAME_MAX - FRAME_HEADER,
};

struct frame {
    uint8_t type;
    struct bytes payload; /* points into the input */
};

/* Starts a frame at the writer's end; returns the offset that frame_end wants. */
size_t frame_begin(struct wire_writer *w, uint8_t type);

/* Writes the length. Where the frame is over FRAME_MAX, or the writer became bad within it, marks
 * the writer bad and takes the frame back: whole frames before it stay. */
void frame_end(struct wire_writer *w, size_t start);

/* The first frame of the input: its length in bytes (> 0) with *out filled; 0 when more input is
 * needed; -1 when the announced length is 0 or over the limit (the session must end). */
int frame_next(const void *p, size_t n, struct frame *out);

#endif
