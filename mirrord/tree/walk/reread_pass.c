/*
 * A pass over the files of one tree, in the order of the manifest, some of them at a time: over all
 * whose content is known, which is read again, or over those that were never read. The place of the
 * former is kept in the manifest.
 */
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/walk/reread_impl.h"

enum {
    FILE_COST = 16 * 1024,   /* what a file counts at least: opening it costs, too */
    LOOK = 256,              /* records in one transaction */
    PROVE_AGAIN_MS = 600000, /* between passes: for what was busy, and what came since */
    SAVE_MS = 60000,
    DAY_S = 86400,
};

#define PLACE "reread" /* what the manifest keeps: began, due, directory, name */

uint64_t reread_now_s(void)
{
    return (uint64_t)time(NULL);
}

static uint64_t some_of(uint64_t n)
{
    uint32_t dice;
    io_random(&dice, sizeof dice);
    return n * dice / UINT32_MAX;
}

static void decode_place(struct reread_tree *t, struct bytes value)
{
    struct wire_reader r = wire_reader_of(value.data, value.len);
    uint64_t began = wire_get_u64(&r), due = wire_get_u64(&r), dir = wire_get_u64(&r);
    struct bytes name = wire_get_short(&r, PATH_NAME_MAX);
    if (!wire_done(&r))
        return;
    t->began = began;
    t->due = due;
    t->at = (struct manifest_place){.dir = dir, .name_len = name.len};
    if (name.len)
        memcpy(t->at.name, name.data, name.len);
}

/* A manifest that says nothing is new: what it knows was read not long ago. */
static int load(struct reread_tree *t, struct err *err)
{
    struct manifest_txn *txn;
    struct bytes value;
    uint64_t every = t->owner->every_s, soonest = reread_now_s() + some_of(every);
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    int found = manifest_kept(txn, PLACE, &value, err);
    if (found == 1)
        decode_place(t, value);
    manifest_abort(txn);
    if (!t->due || t->due > reread_now_s() + every)
        t->due = soonest;
    return found < 0 ? -1 : 0;
}

static void save(struct reread_tree *t)
{
    struct manifest_txn *txn;
    struct wire_writer w = {0};
    struct err why;
    t->saved_ms = io_now_ms();
    wire_u64(&w, t->began);
    wire_u64(&w, t->due);
    wire_u64(&w, t->at.dir);
    wire_short(&w, (struct bytes){t->at.name, t->at.name_len});
    int bad = manifest_begin(t->manifest, true, &txn, &why);
    if (!bad && (bad = manifest_keep(txn, PLACE, (struct bytes){w.data, w.len}, &why)) < 0)
        manifest_abort(txn);
    else if (!bad)
        bad = manifest_commit(txn, &why);
    if (bad)
        log_warn("%s: reading content again: %s", root_path(t->root), why.text);
    wire_free(&w);
}

static bool is_to_be_read(const struct record *r)
{
    return r->entry.type == ENTRY_FILE && r->entry.has_digest && !(r->flags & RECORD_RACY) &&
           !digest_is_doubt(&r->entry.digest);
}

static bool is_to_be_proven(const struct record *r)
{
    return r->entry.type == ENTRY_FILE && !r->entry.has_digest;
}

/* 1, 0: its directory is gone, or the path too long; -1. */
static int take_target(struct manifest_txn *txn, const struct manifest_place *at,
    const struct record *r, struct target *x, struct err *err)
{
    int rc = manifest_dir_path(txn, at->dir, x->path, &x->len, err);
    if (rc != 1 || x->len + 1 + at->name_len > PATH_TOTAL_MAX)
        return rc < 0 ? -1 : 0;
    if (x->len > 0)
        x->path[x->len++] = '/';
    memcpy(x->path + x->len, at->name, at->name_len);
    x->len += at->name_len;
    x->at = *at;
    x->validators = r->validators;
    x->known = r->entry.has_digest;
    x->digest = r->entry.digest;
    return 1;
}

/* Moves on to the next file that is wanted, or by so many records. 1 with it, 2 not yet, 0 at the
 * end, -1. */
static int find_next(struct reread_tree *t, struct manifest_place *at,
    bool (*wanted)(const struct record *r), struct target *x, struct err *err)
{
    struct manifest_txn *txn;
    struct record r;
    int more = 1, found = 0;
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    for (int n = 0; n < LOOK && more == 1 && found == 0; n++) {
        more = manifest_next_of_all(txn, at, &r, err);
        if (more == 1 && wanted(&r))
            found = take_target(txn, at, &r, x, err);
    }
    manifest_abort(txn);
    if (more < 0 || found < 0)
        return -1;
    return found ? 1 : more ? 2 : 0;
}

/* Does the manifest still say the same? */
static bool is_still_recorded(struct reread_tree *t, const struct target *x)
{
    struct manifest_txn *txn;
    struct record r;
    struct err ignored;
    if (manifest_begin(t->manifest, false, &txn, &ignored) < 0)
        return false;
    bool same = manifest_get(txn, x->at.dir, (struct bytes){x->at.name, x->at.name_len}, &r,
                    &ignored) == 1 &&
                is_to_be_read(&r) && digest_equal(&r.entry.digest, &x->digest) &&
                validators_equal(&r.validators, &x->validators);
    manifest_abort(txn);
    return same;
}

static void tell_proven(struct reread_tree *t, const struct target *x)
{
    struct record r = {.validators = x->validators};
    r.entry.type = ENTRY_FILE;
    r.entry.has_digest = true;
    r.entry.digest = x->digest;
    t->hooks.proven(t->hooks.ctx, (struct bytes){x->path, x->len}, &r);
}

/* False when the tree goes. */
static bool work_on(struct reread_tree *t, struct target *x)
{
    enum reread_verdict v = reread_file(t, x);
    if (v == GIVEN_UP)
        return false;
    if (v == PROVEN)
        tell_proven(t, x);
    if (x->known && (v == OTHER_CONTENT || v == OTHER_FILE) && is_still_recorded(t, x))
        t->hooks.differs(t->hooks.ctx, (struct bytes){x->path, x->len}, v == OTHER_CONTENT);
    uint64_t size = x->validators.size;
    return size >= FILE_COST || reread_pace(t, FILE_COST - size);
}

static void end_pass(struct reread_tree *t)
{
    uint64_t every = t->owner->every_s;
    log_debug("%s: all content was read again", root_path(t->root));
    t->due = t->began + every + some_of(every / 10);
    t->began = 0;
    t->at = (struct manifest_place){0};
    save(t);
}

static void put_off(struct reread_tree *t, const struct err *why)
{
    log_warn("%s: reading content again: %s", root_path(t->root), why->text);
    t->began = 0;
    t->due = reread_now_s() + DAY_S;
}

void reread_again(struct reread_tree *t)
{
    struct target *x CLEANUP_FREE = mem_alloc(sizeof *x);
    struct err why;
    struct manifest_place before;
    if (!t->began)
        t->began = reread_now_s();
    for (int n = 0; n < LOOK && !atomic_load(&t->leaving); n++) {
        before = t->at;
        int found = find_next(t, &t->at, is_to_be_read, x, &why);
        if (found < 0) {
            put_off(t, &why);
            return;
        }
        if (found == 0) {
            end_pass(t);
            return;
        }
        if (found == 1 && !work_on(t, x)) {
            t->at = before; /* this file once more */
            break;
        }
    }
    if (atomic_load(&t->leaving) || io_now_ms() - t->saved_ms >= SAVE_MS)
        save(t);
}

static void end_proving(struct reread_tree *t)
{
    t->proving = false;
    t->prove_at = (struct manifest_place){0};
    t->prove_due_ms = io_now_ms() + reread_at_most(t->owner, PROVE_AGAIN_MS);
}

/* Is there any? 1, 0, -1. */
static int any_to_prove(struct reread_tree *t, struct err *err)
{
    struct manifest_txn *txn;
    struct msg_sums sums = {0};
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    int bad = manifest_sums(txn, MANIFEST_ROOT, &sums, err);
    manifest_abort(txn);
    return bad ? -1 : sums.unproven > 0;
}

void reread_prove(struct reread_tree *t)
{
    struct target *x CLEANUP_FREE = mem_alloc(sizeof *x);
    struct err why;
    int found = t->proving ? 1 : any_to_prove(t, &why);
    t->proving = found == 1;
    for (int n = 0; n < LOOK && found > 0 && !atomic_load(&t->leaving); n++) {
        found = find_next(t, &t->prove_at, is_to_be_proven, x, &why);
        if (found == 1 && !work_on(t, x))
            return; /* it leaves: whoever has the tree next begins anew */
    }
    if (found < 0)
        log_warn("%s: reading content: %s", root_path(t->root), why.text);
    if (found <= 0)
        end_proving(t);
}

void reread_begin(struct reread_tree *t)
{
    struct err why;
    t->loaded = true;
    if (load(t, &why) < 0)
        put_off(t, &why);
    else if (!t->began)
        save(t); /* when it is due, so that a process that never lives so long comes to it */
}
