/* What one secondary is owed; see queue.h. Knows sets and orders; nothing of what a path is or how
 * it is sent. */
#include "primary/push/queue/queue_impl.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/owe.h"

struct queue *queue_new(void (*wake)(void *ctx), void *ctx)
{
    struct queue *q = mem_alloc(sizeof *q);
    pthread_mutex_init(&q->lock, NULL);
    TAILQ_INIT(&q->sites);
    q->wake = wake;
    q->ctx = ctx;
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    while (!TAILQ_EMPTY(&q->sites))
        queue_remove_site(q, TAILQ_FIRST(&q->sites));
    pthread_mutex_destroy(&q->lock);
    free(q);
}

struct queue_site *queue_add_site(struct queue *q, struct site *s)
{
    struct queue_site *qs = mem_alloc(sizeof *qs);
    qs->site = s;
    qs->items = set_new();
    TAILQ_INIT(&qs->waiting[OWED_LIVE]);
    TAILQ_INIT(&qs->waiting[OWED_BULK]);
    TAILQ_INIT(&qs->waiting[OWED_UNIT]);
    TAILQ_INIT(&qs->delayed);
    TAILQ_INIT(&qs->flying);
    pthread_mutex_lock(&q->lock);
    TAILQ_INSERT_TAIL(&q->sites, qs, order);
    pthread_mutex_unlock(&q->lock);
    return qs;
}

static struct owed_list *list_of(struct owed *o)
{
    struct queue_site *qs = o->home;
    return o->place == OWED_FLYING    ? &qs->flying
           : o->place == OWED_DELAYED ? &qs->delayed
                                      : &qs->waiting[o->class];
}

void queue_leave(struct owed *o)
{
    TAILQ_REMOVE(list_of(o), o, order);
    if (o->place != OWED_FLYING || o->class == OWED_UNIT)
        return;
    o->home->flying_count--;
    if (o->kind == OWED_MOVE)
        o->home->moving = false;
}

void queue_drop(struct owed *o)
{
    queue_leave(o);
    set_remove(o->home->items, o->item);
    free(o->source);
    free(o->error);
    free(o);
}

static void clear(struct queue_site *qs)
{
    while (set_first(qs->items))
        queue_drop(set_first(qs->items)->value);
}

void queue_remove_site(struct queue *q, struct queue_site *qs)
{
    pthread_mutex_lock(&q->lock);
    TAILQ_REMOVE(&q->sites, qs, order);
    pthread_mutex_unlock(&q->lock);
    clear(qs);
    set_free(qs->items);
    set_free(qs->done);
    free(qs);
}

struct bytes queue_path(const struct owed *o)
{
    return (struct bytes){o->item->key, o->item->len};
}

struct owed *queue_make(struct queue *q, struct queue_site *qs, struct set_item *item)
{
    struct owed *o = mem_alloc(sizeof *o);
    o->item = item;
    o->home = qs;
    o->seq = ++q->seq;
    o->since_ms = io_now_ms();
    item->value = o;
    return o;
}

void queue_line_up(struct owed *o)
{
    o->place = OWED_WAITING;
    TAILQ_INSERT_TAIL(&o->home->waiting[o->class], o, order);
}

/* The unit in which the path lies, as far as it is to go with it; else the path itself. */
static struct bytes unit_or_path(
    const struct queue_site *qs, struct bytes path, unsigned flags, bool *unit)
{
    const struct site_options *o = qs->site ? &qs->site->options : NULL;
    struct bytes key;
    bool is_dir = flags & (OWE_DIR | OWE_SUBTREE);
    *unit = o && o->units && !o->dry_run && !(flags & OWE_ALONE) &&
            unit_rules_match(o->units, path, is_dir, &key);
    if (*unit)
        unrest_owed(qs->site->unrest, key);
    return *unit ? key : path;
}

static char *copy_or_null(struct bytes b)
{
    return b.len ? mem_copy_bytes(b.data, b.len) : NULL;
}

static void take_flags(struct owed *o, unsigned flags)
{
    o->subtree |= flags & OWE_SUBTREE;
    o->alone |= flags & OWE_ALONE;
    o->known |= flags & OWE_KNOWN;
    o->open |= flags & OWE_OPEN;
}

void queue_note_again(
    struct queue *q, struct owed *o, unsigned flags, enum owed_kind kind, bool check)
{
    if (!o->again)
        o->again_seq = ++q->seq;
    o->again_kind = o->again && o->again_kind != kind ? OWED_ANY : kind;
    o->again_flags |= flags;
    o->again_check |= check;
    o->again = true;
}

void queue_merge_again(struct owed *o)
{
    take_flags(o, o->again_flags);
    o->again_flags = 0;
    o->check |= o->again_check;
    if (o->again && o->kind != OWED_MOVE && o->kind != o->again_kind)
        o->kind = OWED_ANY;
}

/* The secondary has something beneath it that is not here. */
static bool holds_more(unsigned flags, enum owed_kind kind)
{
    return kind == OWED_DELETE && (flags & OWE_SUBTREE);
}

/* News about something that is owed already. */
static void refresh(struct queue *q, struct owed *o, unsigned flags, enum owed_kind kind, bool unit)
{
    if (o->place == OWED_FLYING) {
        queue_note_again(q, o, flags, kind, holds_more(flags, kind));
        o->again_unit |= unit;
        return;
    }
    take_flags(o, flags);
    o->check |= holds_more(flags, kind);
    if (o->kind != OWED_MOVE)
        o->kind = kind;
    if (unit || o->class == OWED_UNIT) {
        bool in_line = o->class == OWED_UNIT && o->place == OWED_WAITING;
        if (!in_line)
            queue_leave(o);
        o->class = OWED_UNIT;
        if (!in_line)
            queue_line_up(o);
        return;
    }
    bool hurry = !(flags & OWE_BULK) && (o->class == OWED_BULK || o->place == OWED_DELAYED);
    if (!hurry)
        return;
    queue_leave(o);
    o->class = OWED_LIVE;
    queue_line_up(o);
}

struct owed *queue_owe_locked(struct queue *q, struct queue_site *qs, struct bytes path,
    unsigned flags, enum owed_kind kind, bool *fresh)
{
    bool unit;
    path = unit_or_path(qs, path, flags, &unit);
    struct set_item *item = set_add(qs->items, path.data, path.len);
    *fresh = !item->value;
    if (item->value) {
        refresh(q, item->value, flags, unit ? OWED_ANY : kind, unit);
        return item->value;
    }
    struct owed *o = queue_make(q, qs, item);
    o->class = unit ? OWED_UNIT : flags & OWE_BULK ? OWED_BULK : OWED_LIVE;
    o->kind = unit ? OWED_ANY : kind;
    take_flags(o, flags);
    o->check = holds_more(flags, kind);
    queue_line_up(o);
    return o;
}

void queue_owe(struct queue *q, struct queue_site *qs, struct bytes path, unsigned flags,
    enum owed_kind kind, struct bytes source, uint64_t bytes, uint64_t files)
{
    bool fresh;
    pthread_mutex_lock(&q->lock);
    qs->news++;
    struct owed *o = queue_owe_locked(q, qs, path, flags, kind, &fresh);
    if (o->class == OWED_UNIT) {
        o->bytes += fresh || kind != OWED_ANY ? bytes : 0;
    } else if (fresh) {
        o->bytes = bytes;
        o->files = files;
        o->source = copy_or_null(source);
    }
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
}

uint64_t queue_news(const struct queue_site *qs)
{
    return qs->news;
}

/* It counts as owed since `seq` at the latest, whether it flies or will again. */
static void age(struct owed *o, uint64_t seq)
{
    if (o->again && o->again_seq > seq)
        o->again_seq = seq;
    if (!o->again && o->seq > seq)
        o->seq = seq;
}

void queue_backdate(struct queue *q, struct queue_site *qs, struct bytes path)
{
    bool unit;
    pthread_mutex_lock(&q->lock);
    struct bytes key = unit_or_path(qs, path, OWE_DIR, &unit);
    struct set_item *alone = set_find(qs->items, path.data, path.len);
    struct set_item *whole = unit ? set_find(qs->items, key.data, key.len) : NULL;
    if (alone)
        age(alone->value, 0);
    if (whole)
        age(whole->value, 0);
    pthread_mutex_unlock(&q->lock);
}

/* May this one go now, as far as moves are concerned? */
static bool clear_to_fly(const struct owed *o)
{
    const struct queue_site *qs = o->home;
    return !qs->moving && (o->kind != OWED_MOVE || qs->flying_count == 0);
}

static struct owed *first_at_rest(struct queue_site *qs)
{
    struct owed *o;
    TAILQ_FOREACH (o, &qs->waiting[OWED_UNIT], order)
        if (unrest_at_rest(qs->site->unrest, queue_path(o)))
            return o;
    return NULL;
}

/* A move in line holds back what stands behind it, in the bulk class too. */
static struct owed *first(struct queue_site *qs, enum owed_class class)
{
    struct owed *o = TAILQ_FIRST(&qs->waiting[class]);
    if (class == OWED_UNIT)
        return first_at_rest(qs);
    if (!o || !clear_to_fly(o))
        return NULL;
    const struct owed *live = TAILQ_FIRST(&qs->waiting[OWED_LIVE]);
    return class == OWED_BULK && live && live->kind == OWED_MOVE ? NULL : o;
}

static void fly(struct owed *o)
{
    queue_leave(o);
    o->place = OWED_FLYING;
    o->taken = o->home->remembered;
    o->no_room = false;
    TAILQ_INSERT_TAIL(&o->home->flying, o, order);
    o->home->flying_count += o->class != OWED_UNIT;
    o->home->moving |= o->kind == OWED_MOVE;
    o->again = o->again_check = o->again_unit = false;
    o->again_flags = 0;
}

struct owed *queue_take(struct queue *q, struct queue_site *qs, enum owed_class class)
{
    pthread_mutex_lock(&q->lock);
    struct owed *o = first(qs, class);
    if (o)
        fly(o);
    pthread_mutex_unlock(&q->lock);
    return o;
}

static struct owed *first_calm(struct queue_site *qs)
{
    struct owed *o;
    TAILQ_FOREACH (o, &qs->waiting[OWED_UNIT], order)
        if (!unrest_at_rest(qs->site->unrest, queue_path(o)) &&
            unrest_is_calm(qs->site->unrest, queue_path(o)))
            return o;
    return NULL;
}

struct owed *queue_take_ahead(struct queue *q, struct queue_site *qs)
{
    pthread_mutex_lock(&q->lock);
    struct owed *o = first_calm(qs);
    if (o)
        fly(o);
    pthread_mutex_unlock(&q->lock);
    return o;
}

void queue_renew(struct queue *q, struct owed *o)
{
    pthread_mutex_lock(&q->lock);
    queue_merge_again(o);
    o->again = o->again_check = o->again_unit = false;
    pthread_mutex_unlock(&q->lock);
}

bool queue_ready(struct queue *q, struct queue_site *qs, enum owed_class class)
{
    pthread_mutex_lock(&q->lock);
    bool ready = first(qs, class) != NULL;
    pthread_mutex_unlock(&q->lock);
    return ready;
}

struct owed *queue_claim(struct queue *q, struct queue_site *qs, struct bytes path,
    enum owed_class class, const struct owed *top)
{
    struct owed *o = NULL;
    pthread_mutex_lock(&q->lock);
    struct set_item *item = set_add(qs->items, path.data, path.len);
    if (!item->value) {
        o = queue_make(q, qs, item);
        o->class = class;
        o->kind = OWED_CREATE;
        queue_line_up(o);
        fly(o);
    }
    age(item->value, top->seq);
    pthread_mutex_unlock(&q->lock);
    return o;
}

/* Sent as it is, with its content, and taken since paths are remembered. */
static bool is_whole_state(const struct owed *o)
{
    return o->taken == o->home->remembered && o->kind != OWED_META && o->kind != OWED_MOVE &&
           !o->subtree;
}

void queue_remember(struct queue *q, struct queue_site *qs, bool on)
{
    pthread_mutex_lock(&q->lock);
    set_free(qs->done);
    qs->done = on ? set_new() : NULL;
    qs->remembered += on;
    pthread_mutex_unlock(&q->lock);
}

bool queue_sent(struct queue *q, struct queue_site *qs, struct bytes path)
{
    pthread_mutex_lock(&q->lock);
    struct set_item *item = set_find(qs->items, path.data, path.len);
    struct owed *o = item ? item->value : NULL;
    bool sent = o ? o->place == OWED_FLYING && is_whole_state(o)
                  : qs->done && set_find(qs->done, path.data, path.len);
    pthread_mutex_unlock(&q->lock);
    return sent;
}

void queue_done(struct queue *q, struct owed *o)
{
    pthread_mutex_lock(&q->lock);
    if (o->home->done && is_whole_state(o))
        set_add(o->home->done, o->item->key, o->item->len);
    if (o->again) {
        queue_leave(o);
        o->seq = o->again_seq;
        o->kind = o->again_kind;
        free(o->source);
        o->source = NULL;
        o->whole = o->open = o->awaits = false;
        o->check = o->again_check;
        take_flags(o, o->again_flags);
        o->class = o->again_unit ? OWED_UNIT : o->class == OWED_UNIT ? OWED_BULK : o->class;
        o->alone &= !o->again_unit;
        o->bytes = 0;
        o->tries = 0;
        free(o->error);
        o->error = NULL;
        o->since_ms = io_now_ms();
        queue_line_up(o);
    } else {
        queue_drop(o);
    }
    pthread_mutex_unlock(&q->lock);
}
