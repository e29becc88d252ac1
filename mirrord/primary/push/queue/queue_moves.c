/*
 * Renames in a queue: a move takes the place of what is owed at both of its names, what is owed
 * beneath the old one is owed beneath the new one, and a chain of moves becomes one. Where that
 * cannot be said as a move, what is at both ends is owed instead.
 */
#include <string.h>

#include "base/mem.h"
#include "base/set.h"
#include "primary/owe.h"
#include "primary/push/queue/queue_impl.h"

static bool holds_units(const struct queue_site *qs, struct bytes path)
{
    const struct site_options *o = qs->site ? &qs->site->options : NULL;
    struct bytes key;
    return o && o->units && !o->dry_run &&
           (unit_rules_match(o->units, path, true, &key) || unit_rules_above(o->units, path));
}

/* What was sent beneath the path, or flies, is not what is there now: a comparison that runs must
 * not take it for that, and what flies may arrive behind the comparison. */
static void distrust_beneath(struct queue *q, struct queue_site *qs, struct bytes path)
{
    struct set_item *next, *i;
    for (i = qs->done ? set_first(qs->done) : NULL; i; i = next) {
        next = i->next;
        if (path_beneath((struct bytes){i->key, i->len}, path))
            set_remove(qs->done, i);
    }
    struct owed *o;
    TAILQ_FOREACH (o, &qs->flying, order)
        if (path_beneath(queue_path(o), path))
            queue_note_again(q, o, 0, OWED_ANY, false);
}

/* All that is beneath the path, though nobody knows what the secondary has there: something that
 * has left it may be beneath another directory of that name by now. */
static struct owed *owe_all(struct queue *q, struct queue_site *qs, struct bytes path, bool *fresh)
{
    struct owed *o = queue_owe_locked(q, qs, path, OWE_SUBTREE, OWED_ANY, fresh);
    distrust_beneath(q, qs, path);
    if (o->place == OWED_FLYING)
        queue_note_again(q, o, OWE_SUBTREE, OWED_ANY, true);
    else
        o->check = true;
    return o;
}

void queue_give_up_move(struct queue *q, struct owed *o)
{
    bool fresh;
    struct owed *from = owe_all(q, o->home, bytes_of(o->source), &fresh);
    if (fresh && o->seq < from->seq)
        from->seq = o->seq; /* a flush that waits for the move waits for this */
    o->kind = OWED_ANY;
    o->subtree = o->check = true;
}

/* The move `last` begins where the move `first` does. What that one would have taken the place of
 * at the name between the two is there still: owed, behind what waits. */
static void shorten(struct owed *first, struct owed *last)
{
    free(last->source);
    last->source = TAKE_PTR(first->source);
    queue_leave(first);
    first->kind = OWED_ANY;
    first->subtree = first->check = true;
    queue_line_up(first);
}

/* What is owed as `o` is owed as `n`, which was there before or not. */
static void pass_on(struct queue *q, const struct owed *o, struct owed *n)
{
    uint64_t *seq = &n->seq;
    if (n->place == OWED_FLYING) {
        queue_note_again(q, n, o->subtree ? OWE_SUBTREE : 0, OWED_ANY, o->check);
        seq = &n->again_seq;
    } else {
        n->subtree |= o->subtree;
        n->check |= o->check;
    }
    if (o->seq < *seq)
        *seq = o->seq; /* a flush that waits for the one waits for the other */
}

/* Everything waiting at or beneath `from` is owed at its new name instead, and `from` no more. */
static void rename_owed(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to)
{
    struct set_item *next;
    for (struct set_item *i = set_first(qs->items); i; i = next) {
        next = i->next;
        struct owed *o = i->value;
        struct bytes path = {i->key, i->len};
        if (o->place == OWED_FLYING || !path_beneath(path, from))
            continue;
        char *renamed CLEANUP_FREE = mem_format("%.*s%.*s", (int)to.len, (const char *)to.data,
            (int)(path.len - from.len), i->key + from.len);
        struct set_item *there = set_add(qs->items, renamed, strlen(renamed));
        if (!there->value) {
            struct owed *n = queue_make(q, qs, there);
            n->class = o->class;
            n->since_ms = o->since_ms;
            queue_line_up(n);
        }
        struct owed *n = there->value;
        bool chain = o->kind == OWED_MOVE && n->kind == OWED_MOVE && path.len == from.len;
        if (o->kind == OWED_MOVE && !chain)
            queue_give_up_move(q, o);
        pass_on(q, o, n);
        if (chain) /* a to t, t to b: a to b */
            shorten(o, n);
        else
            queue_drop(o);
    }
}

/* A rename that has to do with units is no move: they are switched, each by itself. */
void queue_owe_both(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to)
{
    bool fresh;
    pthread_mutex_lock(&q->lock);
    qs->news++;
    owe_all(q, qs, from, &fresh);
    owe_all(q, qs, to, &fresh);
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
}

void queue_move(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to)
{
    if (holds_units(qs, from) || holds_units(qs, to)) {
        queue_owe_both(q, qs, from, to);
        return;
    }
    bool fresh;
    pthread_mutex_lock(&q->lock);
    qs->news++;
    struct set_item *item = set_add(qs->items, to.data, to.len);
    struct owed *o = item->value;
    if (o && (o->place == OWED_FLYING || o->kind == OWED_MOVE)) {
        /* Two moves to one name in a row: the state of all three names says it as well. */
        if (o->place == OWED_FLYING)
            queue_note_again(q, o, OWE_SUBTREE, OWED_ANY, true);
        else
            o->subtree = o->check = true;
        owe_all(q, qs, from, &fresh);
        pthread_mutex_unlock(&q->lock);
        q->wake(q->ctx);
        return;
    }
    if (o)
        queue_leave(o);
    else
        o = queue_make(q, qs, item);
    free(o->source);
    o->source = mem_copy_bytes(from.data, from.len);
    o->kind = OWED_MOVE;
    o->class = OWED_LIVE;
    queue_line_up(o);
    rename_owed(q, qs, from, to);
    if (path_beneath(to, bytes_of(o->source))) /* a chain that leads back to where it began */
        queue_give_up_move(q, o);
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
}
