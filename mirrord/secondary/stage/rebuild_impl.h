/* What rebuild.c and orders.c share: a file that is made anew by extents. */
#ifndef SECONDARY_STAGE_REBUILD_IMPL_H
#define SECONDARY_STAGE_REBUILD_IMPL_H

#include <sys/queue.h>

#include "secondary/stage/extent_reader.h"
#include "secondary/stage/transfer_impl.h"

enum order_what { ORDER_COPY, ORDER_BASE, ORDER_CONTENT, ORDER_DELTA, ORDER_FINISH };

struct order {
    TAILQ_ENTRY(order) next;
    enum order_what what;
    uint64_t offset, length; /* COPY, BASE: of the old file; FINISH: length is the file's */
    struct digest digest;    /* FINISH */
    uint64_t asked;          /* COPY: bytes done, or the threads' to do */
    size_t len;
    uint64_t done;
    uint8_t bytes[]; /* CONTENT, DELTA */
};

struct rebuild {
    struct transfer *t;
    struct extent_reader *reader; /* NULL: not yet */
    bool reading;                 /* it is one of tools->readers */
    uint64_t size;                /* of the old file */
    bool shared;                  /* the staged file began as a clone of it, and may be too long */
    bool quiet;                   /* the primary knows it */
    bool told;                    /* EXTENTS with `last` is out, or it is not to be */
    uint64_t told_ms;
    TAILQ_HEAD(order_list, order) orders;
    bool stalled;              /* the first of them waits for the threads */
    size_t waiting;            /* bytes that they take */
    struct delta_patch *patch; /* of the range named last; NULL: none, or it is complete */
    struct msg_range wanted[MSG_RANGES_MAX];
    unsigned wanted_first, wanted_count;
    struct delta_sign *sign; /* of the first one wanted */
};

static inline struct tools *rebuild_tools(const struct rebuild *r)
{
    return r->t->atom->batch->replica->tools;
}

/* rebuild.c: an EXTENTS frame; nothing more is told after the last one. */
void rebuild_put_extents(struct rebuild *r, struct bytes items, bool last);

/* orders.c */
/* Carries out what waits, until the deadline (io_now_us). 1 when it is over, with the transfer,
 * else 0. */
int orders_work(struct rebuild *r, uint64_t deadline);
void orders_drop_first(struct rebuild *r);

#endif
