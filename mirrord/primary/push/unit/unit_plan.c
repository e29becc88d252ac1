/* What has to be sent of a unit; see unit_plan.h. */
#include "primary/push/unit/unit_plan.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/beneath.h"

enum { STEP_US = 2000 };

struct unit_plan {
    struct push_site *ps;
    struct unit_push *unit;
    struct bytes key, parent;
    size_t most;       /* atoms of a batch */
    struct set *paths; /* value: struct owed */
    struct set *tops;
    struct set *alone;    /* hot files; value: struct owed */
    size_t at;            /* in what was found */
    struct beneath *list; /* what is beneath the one taken last */
    uint64_t bytes;       /* of what is new or other */
    size_t changes;       /* besides times of directories */
    bool dir_changes;     /* one of them makes or deletes a directory */
    bool replaced;        /* a top becomes a directory, or is one no longer */
    struct set_item *next;
    bool deletions;
    unsigned round; /* of comparisons */
};

struct unit_plan *unit_plan_new(
    struct push_site *ps, struct unit_push *unit, struct bytes key, size_t most)
{
    struct unit_plan *l = mem_alloc(sizeof *l);
    l->ps = ps;
    l->unit = unit;
    l->key = key;
    l->most = most && most < MSG_UNIT_ATOMS_MAX ? most : MSG_UNIT_ATOMS_MAX;
    l->parent = unit_rules_parent(ps->site->options.units, key);
    l->paths = set_new();
    l->tops = set_new();
    l->alone = set_new();
    return l;
}

static void free_one(struct owed *o)
{
    if (o->atom)
        o->atom->part = NULL;
    free(o);
}

static void free_owed(struct set *paths)
{
    for (struct set_item *i = set_first(paths); i; i = i->next)
        free_one(i->value);
    set_free(paths);
}

void unit_plan_free(struct unit_plan *l)
{
    if (!l)
        return;
    free_owed(l->paths);
    free_owed(l->alone);
    set_free(l->tops);
    beneath_free(l->list);
    free(l);
}

void unit_plan_again(struct unit_plan *l)
{
    struct unit_plan was = *l;
    beneath_free(l->list);
    free_owed(l->alone);
    set_free(l->tops);
    *l = (struct unit_plan){
        .ps = was.ps,
        .unit = was.unit,
        .key = was.key,
        .parent = was.parent,
        .most = was.most,
        .paths = was.paths,
        .tops = set_new(),
        .alone = set_new(),
        .round = was.round + 1,
    };
}

void unit_plan_prune(struct push *p, struct unit_plan *l)
{
    struct set_item *next;
    for (struct set_item *i = set_first(l->paths); i; i = next) {
        struct owed *o = i->value;
        next = i->next;
        if (o->round == l->round)
            continue;
        if (o->atom)
            lanes_abort_atom(p, o->atom);
        free_one(o);
        set_remove(l->paths, i);
    }
    l->next = set_first(l->paths);
}

static struct owed *add(struct unit_plan *l, struct set *to, struct bytes path, enum owed_kind kind)
{
    struct set_item *item = set_add(to, path.data, path.len);
    struct owed *o = item->value ? item->value : mem_alloc(sizeof *o);
    item->value = o;
    o->item = item;
    o->unit = l->unit;
    o->kind = kind;
    o->round = l->round;
    o->known = o->has_theirs = false;
    return o;
}

/* The part of the path that lies in the unit's parent. */
static struct bytes top_of(const struct unit_plan *l, struct bytes path)
{
    size_t at = l->parent.len ? l->parent.len + 1 : 0;
    const char *text = path.data;
    const char *slash = memchr(text + at, '/', path.len - at);
    return slash ? (struct bytes){text, (size_t)(slash - text)} : path;
}

static void count(struct unit_plan *l, const struct difference *d)
{
    struct bytes top = top_of(l, d->path);
    bool dir = d->type == ENTRY_DIR, is_top = top.len == d->path.len;
    if (d->kind == OWED_CREATE || d->kind == OWED_UPDATE)
        l->bytes += d->bytes;
    if (dir && d->kind == OWED_META)
        return;
    l->changes++;
    l->dir_changes |= dir || (d->kind == OWED_UPDATE && d->was_dir);
    l->replaced |= is_top && d->kind == OWED_UPDATE && dir != d->was_dir;
    if (dir || !is_top)
        set_add(l->tops, top.data, top.len);
}

/* A file that changes all the time does not go with the unit. A directory does, whatever its own
 * times do: it holds what is the unit's. */
static bool goes_alone(const struct unit_plan *l, struct bytes path, bool is_dir)
{
    return !is_dir && unrest_is_hot(l->ps->site->unrest, path);
}

static void take(struct unit_plan *l, const struct difference *d)
{
    bool alone = goes_alone(l, d->path, d->type == ENTRY_DIR || d->was_dir);
    struct owed *o = add(l, alone ? l->alone : l->paths, d->path, d->kind);
    o->known = d->kind == OWED_UPDATE;
    o->bytes = d->type == ENTRY_DIR ? 0 : d->bytes;
    o->files = d->files;
    o->has_theirs = d->has_theirs && d->type == ENTRY_FILE;
    o->theirs = d->theirs;
    if (alone)
        return;
    count(l, d);
    if (d->subtree && d->kind != OWED_DELETE)
        l->list = beneath_new(l->ps, d->path, false);
}

/* What is beneath a directory that is not there yet. */
static int take_listed(struct unit_plan *l, struct err *err)
{
    struct beneath_entry e;
    int r = beneath_next(l->list, &e, err);
    if (r > 0)
        add(l, goes_alone(l, e.path, e.is_dir) ? l->alone : l->paths, e.path, OWED_CREATE);
    if (r == 0) {
        beneath_free(l->list);
        l->list = NULL;
    }
    return r;
}

int unit_plan_step(struct unit_plan *l, const struct compare *found, struct err *err)
{
    uint64_t end = io_now_us() + STEP_US;
    const struct difference *d;
    while (io_now_us() < end && set_count(l->paths) <= l->most) {
        if (l->list) {
            if (take_listed(l, err) < 0)
                return -1;
        } else if ((d = compare_found(found, l->at))) {
            l->at++;
            take(l, d);
        } else {
            l->next = set_first(l->paths);
            return 0;
        }
    }
    return set_count(l->paths) <= l->most;
}

size_t unit_plan_count(const struct unit_plan *l)
{
    return set_count(l->paths);
}

enum unit_way unit_plan_way(const struct unit_plan *l)
{
    /* The UNITs are atoms, too. */
    size_t atoms = set_count(l->paths) + set_count(l->tops);
    bool simple = l->changes <= 1 && !l->dir_changes;
    if (set_count(l->paths) == 0)
        return UNIT_NOTHING;
    if (atoms > l->most)
        return UNIT_TOO_LARGE;
    if (l->replaced)
        return UNIT_REPLACED;
    if ((simple || set_count(l->tops) == 0) && atoms <= MSG_ATOMS_MAX)
        return UNIT_ATOMS;
    return set_count(l->tops) > 0 ? UNIT_SWITCH : UNIT_TOO_LARGE;
}

uint64_t unit_plan_bytes(const struct unit_plan *l)
{
    return l->bytes;
}

struct set_item *unit_plan_tops(const struct unit_plan *l)
{
    return set_first(l->tops);
}

struct owed *unit_plan_next(struct unit_plan *l)
{
    for (;;) {
        if (!l->next && l->deletions)
            return NULL;
        if (!l->next) {
            l->deletions = true;
            l->next = set_first(l->paths);
            continue;
        }
        struct owed *o = l->next->value;
        l->next = l->next->next;
        if ((o->kind == OWED_DELETE) == l->deletions)
            return o;
    }
}

void unit_plan_owe_alone(struct push *p, struct unit_plan *l)
{
    for (struct set_item *i = set_first(l->alone); i; i = i->next) {
        const struct owed *o = i->value;
        queue_owe(p->o->queue, l->ps->owed, queue_path(o), OWE_ALONE, o->kind, (struct bytes){0},
            o->bytes, o->files);
        queue_backdate(p->o->queue, l->ps->owed, queue_path(o));
    }
}

void unit_plan_owe(struct push *p, struct unit_plan *l, const struct compare *found)
{
    const struct difference *d;
    for (size_t i = 0; (d = compare_found(found, i)); i++) {
        queue_owe(p->o->queue, l->ps->owed, d->path,
            OWE_ALONE | OWE_BULK | (d->subtree ? OWE_SUBTREE : 0), d->kind, (struct bytes){0},
            d->bytes, d->files);
        queue_backdate(p->o->queue, l->ps->owed, d->path);
    }
}
