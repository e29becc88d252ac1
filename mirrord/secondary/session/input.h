/*
 * What has come from the primary and was not looked at yet, frame by frame, and for how long
 * nothing has come, or nothing whole. Knows frames, not messages. A primary that is silent, or
 * brings a frame by single bytes, is not waited for.
 */
#ifndef SECONDARY_SESSION_INPUT_H
#define SECONDARY_SESSION_INPUT_H

#include "base/buf.h"
#include "base/err.h"
#include "protocol/frame.h"
#include "secondary/session/crawl.h"

struct input {                     /* zeroed but for what is said to be set before */
    int fd;                        /* set before; borrowed */
    uint64_t silence_ms, crawl_ms; /* set before: without a byte; for one frame */
    uint64_t heard_ms, heard_us;   /* when the last byte came (io_now_ms, io_now_us); set before */
    struct buf bytes;              /* what a process before had read may be put here */
    struct crawl crawl;            /* of the frame of which `bytes` has a part */
    bool whole;                    /* a frame was taken since the last input_check */
};

void input_free(struct input *in); /* what it holds */

/* The first frame that is there whole: its length, or 0, or -1 with err: what comes is none. Its
 * payload is valid until input_drain takes that length away. */
int input_next(const struct input *in, struct frame *f, struct err *err);
void input_drain(struct input *in, int length);

/* Reads what the descriptor, which is readable, has. 0; INPUT_ENDED: the stream's clean end; -1
 * with err: it cannot be read (its errno), or has ended within a frame (none). */
enum { INPUT_ENDED = 1 };
int input_read(struct input *in, struct err *err);

/* When all frames were taken: -1 with err, a part of one has been coming for too long. */
int input_check(struct input *in, struct err *err);

/* -1 with err: nothing has come for too long. */
int input_check_silence(const struct input *in, struct err *err);

/* Within how many milliseconds one of the two checks is due. */
int input_wait_ms(const struct input *in);

#endif
