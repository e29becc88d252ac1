/*
 * Batches and their atoms: from BEGIN to the last ACK. An atom is staged as its content arrives;
 * a failure is kept with it and reported in the ACK, and the others go on. A batch whose site
 * failed is dead: its messages are swallowed.
 */
#ifndef SECONDARY_COMMIT_BATCH_H
#define SECONDARY_COMMIT_BATCH_H

#include "protocol/msg.h"
#include "secondary/commit/step.h"
#include "secondary/site/replica.h"

struct commit;
struct transfer;
struct survey;
struct swap;
struct hold_wait;

struct atom {
    struct step step;
    uint32_t number;
    size_t held; /* of tools->held */
    struct batch *batch;
    struct transfer *transfer; /* content is arriving or being made */
    struct survey *survey;     /* a directory in the way is being looked through */
    bool aborted;
    bool part;    /* staged under a part's name */
    bool keeping; /* what is staged is worth more than the file it replaces: kept as a part */
};

struct batch {
    struct batch *next;
    uint32_t number;
    struct replica *replica; /* NULL: dead */
    struct atom **atoms;     /* by rising number */
    size_t count, cap;
    struct set *directories; /* by path: atoms of new directories, staged with what is inside */
    struct hold_wait *hold;  /* then for its readers; NULL: not */
    struct swap *swap;       /* what its units wait for, from its turn on */
    bool whole;              /* switches units: all of it is done, or nothing */
    unsigned pending;        /* jobs to be waited for before the commit */
    uint64_t commit_order;   /* 0: COMMIT has not come yet */
    struct commit *commit;   /* begun */
    struct job turn;         /* its steps, and how many there were */
    uint64_t turns;
};

/* The messages. -1 with err: the session must end, with tools->reason. */
int batch_open(struct tools *tools, const struct msg_begin *m, struct err *err);
int batch_commit(struct tools *tools, const struct msg_commit *m, struct err *err);
int batch_drop(struct tools *tools, const struct msg_drop *m, struct err *err);

/* A new atom of an open batch. NULL with err: the session must end. */
struct atom *batch_add_atom(struct tools *tools, uint32_t batch, uint32_t number, uint8_t kind,
    struct bytes path, struct err *err);

/* It holds so many bytes more: of a path, or its entry. -1 with err: the session must end. */
int batch_hold(struct tools *tools, struct atom *a, size_t bytes, struct err *err);

/* An atom whose content may still come. NULL with err: the session must end. */
struct atom *batch_find_atom(struct tools *tools, uint32_t number, struct err *err);

void batch_clear_atom(struct atom *a); /* ends its jobs */

bool batch_has_failed(const struct batch *b); /* one of its atoms has */

/* A job of one of its atoms ended: the commit may be due. */
void batch_job_done(struct batch *b);

void batch_orphan(struct replica *r);   /* its batches are dead from now on */
void batch_drop_all(struct replica *r); /* its batches are forgotten (CLOSE) */
void batch_forget(struct batch *b, struct tools *tools);
void batch_forget_all(struct tools *tools);

#endif
