/* What one secondary is owed; see queue.h. Knows sets, orders and pauses; nothing of what a path is
 * or how it is sent. */
#include "primary/push/queue.h"

#include <pthread.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/owe.h"

TAILQ_HEAD(owed_list, owed);

struct queue_site {
    TAILQ_ENTRY(queue_site) order;
    struct site *site;
    struct set *items;
    struct owed_list waiting[OWED_CLASSES];
    struct owed_list delayed;
    struct owed_list flying;
    size_t flying_count;
    bool moving;      /* a move flies */
    struct set *done; /* paths, while they are remembered; else NULL */
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

/* A move that fails this often is given up for sending what is there. */
enum { MOVE_TRIES = 3 };

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

static void leave(struct owed *o)
{
    TAILQ_REMOVE(list_of(o), o, order);
    if (o->place != OWED_FLYING || o->class == OWED_UNIT)
        return;
    o->home->flying_count--;
    if (o->kind == OWED_MOVE)
        o->home->moving = false;
}

static void drop(struct owed *o)
{
    leave(o);
    set_remove(o->home->items, o->item);
    free(o->source);
    free(o->error);
    free(o);
}

static void clear(struct queue_site *qs)
{
    while (set_first(qs->items))
        drop(set_first(qs->items)->value);
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

/* A new item, in no list yet. */
static struct owed *make(struct queue *q, struct queue_site *qs, struct set_item *item)
{
    struct owed *o = mem_alloc(sizeof *o);
    o->item = item;
    o->home = qs;
    o->seq = ++q->seq;
    o->since_ms = io_now_ms();
    item->value = o;
    return o;
}

static void wait_in_line(struct owed *o)
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

static bool holds_units(const struct queue_site *qs, struct bytes path)
{
    const struct site_options *o = qs->site ? &qs->site->options : NULL;
    struct bytes key;
    return o && o->units && !o->dry_run &&
           (unit_rules_match(o->units, path, true, &key) || unit_rules_above(o->units, path));
}

static char *copy_or_null(struct bytes b)
{
    return b.len ? mem_copy_bytes(b.data, b.len) : NULL;
}

/* It flies, and is owed again afterwards. */
static void note_again(struct queue *q, struct owed *o, enum owed_kind kind, bool check)
{
    if (!o->again)
        o->again_seq = ++q->seq;
    o->again_kind = o->again && o->again_kind != kind ? OWED_ANY : kind;
    o->again_check |= check;
    o->again = true;
}

/* It is given back without being done: what came meanwhile is of what is owed still. */
static void merge_again(struct owed *o)
{
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
    o->subtree |= flags & OWE_SUBTREE;
    o->alone |= flags & OWE_ALONE;
    o->known |= flags & OWE_KNOWN;
    o->open |= flags & OWE_OPEN;
    if (o->place == OWED_FLYING) {
        note_again(q, o, kind, holds_more(flags, kind));
        o->again_unit |= unit;
        return;
    }
    o->check |= holds_more(flags, kind);
    if (o->kind != OWED_MOVE)
        o->kind = kind;
    if (unit || o->class == OWED_UNIT) {
        bool in_line = o->class == OWED_UNIT && o->place == OWED_WAITING;
        if (!in_line)
            leave(o);
        o->class = OWED_UNIT;
        if (!in_line)
            wait_in_line(o);
        return;
    }
    bool hurry = !(flags & OWE_BULK) && (o->class == OWED_BULK || o->place == OWED_DELAYED);
    if (!hurry)
        return;
    leave(o);
    o->class = OWED_LIVE;
    wait_in_line(o);
}

/* Under the lock: the item of this path, new or refreshed; *fresh says which. */
static struct owed *owe(struct queue *q, struct queue_site *qs, struct bytes path, unsigned flags,
    enum owed_kind kind, bool *fresh)
{
    bool unit;
    path = unit_or_path(qs, path, flags, &unit);
    struct set_item *item = set_add(qs->items, path.data, path.len);
    *fresh = !item->value;
    if (item->value) {
        refresh(q, item->value, flags, unit ? OWED_ANY : kind, unit);
        return item->value;
    }
    struct owed *o = make(q, qs, item);
    o->class = unit ? OWED_UNIT : flags & OWE_BULK ? OWED_BULK : OWED_LIVE;
    o->kind = unit ? OWED_ANY : kind;
    o->alone = flags & OWE_ALONE;
    o->subtree = flags & OWE_SUBTREE;
    o->known = flags & OWE_KNOWN;
    o->open = flags & OWE_OPEN;
    o->check = holds_more(flags, kind);
    wait_in_line(o);
    return o;
}

void queue_owe(struct queue *q, struct queue_site *qs, struct bytes path, unsigned flags,
    enum owed_kind kind, struct bytes source, uint64_t bytes, uint64_t files)
{
    bool fresh;
    pthread_mutex_lock(&q->lock);
    struct owed *o = owe(q, qs, path, flags, kind, &fresh);
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
            note_again(q, o, OWED_ANY, false);
}

/* All that is beneath the path, though nobody knows what the secondary has there: something that
 * has left it may be beneath another directory of that name by now. */
static struct owed *owe_all(struct queue *q, struct queue_site *qs, struct bytes path, bool *fresh)
{
    struct owed *o = owe(q, qs, path, OWE_SUBTREE, OWED_ANY, fresh);
    distrust_beneath(q, qs, path);
    if (o->place == OWED_FLYING)
        note_again(q, o, OWED_ANY, true);
    else
        o->check = true;
    return o;
}

/* A move that will not be made: what is at both of its ends is owed instead. */
static void give_up_move(struct queue *q, struct owed *o)
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
    leave(first);
    first->kind = OWED_ANY;
    first->subtree = first->check = true;
    wait_in_line(first);
}

/* What is owed as `o` is owed as `n`, which was there before or not. */
static void pass_on(struct queue *q, const struct owed *o, struct owed *n)
{
    uint64_t *seq = &n->seq;
    n->subtree |= o->subtree;
    if (n->place == OWED_FLYING) {
        note_again(q, n, OWED_ANY, o->check);
        seq = &n->again_seq;
    } else {
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
            struct owed *n = make(q, qs, there);
            n->class = o->class;
            n->since_ms = o->since_ms;
            wait_in_line(n);
        }
        struct owed *n = there->value;
        bool chain = o->kind == OWED_MOVE && n->kind == OWED_MOVE && path.len == from.len;
        if (o->kind == OWED_MOVE && !chain)
            give_up_move(q, o);
        pass_on(q, o, n);
        if (chain) /* a to t, t to b: a to b */
            shorten(o, n);
        else
            drop(o);
    }
}

/* A rename that has to do with units is no move: they are switched, each by itself. */
void queue_owe_both(struct queue *q, struct queue_site *qs, struct bytes from, struct bytes to)
{
    bool fresh;
    pthread_mutex_lock(&q->lock);
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
    struct set_item *item = set_add(qs->items, to.data, to.len);
    struct owed *o = item->value;
    if (o && (o->place == OWED_FLYING || o->kind == OWED_MOVE)) {
        /* Two moves to one name in a row: the state of all three names says it as well. */
        o->subtree = true;
        if (o->place == OWED_FLYING)
            note_again(q, o, OWED_ANY, true);
        else
            o->check = true;
        owe_all(q, qs, from, &fresh);
        pthread_mutex_unlock(&q->lock);
        q->wake(q->ctx);
        return;
    }
    if (o)
        leave(o);
    else
        o = make(q, qs, item);
    free(o->source);
    o->source = mem_copy_bytes(from.data, from.len);
    o->kind = OWED_MOVE;
    o->class = OWED_LIVE;
    wait_in_line(o);
    rename_owed(q, qs, from, to);
    if (path_beneath(to, bytes_of(o->source))) /* a chain that leads back to where it began */
        give_up_move(q, o);
    pthread_mutex_unlock(&q->lock);
    q->wake(q->ctx);
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
    leave(o);
    o->place = OWED_FLYING;
    o->no_room = false;
    TAILQ_INSERT_TAIL(&o->home->flying, o, order);
    o->home->flying_count += o->class != OWED_UNIT;
    o->home->moving |= o->kind == OWED_MOVE;
    o->again = o->again_check = o->again_unit = false;
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
        o = make(q, qs, item);
        o->class = class;
        o->kind = OWED_CREATE;
        wait_in_line(o);
        fly(o);
    }
    age(item->value, top->seq);
    pthread_mutex_unlock(&q->lock);
    return o;
}

/* Sent as it is, with its content. */
static bool is_whole_state(const struct owed *o)
{
    return o->kind != OWED_META && o->kind != OWED_MOVE && !o->subtree;
}

void queue_remember(struct queue *q, struct queue_site *qs, bool on)
{
    pthread_mutex_lock(&q->lock);
    set_free(qs->done);
    qs->done = on ? set_new() : NULL;
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
        leave(o);
        o->seq = o->again_seq;
        o->kind = o->again_kind;
        free(o->source);
        o->source = NULL;
        o->whole = o->open = o->awaits = false;
        o->check = o->again_check;
        o->class = o->again_unit ? OWED_UNIT : o->class == OWED_UNIT ? OWED_BULK : o->class;
        o->alone &= !o->again_unit;
        o->bytes = 0;
        o->tries = 0;
        free(o->error);
        o->error = NULL;
        o->since_ms = io_now_ms();
        wait_in_line(o);
    } else {
        drop(o);
    }
    pthread_mutex_unlock(&q->lock);
}

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
    leave(o);
    merge_again(o);
    bool hopeless = o->whole || o->tries >= MOVE_TRIES;
    if (o->kind == OWED_MOVE && hopeless) { /* say by content what is where */
        give_up_move(q, o);
    }
    free(o->error);
    o->error = mem_copy_string(error);
    uint64_t pause = pause_of(delay_ms, max_ms, o->tries++);
    if (pause == 0) {
        wait_in_line(o);
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
        leave(o);
        merge_again(o);
        if (o->kind == OWED_MOVE)
            give_up_move(q, o);
        wait_in_line(o);
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
                leave(o);
                wait_in_line(o);
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
    leave(o);
    wait_in_line(o);
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
