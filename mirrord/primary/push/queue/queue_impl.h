/*
 * What the parts of the queue share: queue.c (the set: what comes into it, is taken, and is done),
 * queue_moves.c (renames), queue_pauses.c (what is tried again), queue_look.c (what is asked of
 * it). Private to them.
 */
#ifndef PRIMARY_PUSH_QUEUE_QUEUE_IMPL_H
#define PRIMARY_PUSH_QUEUE_QUEUE_IMPL_H

#include <pthread.h>

#include "primary/push/queue/queue.h"

TAILQ_HEAD(owed_list, owed);

struct queue_site {
    TAILQ_ENTRY(queue_site) order;
    struct site *site;
    struct set *items;
    struct owed_list waiting[OWED_CLASSES];
    struct owed_list delayed;
    struct owed_list flying;
    size_t flying_count;
    bool moving;         /* a move flies */
    struct set *done;    /* paths, while they are remembered; else NULL */
    unsigned remembered; /* how often that began */
    atomic_uint_fast64_t news;
    struct {
        uint64_t at_ms; /* 0: never */
        uint64_t bytes, failing, no_room, oldest;
    } counted; /* what they were when all were gone through last */
};

struct queue {
    pthread_mutex_t lock;
    TAILQ_HEAD(, queue_site) sites;
    uint64_t seq;
    void (*wake)(void *ctx);
    void *ctx;
};

/* All of these under the lock. */

/* queue.c */
/* A new item, in no list yet. */
struct owed *queue_make(struct queue *q, struct queue_site *qs, struct set_item *item);
void queue_leave(struct owed *o);   /* its list */
void queue_line_up(struct owed *o); /* in no list: it waits, behind the others of its class */
void queue_drop(struct owed *o);
/* The item of this path, or of its unit, new or refreshed; *fresh says which. */
struct owed *queue_owe_locked(struct queue *q, struct queue_site *qs, struct bytes path,
    unsigned flags, enum owed_kind kind, bool *fresh);
/* It flies, and is owed again afterwards. */
void queue_note_again(
    struct queue *q, struct owed *o, unsigned flags, enum owed_kind kind, bool check);
/* It is given back without being done: what came meanwhile is of what is owed still. */
void queue_merge_again(struct owed *o);

/* queue_moves.c: a move that will not be made: what is at both of its ends is owed instead. */
void queue_give_up_move(struct queue *q, struct owed *o);

#endif
