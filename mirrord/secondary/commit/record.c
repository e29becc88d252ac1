/*
 * The commit's end in the manifest: one transaction takes what was done and clears the journal. The
 * entry that was accepted is kept as it was sent, beside the validators of what could be stored, so
 * that what cannot become equal does not come again and again.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"
#include "secondary/site/checkpoint.h"

#define LAST_KEY "ledger"

/* Through all steps. */
enum round { ROUND_SOURCES, ROUND_ARRIVALS, ROUND_DELETIONS, ROUNDS };

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
    if (manifest_drift_forget(t, from, path_name(s->from), err) < 0)
        return -1;
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
    return manifest_drift_forget(t, parent, name, err) < 0 ? -1
                                                           : manifest_put(t, parent, name, &r, err);
}

static int put_entry(struct manifest_txn *t, struct step *s, uint64_t parent, struct err *err)
{
    struct record r = {
        .entry = s->entry,
        .validators = s->after,
        .flags = RECORD_COMMITTED,
    };
    if (s->path.len == 0)
        return manifest_put_root(t, &r, err) < 0
                   ? -1
                   : manifest_drift_forget(t, MANIFEST_NO_DIR, s->path, err);
    if (manifest_drift_forget(t, parent, path_name(s->path), err) < 0)
        return -1;
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
    if (!parent)
        return 0;
    struct bytes name = path_name(path);
    return manifest_drift_forget(t, parent, name, err) < 0 || manifest_cut(t, parent, name, err) < 0
               ? -1
               : 0;
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
        c->r->doubtful = true;
        if (s->kind > STEP_MOVE)
            continue;
        if (forget_path(t, s->path, err) < 0)
            return -1;
        if (s->kind == STEP_MOVE && forget_path(t, s->from, err) < 0)
            return -1;
    }
    return 0;
}

/* 1 written, 0 nothing to be written. */
static int put_at(
    struct commit *c, struct manifest_txn *t, struct record_parents *cache, struct err *err)
{
    size_t i = c->at % c->n, round = c->at / c->n;
    struct step *s = round == ROUND_ARRIVALS ? c->sorted[i] : c->steps[i];
    bool comes = s->kind == STEP_ENTRY || s->kind == STEP_MOVE;
    c->at++;
    if (s->state != STEP_DONE)
        return 0;
    if (round == ROUND_SOURCES && s->kind == STEP_MOVE)
        return take_moved(t, s, err) < 0 ? -1 : 1;
    if (round == ROUND_ARRIVALS && comes)
        return put_step(t, cache, s, err) < 0 ? -1 : 1;
    c->r->cut |= s->kind == STEP_DELETE && s->old.type == ENTRY_DIR;
    if (round == ROUND_DELETIONS && s->kind == STEP_DELETE)
        return forget_path(t, s->path, err) < 0 ? -1 : 1;
    return 0;
}

/* Records of moves that are on their way must not be seen by anybody: all in one. */
static int put_some(struct commit *c, struct manifest_txn *t, struct err *err)
{
    struct record_parents cache = {0};
    size_t most = c->moves ? SIZE_MAX : MANIFEST_TXN_MAX, puts = 0;
    while (c->at < ROUNDS * c->n && puts <= most) {
        int put = put_at(c, t, &cache, err);
        if (put < 0)
            return -1;
        puts += (size_t)put;
    }
    return 0;
}

int record_last(struct manifest_txn *t, uint64_t *number, struct err *err)
{
    struct bytes value;
    int found = manifest_kept(t, LAST_KEY, &value, err);
    struct wire_reader r =
        wire_reader_of(found == 1 ? value.data : NULL, found == 1 ? value.len : 0);
    uint64_t last = wire_get_u64(&r);
    if (found >= 0)
        *number = wire_done(&r) ? last : 0;
    return found < 0 ? -1 : 0;
}

static int keep_number(struct commit *c, struct manifest_txn *t, struct err *err)
{
    struct wire_writer w = {0};
    wire_u64(&w, c->number);
    int bad = c->number ? manifest_keep(t, LAST_KEY, (struct bytes){w.data, w.len}, err) : 0;
    wire_free(&w);
    return bad;
}

/* One transaction, no larger than the store likes them. Those before the last leave the journal
 * standing, so that what is half recorded is done again. */
int record_some(struct commit *c, struct err *err)
{
    struct manifest_txn *t;
    if (c->at == 0 && !c->number)
        c->number = checkpoint_note(c->r, c->sorted, c->n);
    if (manifest_begin(c->r->manifest, true, &t, err) < 0)
        return -1;
    int bad = put_some(c, t, err);
    bool last = c->at == ROUNDS * c->n;
    if (!bad && last)
        bad = forget_failed(c, t, err) < 0 || put_touched(c, t, err) < 0 ||
              keep_number(c, t, err) < 0 || manifest_journal_clear(t, err) < 0;
    if (bad) {
        manifest_abort(t);
        return -1;
    }
    return manifest_commit(t, err) < 0 ? -1 : !last;
}
