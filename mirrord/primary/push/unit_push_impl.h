/*
 * What the parts of a unit's push share: unit_push.c (its states, how it is taken and given back),
 * unit_batch.c (what is sent of it), unit_plan.c (what has to be). Private to them.
 */
#ifndef PRIMARY_PUSH_UNIT_PUSH_IMPL_H
#define PRIMARY_PUSH_UNIT_PUSH_IMPL_H

#include "primary/push/unit_plan.h"

enum unit_state {
    UNIT_STALE, /* something happened in it: it begins anew when it is calm, but with its batch */
    UNIT_COMPARING,
    UNIT_PLANNING,
    UNIT_SENDING,
    UNIT_CHECKING,
    UNIT_COMMITTED
};

struct unit_push {
    TAILQ_ENTRY(unit_push) order;
    struct push_site *ps;
    struct owed *owed; /* flies */
    enum unit_state state;
    uint64_t generation; /* when the comparison began */
    bool whole;          /* directories are switched */
    bool ahead;          /* it was taken before it rested */
    unsigned rounds;     /* so often it became stale */
    uint64_t due_ms;     /* STALE: not before */
    bool forced;         /* it never rests: what can be sent is */
    bool spoiled;        /* it is not any more what was compared */
    struct err err;      /* it cannot be read */
    struct compare *compare;
    struct unit_plan *plan;
    struct push_batch *batch;
    struct set *tops; /* that the batch has a UNIT of */
    void *check;
};

/* A batch of its own, empty but for what says what is switched (`whole`: the plan's tops). */
void unit_batch_begin(struct push *p, struct unit_push *u, bool whole);
/* Can what the plan has now go with the batch that was begun? UNITs come first in a batch: it
 * cannot be given another. */
bool unit_batch_serves(const struct unit_push *u);
/* What was sent of it is forgotten there. */
void unit_batch_drop(struct push *p, struct unit_push *u);

/* Sends one path of the plan, in place of what was sent of it before; nothing where that is what is
 * there still. Where it is not what was compared, the unit is spoiled. */
void unit_batch_send(struct push *p, struct unit_push *u, struct owed *o);

#endif
