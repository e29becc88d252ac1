/* Units on their way to rest; see unrest.h. */
#include "primary/unrest.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"

enum {
    CALM_MS = 50,      /* of quiet make it worth to begin with what is there */
    POLL_MS = 50,      /* between looks at what holds a unit up */
    KEPT_MAX = 4096,   /* units at rest that are remembered */
    HOT_CHANGES = 5,   /* a path that changed more often than this before its unit came to rest, */
    HOT_APART_MS = 50, /* so far apart, */
    HOT_OTHERS = 3,    /* with so few others changing, is hot */
    HOT_MIN_MS = 1000,
    HOT_MAX_MS = 10000,
    HOT_KEPT = 1024,
};

struct unit {
    uint64_t generation;
    bool rests, forced, calm;
    uint64_t first_ms, last_ms; /* of what happened since it was at rest */
    uint64_t forced_ms;
    uint64_t held;    /* the settling in which it was held */
    unsigned changed; /* paths, since it was at rest */
    char why[UNREST_TEXT];
};

struct change {        /* a path in a unit */
    uint64_t since_ms; /* the unit's first_ms when it was counted first */
    uint64_t last_ms, next_ms, every_ms;
    unsigned count;
    bool hot;
};

struct unrest {
    const struct unit_rules *rules;
    pthread_mutex_t lock;
    struct set *set;     /* key → struct unit */
    struct set *changes; /* path → struct change, the one changed longest ago first */
    size_t waiting;
    uint64_t seq, floor; /* floor: the generation of those not remembered */
    uint64_t settling;
    uint64_t began_ms;
    void (*wake)(void *ctx); /* NULL: not watched */
    void *ctx;
};

struct unrest *unrest_new(const struct unit_rules *rules)
{
    struct unrest *u = mem_alloc(sizeof *u);
    u->rules = rules;
    u->set = set_new();
    u->changes = set_new();
    u->settling = 1;
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

static void drop_all(struct set *set)
{
    while (set_first(set)) {
        free(set_first(set)->value);
        set_remove(set, set_first(set));
    }
}

void unrest_free(struct unrest *u)
{
    if (!u)
        return;
    drop_all(u->set);
    drop_all(u->changes);
    set_free(u->set);
    set_free(u->changes);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

void unrest_watch(struct unrest *u, void (*wake)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&u->lock);
    u->wake = wake;
    u->ctx = ctx;
    u->began_ms = io_now_ms();
    pthread_mutex_unlock(&u->lock);
}

void unrest_unwatch(struct unrest *u)
{
    pthread_mutex_lock(&u->lock);
    u->wake = NULL;
    pthread_mutex_unlock(&u->lock);
}

/* Those at rest need not be known one by one: any of them may have been stirred. */
static void trim(struct unrest *u)
{
    struct set_item *next;
    if (set_count(u->set) <= KEPT_MAX)
        return;
    for (struct set_item *i = set_first(u->set); i; i = next) {
        next = i->next;
        if (!((struct unit *)i->value)->rests)
            continue;
        free(i->value);
        set_remove(u->set, i);
    }
    u->floor = ++u->seq;
}

/* The unit of the key, made where there is none, as one that does not rest. */
static struct unit *unit_of(struct unrest *u, struct bytes key, uint64_t last_ms)
{
    struct set_item *item = set_add(u->set, key.data, key.len);
    if (item->value)
        return item->value;
    struct unit *unit = item->value = mem_alloc(sizeof *unit);
    unit->generation = u->floor;
    unit->first_ms = io_now_ms();
    unit->last_ms = last_ms;
    u->waiting++;
    return unit;
}

void unrest_owed(struct unrest *u, struct bytes key)
{
    pthread_mutex_lock(&u->lock);
    bool news = u->wake && !set_find(u->set, key.data, key.len);
    if (news) {
        trim(u);
        unit_of(u, key, u->began_ms);
        u->wake(u->ctx);
    }
    pthread_mutex_unlock(&u->lock);
}

bool unrest_at_rest(struct unrest *u, struct bytes key)
{
    pthread_mutex_lock(&u->lock);
    struct set_item *item = set_find(u->set, key.data, key.len);
    bool rests = !u->wake || !item || ((struct unit *)item->value)->rests;
    pthread_mutex_unlock(&u->lock);
    return rests;
}

bool unrest_is_calm(struct unrest *u, struct bytes key)
{
    pthread_mutex_lock(&u->lock);
    struct set_item *item = set_find(u->set, key.data, key.len);
    const struct unit *unit = item ? item->value : NULL;
    bool calm = !u->wake || !unit || unit->rests || unit->calm;
    pthread_mutex_unlock(&u->lock);
    return calm;
}

uint64_t unrest_generation(struct unrest *u, struct bytes key, bool *forced)
{
    pthread_mutex_lock(&u->lock);
    struct set_item *item = set_find(u->set, key.data, key.len);
    const struct unit *unit = item ? item->value : NULL;
    uint64_t generation = unit ? unit->generation : u->floor;
    *forced = unit && unit->forced;
    pthread_mutex_unlock(&u->lock);
    return generation;
}

static void stir(struct unrest *u, struct unit *unit, uint64_t when_ms)
{
    unit->generation = ++u->seq;
    unit->calm = false;
    if (when_ms > unit->last_ms)
        unit->last_ms = when_ms;
    if (!unit->rests || (unit->forced && when_ms < unit->forced_ms + UNREST_FORCED_MS))
        return;
    unit->rests = unit->forced = false;
    unit->first_ms = io_now_ms();
    unit->changed = 0;
    u->waiting++;
}

static const struct change *hot_change(struct unrest *u, struct bytes path)
{
    struct set_item *item = set_find(u->changes, path.data, path.len);
    const struct change *c = item ? item->value : NULL;
    return c && c->hot ? c : NULL;
}

void unrest_stir(struct unrest *u, struct bytes path, bool is_dir, uint64_t when_ms)
{
    struct bytes key;
    if (!unit_rules_match(u->rules, path, is_dir, &key))
        return;
    pthread_mutex_lock(&u->lock);
    if (!hot_change(u, path)) {
        trim(u);
        stir(u, unit_of(u, key, when_ms), when_ms);
    }
    pthread_mutex_unlock(&u->lock);
}

void unrest_stir_beneath(struct unrest *u, struct bytes path, uint64_t when_ms)
{
    if (!unit_rules_above(u->rules, path))
        return;
    pthread_mutex_lock(&u->lock);
    u->floor = ++u->seq;
    for (struct set_item *i = set_first(u->set); i; i = i->next)
        if (unit_rules_touches(u->rules, (struct bytes){i->key, i->len}, path))
            stir(u, i->value, when_ms);
    pthread_mutex_unlock(&u->lock);
}

void unrest_stir_all(struct unrest *u, uint64_t now_ms)
{
    pthread_mutex_lock(&u->lock);
    u->floor = ++u->seq;
    for (struct set_item *i = set_first(u->set); i; i = i->next)
        stir(u, i->value, now_ms);
    pthread_mutex_unlock(&u->lock);
}

/* --- hot paths --- */

static void forget_change(struct unrest *u, struct set_item *item)
{
    free(item->value);
    set_remove(u->changes, item);
}

static void forget_old_changes(struct unrest *u, uint64_t now)
{
    struct set_item *oldest;
    uint64_t kept = unit_rules_settle_max(u->rules);
    while ((oldest = set_first(u->changes)) &&
           (set_count(u->changes) > HOT_KEPT ||
               ((struct change *)oldest->value)->last_ms + kept < now))
        forget_change(u, oldest);
}

static void count_change(struct unit *unit, struct change *c, uint64_t now, bool bracketed)
{
    bool anew = c->since_ms != unit->first_ms;
    if (anew || bracketed)
        c->count = 0;
    unit->changed += anew;
    c->since_ms = unit->first_ms;
    if (now - c->last_ms < HOT_APART_MS)
        return;
    c->last_ms = now;
    c->hot = ++c->count > HOT_CHANGES && unit->changed <= HOT_OTHERS;
}

void unrest_note_change(struct unrest *u, struct bytes path, uint64_t now_ms, bool bracketed)
{
    struct bytes key;
    if (!unit_rules_match(u->rules, path, true, &key))
        return;
    pthread_mutex_lock(&u->lock);
    struct set_item *item = set_add(u->changes, path.data, path.len);
    if (!item->value)
        item->value = mem_alloc(sizeof(struct change));
    struct change *c = item->value;
    if (c->hot)
        c->last_ms = now_ms;
    else
        count_change(unit_of(u, key, now_ms), c, now_ms, bracketed);
    set_requeue(u->changes, item);
    forget_old_changes(u, now_ms);
    pthread_mutex_unlock(&u->lock);
}

bool unrest_is_hot(struct unrest *u, struct bytes path)
{
    pthread_mutex_lock(&u->lock);
    bool hot = hot_change(u, path) != NULL;
    pthread_mutex_unlock(&u->lock);
    return hot;
}

uint64_t unrest_hot_pause(struct unrest *u, struct bytes path, uint64_t now_ms)
{
    uint64_t pause = 0;
    pthread_mutex_lock(&u->lock);
    struct change *c = (struct change *)hot_change(u, path);
    if (c && c->next_ms > now_ms) {
        pause = c->next_ms - now_ms;
    } else if (c) {
        c->every_ms = !c->every_ms                   ? HOT_MIN_MS
                      : c->every_ms * 2 < HOT_MAX_MS ? c->every_ms * 2
                                                     : HOT_MAX_MS;
        c->next_ms = now_ms + c->every_ms;
    }
    pthread_mutex_unlock(&u->lock);
    return pause;
}

/* --- coming to rest --- */

bool unrest_any_waiting(struct unrest *u)
{
    pthread_mutex_lock(&u->lock);
    bool any = u->waiting > 0;
    pthread_mutex_unlock(&u->lock);
    return any;
}

void unrest_hold(struct unrest *u, struct bytes path)
{
    struct bytes key;
    if (!unit_rules_match(u->rules, path, true, &key))
        return;
    pthread_mutex_lock(&u->lock);
    struct set_item *item = set_find(u->set, key.data, key.len);
    if (item && !hot_change(u, path))
        ((struct unit *)item->value)->held = u->settling;
    pthread_mutex_unlock(&u->lock);
}

/* When it rests if nothing more happens; or UINT64_MAX: it is held up, with why. */
static uint64_t rest_ms(const struct unrest *u, struct unit *unit, const struct unrest_view *v)
{
    unsigned quiet = unit_rules_settle(u->rules);
    bool closed = v->closed_ms && unit->last_ms <= v->closed_ms;
    if (closed && quiet > UNREST_QUICK_MS)
        quiet = UNREST_QUICK_MS;
    if (unit->held == u->settling || v->busy)
        snprintf(unit->why, sizeof unit->why,
            "something in it is being written, or has still to be looked at");
    else if (v->bracket && !closed)
        snprintf(unit->why, sizeof unit->why, "the bracket %s stands", v->bracket);
    else {
        snprintf(unit->why, sizeof unit->why, "it has not been quiet for %u ms", quiet);
        return unit->last_ms + quiet;
    }
    return UINT64_MAX;
}

/* True: it has just become so. */
static bool calm_down(const struct unrest *u, struct unit *unit, const struct unrest_view *v)
{
    bool was = unit->calm;
    unit->calm = unit->held != u->settling && !v->busy && v->now_ms >= unit->last_ms + CALM_MS;
    return unit->calm && !was;
}

static void come_to_rest(
    struct unrest *u, struct unit *unit, const struct unrest_view *v, bool force)
{
    unit->rests = true;
    unit->forced = force;
    unit->forced_ms = v->now_ms;
    u->waiting--;
}

bool unrest_settle(
    struct unrest *u, const struct unrest_view *v, const char *site, uint64_t *due_ms)
{
    bool any = false;
    uint64_t most = unit_rules_settle_max(u->rules);
    *due_ms = UINT64_MAX;
    pthread_mutex_lock(&u->lock);
    for (struct set_item *i = set_first(u->set); i; i = i->next) {
        struct unit *unit = i->value;
        if (unit->rests)
            continue;
        uint64_t rest = rest_ms(u, unit, v);
        bool force = v->now_ms >= unit->first_ms + most;
        if (force)
            log_warn("%s: %s has not come to rest (%s) in %llu s: it is sent as it is", site,
                QUOTED(i->key, i->len), unit->why, (unsigned long long)most / 1000);
        if (force || rest <= v->now_ms) {
            come_to_rest(u, unit, v, force);
            any = true;
            continue;
        }
        any |= calm_down(u, unit, v);
        uint64_t due =
            rest == UINT64_MAX || rest > v->now_ms + POLL_MS ? v->now_ms + POLL_MS : rest;
        if (due < *due_ms)
            *due_ms = due;
    }
    u->settling++;
    pthread_mutex_unlock(&u->lock);
    return any;
}

size_t unrest_waiting(struct unrest *u, struct unrest_wait *out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&u->lock);
    for (struct set_item *i = set_first(u->set); i && n < max && u->wake; i = i->next) {
        const struct unit *unit = i->value;
        if (unit->rests)
            continue;
        log_name(out[n].unit, sizeof out[n].unit, i->key, i->len);
        memcpy(out[n++].why, unit->why, sizeof out->why);
    }
    pthread_mutex_unlock(&u->lock);
    return n;
}
