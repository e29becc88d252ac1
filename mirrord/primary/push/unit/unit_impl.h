/*
 * What the parts of a unit's push share: unit_push.c (which are on their way), unit_step.c (the
 * states of one), unit_plan.c (what has to be sent of it), unit_batch.c (what is), unit_end.c (how
 * it leaves, or begins anew). Private to them.
 */
#ifndef PRIMARY_PUSH_UNIT_UNIT_IMPL_H
#define PRIMARY_PUSH_UNIT_UNIT_IMPL_H

#include "primary/push/unit/unit_plan.h"

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

/* unit_push.c */
/* Why directories of it are not switched but renamed file by file (PIECEMEAL_…, ACK_PIECEMEAL; 0:
 * they were switched): warned of once. */
void unit_note_piecemeal(struct push *p, struct push_site *ps, struct bytes unit, unsigned flags);

/* unit_step.c: goes on with it. False: nothing was done. True: it may be gone. */
bool unit_step(struct push *p, struct unit_push *u);

/* unit_end.c. After all of these but unit_end_stale it is gone. */
enum { UNIT_CHANGED_MS = 20 }; /* the first pause of one that changed meanwhile */
void unit_end_free(struct push *p, struct unit_push *u); /* frees it; who is owed it knows */
/* The same, and what was sent of it is forgotten there. */
void unit_end_drop(struct push *p, struct unit_push *u);
void unit_end_done(struct push *p, struct unit_push *u); /* it is level */
/* Back to the queue: to be taken, after that pause, as if nothing had been done about it. */
void unit_end_back(struct push *p, struct unit_push *u, unsigned pause_ms);
/* Something in it cannot be read, or was refused: all of it waits, or (once) is reported. */
void unit_end_fail(struct push *p, struct unit_push *u, const struct err *why);
/* Back to the queue, behind the directory above it, which is owed as well. */
void unit_end_await_parent(struct push *p, struct unit_push *u);
/* It changed while it was being sent: UNIT_STALE, with its batch, where that may be; else back to
 * the queue. */
void unit_end_stale(struct push *p, struct unit_push *u);

/* unit_batch.c */
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
