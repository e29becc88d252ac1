/*
 * What others ask of a queue: is this owed still, how much is. Changes nothing of it.
 */
#include <string.h>

#include "base/io.h"
#include "base/set.h"
#include "primary/push/queue/queue_impl.h"

bool queue_owes_beneath(struct queue *q, struct queue_site *qs, struct bytes path)
{
    bool owes = false;
    pthread_mutex_lock(&q->lock);
    for (struct set_item *i = set_first(qs->items); i && !owes; i = i->next) {
        const struct owed *o = i->value;
        bool counts = !o->awaits && (!o->error || o->class == OWED_UNIT);
        owes = counts && path_beneath((struct bytes){i->key, i->len}, path);
    }
    pthread_mutex_unlock(&q->lock);
    return owes;
}

size_t queue_size(struct queue *q, struct queue_site *qs)
{
    pthread_mutex_lock(&q->lock);
    size_t n = set_count(qs->items);
    pthread_mutex_unlock(&q->lock);
    return n;
}

/* Under the lock, for which the pushing thread waits meanwhile: of many not at every question. */
static void count_all(struct queue_site *qs, uint64_t now)
{
    enum { MANY = 4096, EVERY_MS = 1000 };
    if (set_count(qs->items) > MANY && qs->counted.at_ms && now - qs->counted.at_ms < EVERY_MS)
        return;
    memset(&qs->counted, 0, sizeof qs->counted);
    qs->counted.at_ms = qs->counted.oldest = now;
    for (struct set_item *i = set_first(qs->items); i; i = i->next) {
        const struct owed *o = i->value;
        qs->counted.bytes += o->bytes;
        qs->counted.failing += o->error != NULL;
        qs->counted.no_room += o->no_room;
        if (o->since_ms < qs->counted.oldest)
            qs->counted.oldest = o->since_ms;
    }
}

void queue_count(struct queue *q, struct queue_site *qs, struct queue_counts *out)
{
    uint64_t now = io_now_ms();
    pthread_mutex_lock(&q->lock);
    count_all(qs, now);
    *out = (struct queue_counts){.paths = set_count(qs->items),
        .flying = qs->flying_count,
        .failing = qs->counted.failing,
        .bytes = qs->counted.bytes,
        .no_room = qs->counted.no_room,
        .oldest_ms = now - qs->counted.oldest};
    pthread_mutex_unlock(&q->lock);
}

uint64_t queue_mark(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    uint64_t seq = q->seq;
    pthread_mutex_unlock(&q->lock);
    return seq;
}

static bool concerns(const struct owed *o, const struct bytes *paths, size_t count)
{
    struct bytes path = queue_path(o);
    for (size_t i = 0; i < count; i++)
        if (o->class == OWED_UNIT ? unit_rules_touches(o->home->site->options.units, path, paths[i])
                                  : path_beneath(path, paths[i]) || path_beneath(paths[i], path))
            return true;
    return count == 0;
}

bool queue_owes(struct queue *q, struct queue_site *qs, uint64_t mark, const struct bytes *paths,
    size_t path_count)
{
    bool owes = false;
    pthread_mutex_lock(&q->lock);
    for (struct set_item *i = set_first(qs->items); i && !owes; i = i->next) {
        const struct owed *o = i->value;
        owes = o->seq <= mark && concerns(o, paths, path_count);
    }
    pthread_mutex_unlock(&q->lock);
    return owes;
}
