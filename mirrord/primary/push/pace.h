/*
 * How much bulk may be on its way to the far end. Whatever is sent waits behind what is on its way
 * already: in this process, in the kernel, in sshd, in the pipe to the far end's `receive`. So
 * marks (PING) travel between the bulk, and what they say when they come back (PONG) bounds it: as
 * little as keeps the link busy, so that a live change never stands behind more than some
 * milliseconds of bulk, whichever part of the way is the slow one.
 *
 * Knows bytes and times, no messages.
 */
#ifndef PRIMARY_PUSH_PACE_H
#define PRIMARY_PUSH_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PACE_MIN = 64 * 1024, /* the least that may be on its way, */
    PACE_FIRST = 256 * 1024,
    PACE_MAX = 8 * 1024 * 1024, /* and the most */
    /* What comes behind the bulk is to wait for about an eighth of the way, and in these bounds:
     * less, and a distant link is not kept busy; more, and sshd, which copies what waits in it with
     * every packet that it adds (sshbuf.c, recallocarray), takes 20 ms a MiB. */
    PACE_QUEUE_MIN_US = 1500,
    PACE_QUEUE_MAX_US = 8000,
    PACE_MARKS = 64,
};

struct pace {
    uint64_t limit;                  /* bytes that may be on their way */
    uint64_t sent;                   /* bytes of bulk so far, */
    uint64_t marked;                 /* … before the last mark, */
    uint64_t reached;                /* … before the last that came back */
    bool met_wait;                   /* it has been too much once */
    uint64_t trip_us;                /* the shortest lately */
    uint64_t trip_new_us, period_us; /* the shortest of the period that began at period_us */
    struct {
        uint64_t sent, at_us;
        uint64_t out;    /* bytes on their way when it was sent, those before it included */
    } marks[PACE_MARKS]; /* on their way, a ring */
    unsigned first, count;
};

void pace_begin(struct pace *p, uint64_t now_us);

/* May more bulk be sent? When not, a mark is on its way. */
bool pace_is_open(const struct pace *p);

/* So many bytes of bulk were put out. True, where that may be: a mark with this token is to be sent
 * behind them. */
bool pace_sent(struct pace *p, size_t bytes, bool may_mark, uint64_t now_us, uint64_t *token);

/* A mark came back; others than the next one expected are not this module's and ignored. */
void pace_came(struct pace *p, uint64_t token, uint64_t now_us);

#endif
