/*
 * The commit's end in the manifest: one transaction takes what was done and clears the journal. The
 * entry that was accepted is kept as it was sent, beside the validators of what could be stored, so
 * that what cannot become equal does not come again and again.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit_impl.h"

int record_parent(struct manifest_txn *t, struct record_parents *cache, struct bytes path,
    uint64_t *out, struct err *err)
{
    struct record r;
    uint64_t above;
    struct bytes dir = path_parent(path);
    if (dir.len == 0) {
        *out = MANIFEST_ROOT;
        return 0;
    }
    if (!cache->filled || !bytes_equal(cache->path, dir)) {
        int found = manifest_lookup(t, dir, &r, &above, err);
        if (found < 0)
            return -1;
        cache->filled = true;
        cache->path = dir;
        cache->number = found == 1 && r.entry.type == ENTRY_DIR ? r.dir : 0;
    }
    *out = cache->number;
    return 0;
}

static int read_one(struct manifest_txn *t, struct record_parents *cache, struct bytes path,
    struct step_old *out, struct err *err)
{
    struct record r;
    uint64_t parent;
    if (path.len == 0)
        return 0;
    if (record_parent(t, cache, path, &parent, err) < 0)
        return -1;
    int found = parent ? manifest_get(t, parent, path_name(path), &r, err) : 0;
    if (found == 1)
        *out = step_old_of(&r);
    return found < 0 ? -1 : 0;
}

static int read_moved(struct commit *c, struct manifest_txn *t, struct step *s, struct err *err)
{
    struct record_parents none = {0};
    struct bytes old = moves_old_path(c, s->path);
    int bad = read_one(t, &none, old, &s->old, err);
    free((void *)old.data);
    return bad;
}

int record_read_old(struct commit *c, struct manifest_txn *t, struct err *err)
{
    struct record_parents cache = {0};
    for (size_t i = 0; i < c->n; i++) {
        struct step *s = c->sorted[i];
        struct record_parents none = {0};
        /* A move's own target is what stands there, not what comes. */
        bool moved = c->moves && s->kind != STEP_MOVE;
        int bad = moved ? read_moved(c, t, s, err) : read_one(t, &cache, s->path, &s->old, err);
        if (!bad && s->kind == STEP_MOVE)
            bad = read_one(t, &none, s->from, &s->source, err);
        if (bad)
            return -1;
    }
    return 0;
}

/* Where a moved record waits while the directories above its target are made. */
static struct bytes waiting_name(const struct step *s, char out[64])
{
    int n = snprintf(out, 64, PATH_RESERVED "move-%u", s->order);
    return (struct bytes){out, (size_t)n};
}

static int take_moved(struct manifest_txn *t, struct step *s, struct err *err)
{
    struct record_parents none = {0};
    char waiting[64];
    uint64_t from;
    if (record_parent(t, &none, s->from, &from, err) < 0)
        return -1;
    if (!from)
        return 0;
    return manifest_move(t, from, path_name(s->from), MANIFEST_ROOT, waiting_name(s, waiting), err);
}

/* The record at its new path, with the validators that the rename left. */
static int put_moved(struct manifest_txn *t, struct step *s, uint64_t parent, struct err *err)
{
    struct record r;
    char waiting[64];
    struct bytes name = path_name(s->path);
    int found = manifest_move(t, MANIFEST_ROOT, waiting_name(s, waiting), parent, name, err);
    if (found == 1)
        found = manifest_get(t, parent, name, &r, err);
    if (found != 1)
        return found;
    r.validators = s->after;
    return manifest_put(t, parent, name, &r, err);
}

static int put_entry(struct manifest_txn *t, struct step *s, uint64_t parent, struct err *err)
{
    struct record r = {
        .entry = s->entry,
        .validators = s->after,
        .flags = RECORD_COMMITTED,
    };
    if (s->path.len == 0)
        return manifest_put_root(t, &r, err);
    return manifest_put(t, parent, path_name(s->path), &r, err);
}

/* A directory that the manifest does not have was made here by somebody else meanwhile: the primary
 * sends it. */
static int put_step(
    struct manifest_txn *t, struct record_parents *cache, struct step *s, struct err *err)
{
    uint64_t parent = MANIFEST_ROOT;
    if (record_parent(t, cache, s->path, &parent, err) < 0)
        return -1;
    if (!parent) {
        s->state = STEP_WAITING;
        step_fail_text(s, REASON_NO_PARENT, "record", "the directory above is not known");
        return 0;
    }
    if (s->kind == STEP_ENTRY)
        return put_entry(t, s, parent, err);
    cache->filled = false;
    return put_moved(t, s, parent, err) < 0 ? -1 : 0;
}

static int forget_path(struct manifest_txn *t, struct bytes path, struct err *err)
{
    struct record_parents none = {0};
    uint64_t parent;
    if (path.len == 0)
        return 0;
    if (record_parent(t, &none, path, &parent, err) < 0)
        return -1;
    return parent && manifest_delete(t, parent, path_name(path), err) < 0 ? -1 : 0;
}

/* Directories that were touched without being of the batch: only their validators are new. */
static int put_touched(struct commit *c, struct manifest_txn *t, struct err *err)
{
    for (struct set_item *i = set_first(c->touched); i; i = i->next) {
        const struct touched *d = i->value;
        struct bytes path = {i->key, i->len};
        struct record r;
        uint64_t parent;
        if (!d->done || d->step)
            continue;
        int found = manifest_lookup(t, path, &r, &parent, err);
        if (found < 0)
            return -1;
        if (found == 0 || r.entry.type != ENTRY_DIR)
            continue;
        r.validators = d->after;
        int bad = path.len ? manifest_put(t, parent, path_name(path), &r, err)
                           : manifest_put_root(t, &r, err);
        if (bad)
            return -1;
    }
    return 0;
}

/* What a recovery could not do is unknown: the walk that follows reads it again. */
static int forget_failed(struct commit *c, struct manifest_txn *t, struct err *err)
{
    for (size_t i = 0; c->recovering && i < c->n; i++) {
        const struct step *s = c->steps[i];
        if (s->state == STEP_DONE)
            continue;
        if (s->unit)
            continue; /* the old unit stands, as it is known */
        log_warn("interrupted commit: %s", s->text ? s->text : "a step was not done");
        if (s->kind > STEP_MOVE)
            continue;
        if (forget_path(t, s->path, err) < 0)
            return -1;
        if (s->kind == STEP_MOVE && forget_path(t, s->from, err) < 0)
            return -1;
    }
    return 0;
}

/* The transactions of one record: no larger than the store likes them. Those before the last leave
 * the journal standing, so that what is half recorded is done again. */
struct pen {
    struct manifest *manifest;
    struct manifest_txn *t; /* NULL: it failed */
    unsigned puts;
};

static int next_put(struct pen *p, struct err *err)
{
    if (++p->puts % MANIFEST_TXN_MAX)
        return 0;
    if (manifest_commit(TAKE_PTR(p->t), err) < 0)
        return -1;
    return manifest_begin(p->manifest, true, &p->t, err);
}

static int put_steps(struct commit *c, struct pen *p, struct err *err)
{
    struct record_parents cache = {0};
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->kind == STEP_MOVE && c->steps[i]->state == STEP_DONE &&
            take_moved(p->t, c->steps[i], err) < 0)
            return -1;
    for (size_t i = 0; i < c->n; i++) {
        struct step *s = c->sorted[i];
        if ((s->kind == STEP_ENTRY || s->kind == STEP_MOVE) && s->state == STEP_DONE &&
            (put_step(p->t, &cache, s, err) < 0 || next_put(p, err) < 0))
            return -1;
    }
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->kind == STEP_DELETE && c->steps[i]->state == STEP_DONE &&
            (forget_path(p->t, c->steps[i]->path, err) < 0 || next_put(p, err) < 0))
            return -1;
    return 0;
}

int record_all(struct commit *c, struct err *err)
{
    struct pen p = {.manifest = c->r->manifest};
    if (manifest_begin(p.manifest, true, &p.t, err) < 0)
        return -1;
    if (put_steps(c, &p, err) < 0 || forget_failed(c, p.t, err) < 0 ||
        put_touched(c, p.t, err) < 0 || manifest_journal_clear(p.t, err) < 0) {
        manifest_abort(p.t);
        return -1;
    }
    return manifest_commit(p.t, err);
}
