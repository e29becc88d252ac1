/*
 * What is given back to a queue without being done, and when it is tried again: after a pause that
 * grows, at once since the connection is gone, or since the far end can do again what it could not.
 */
#include "base/io.h"
#include "base/mem.h"
#include "primary/push/queue/queue_impl.h"

/* A move that fails this often is given up for sending what is there. */
enum { MOVE_TRIES = 3 };

static uint64_t pause_of(unsigned delay_ms, unsigned max_ms, unsigned tries)
{
    uint64_t pause = delay_ms;
    for (unsigned i = 0; i < tries && pause < max_ms; i++)
        pause *= 2;
    return pause < max_ms ? pause : max_ms;
}

void queue_retry(
    struct queue *q, struct owed *o, unsigned delay_ms, unsigned max_ms, const char *error)
{
    pthread_mutex_lock(&q->lock);
    queue_leave(o);
    queue_merge_again(o);
    bool hopeless = o->whole || o->tries >= MOVE_TRIES;
    if (o->kind == OWED_MOVE && hopeless) { /* say by content what is where */
        queue_give_up_move(q, o);
    }
    free(o->error);
    o->error = mem_copy_string(error);
    uint64_t pause = pause_of(delay_ms, max_ms, o->tries++);
    if (pause == 0) {
        queue_line_up(o);
    } else {
        o->place = OWED_DELAYED;
        o->due_ms = io_now_ms() + pause;
        TAILQ_INSERT_TAIL(&o->home->delayed, o, order);
    }
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
}

void queue_land(struct queue *q, struct queue_site *qs)
{
    pthread_mutex_lock(&q->lock);
    while (!TAILQ_EMPTY(&qs->flying)) {
        struct owed *o = TAILQ_FIRST(&qs->flying);
        queue_leave(o);
        queue_merge_again(o);
        if (o->kind == OWED_MOVE)
            queue_give_up_move(q, o);
        queue_line_up(o);
    }
    pthread_mutex_unlock(&q->lock);
}

int queue_next_due(struct queue *q)
{
    uint64_t now = io_now_ms(), next = UINT64_MAX;
    struct queue_site *qs;
    pthread_mutex_lock(&q->lock);
    TAILQ_FOREACH (qs, &q->sites, order) {
        struct owed *o, *after;
        for (o = TAILQ_FIRST(&qs->delayed); o; o = after) {
            after = TAILQ_NEXT(o, order);
            if (o->due_ms <= now) {
                queue_leave(o);
                queue_line_up(o);
                next = now;
            } else if (o->due_ms < next) {
                next = o->due_ms;
            }
        }
    }
    pthread_mutex_unlock(&q->lock);
    return next == UINT64_MAX ? -1 : (int)(next - now);
}

static void now_due(struct owed *o)
{
    queue_leave(o);
    queue_line_up(o);
}

void queue_hurry(struct queue *q, struct queue_site *qs)
{
    struct owed *o, *next;
    pthread_mutex_lock(&q->lock);
    for (o = TAILQ_FIRST(&qs->delayed); o; o = next) {
        next = TAILQ_NEXT(o, order);
        if (!o->error && !o->no_room)
            continue;
        o->tries = 1;
        now_due(o);
    }
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
}

bool queue_probe(struct queue *q, struct queue_site *qs, uint64_t most)
{
    struct owed *o, *least = NULL;
    pthread_mutex_lock(&q->lock);
    TAILQ_FOREACH (o, &qs->delayed, order)
        if (o->error && (!least || o->bytes < least->bytes))
            least = o;
    bool small = !least || least->bytes < most;
    if (least && small)
        now_due(least);
    pthread_mutex_unlock(&q->lock);
    return small;
}
