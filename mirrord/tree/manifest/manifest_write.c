/*
 * Changes of the manifest's records. Each change of a record changes its directory's own sums at
 * once; carrying that up to the root is left to sums.c.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "tree/manifest/manifest_impl.h"

#define DOOMED_KEY "doomed"

enum { CUT_MIN = 2048 }; /* less is deleted at once: a millisecond's work */

static int put_encoded(struct manifest_txn *t, const struct manifest_key *key, struct err *err)
{
    if (t->value.bad)
        return err_set(err, ERR_FAILED, "a record cannot be encoded for the manifest");
    struct bytes value = {t->value.data, t->value.len};
    return store_put(t->txn, STORE_ENTRIES, manifest_key_bytes(key), value, err);
}

static int get_dir(struct manifest_txn *t, uint64_t dir, struct sums_dir **out, struct err *err)
{
    int rc = sums_get(t->sums, dir, out, err);
    if (rc == 0)
        err_set(err, ERR_FAILED, "the manifest has no directory %llu", (unsigned long long)dir);
    return rc == 1 ? 0 : -1;
}

/* Numbers of directories whose content is to be deleted. */
struct doomed {
    uint64_t *dirs;
    size_t count, cap;
};

static void doom(struct doomed *d, uint64_t dir)
{
    if (d->count == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 64;
        d->dirs = mem_resize(d->dirs, d->cap, sizeof *d->dirs);
    }
    d->dirs[d->count++] = dir;
}

/* At most so many records, counted down. 1 there are more, 0, -1. */
static int delete_content(
    struct manifest_txn *t, uint64_t dir, struct doomed *doomed, size_t *most, struct err *err)
{
    struct bytes name;
    struct record r;
    int rc = 1;
    while (*most && (rc = manifest_next(t, dir, (struct bytes){0}, &name, &r, err)) == 1) {
        --*most;
        struct manifest_key key = manifest_key_of(dir, name);
        if (r.dir)
            doom(doomed, r.dir);
        if (store_delete(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), err) < 0)
            return -1;
    }
    return rc;
}

/* Deletes what is beneath a directory and its number, however deep, but not its entry. */
static int delete_subtree(
    struct manifest_txn *t, struct sums_dir *parent, uint64_t top, struct err *err)
{
    struct doomed doomed = {0};
    struct sums_dir *child;
    size_t most = SIZE_MAX;
    int rc = get_dir(t, top, &child, err);
    if (rc == 0) {
        sums_detach(parent, child);
        doom(&doomed, top);
    }
    while (rc == 0 && doomed.count > 0) {
        uint64_t dir = doomed.dirs[--doomed.count];
        rc = delete_content(t, dir, &doomed, &most, err);
        if (rc == 0)
            rc = manifest_drift_drop(t, dir, err);
        if (rc == 0)
            rc = sums_drop(t->sums, dir, err);
    }
    free(doomed.dirs);
    return rc;
}

static int check_put(const struct record *r, struct bytes name, struct err *err)
{
    bool known =
        r->entry.type == ENTRY_FILE || r->entry.type == ENTRY_DIR || r->entry.type == ENTRY_LINK;
    if (name.len == 0 || name.len > PATH_NAME_MAX || !known)
        return err_set(err, ERR_FAILED, "no record for the manifest: \"%s\", type %u",
            QUOTED(name.data, name.len), r->entry.type);
    return 0;
}

int manifest_put(
    struct manifest_txn *t, uint64_t dir, struct bytes name, struct record *r, struct err *err)
{
    struct sums_dir *d;
    struct record old = {0};
    if (check_put(r, name, err) != 0 || get_dir(t, dir, &d, err) != 0)
        return -1;
    struct manifest_key key = manifest_key_of(dir, name);
    name = manifest_key_name(&key);
    int found = manifest_find(t, &key, &old, err);
    if (found < 0)
        return -1;
    /* All that r and old point to may be the store's own memory: used before anything is written.
     */
    bool is_dir = r->entry.type == ENTRY_DIR;
    r->dir = !is_dir ? 0 : old.dir ? old.dir : t->next_dir++;
    if (found)
        sums_count_out(d, name, &old.entry);
    sums_count_in(d, name, &r->entry);
    manifest_encode(&t->value, r);
    if (old.dir && !is_dir && delete_subtree(t, d, old.dir, err) != 0)
        return -1;
    if (is_dir && !old.dir)
        sums_add(t->sums, r->dir, dir, name);
    return put_encoded(t, &key, err);
}

int manifest_put_root(struct manifest_txn *t, const struct record *r, struct err *err)
{
    struct record root = *r;
    struct manifest_key key = manifest_key_of(MANIFEST_NO_DIR, (struct bytes){0});
    root.dir = MANIFEST_ROOT;
    if (root.entry.type != ENTRY_DIR)
        return err_set(err, ERR_FAILED, "the root of a manifest is a directory");
    manifest_encode(&t->value, &root);
    return put_encoded(t, &key, err);
}

int manifest_delete(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err)
{
    struct sums_dir *d;
    struct record old;
    if (name.len == 0 || name.len > PATH_NAME_MAX)
        return 0;
    struct manifest_key key = manifest_key_of(dir, name);
    int rc = manifest_find(t, &key, &old, err);
    if (rc != 1)
        return rc;
    if (get_dir(t, dir, &d, err) != 0)
        return -1;
    sums_count_out(d, manifest_key_name(&key), &old.entry);
    if (old.dir && delete_subtree(t, d, old.dir, err) != 0)
        return -1;
    return store_delete(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), err);
}

/* What was cut, as it is kept: numbers, little-endian. */
static int read_doomed(struct manifest_txn *t, struct doomed *out, struct err *err)
{
    struct bytes value;
    int found = manifest_kept(t, DOOMED_KEY, &value, err);
    struct wire_reader r =
        wire_reader_of(found == 1 ? value.data : NULL, found == 1 ? value.len : 0);
    while (r.pos < r.len && !r.bad)
        doom(out, wire_get_u64(&r));
    return found < 0 ? -1 : 0;
}

static int keep_doomed(struct manifest_txn *t, const struct doomed *d, struct err *err)
{
    struct wire_writer w = {0};
    for (size_t i = 0; i < d->count; i++)
        wire_u64(&w, d->dirs[i]);
    int bad = manifest_keep(t, DOOMED_KEY, (struct bytes){w.data, w.len}, err);
    wire_free(&w);
    return bad;
}

/* Without its number nobody comes to what is beneath any more. */
static int cut_directory(
    struct manifest_txn *t, struct sums_dir *parent, uint64_t number, struct err *err)
{
    struct doomed doomed = {0};
    struct sums_dir *child;
    int bad = get_dir(t, number, &child, err);
    if (!bad) {
        sums_detach(parent, child);
        bad = read_doomed(t, &doomed, err);
    }
    if (!bad) {
        doom(&doomed, number);
        bad = keep_doomed(t, &doomed, err) < 0 || sums_drop(t->sums, number, err) < 0 ? -1 : 0;
    }
    free(doomed.dirs);
    return bad;
}

int manifest_cut(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err)
{
    struct sums_dir *d;
    struct record old;
    struct msg_sums sums;
    int rc = manifest_get(t, dir, name, &old, err);
    if (rc != 1)
        return rc;
    uint64_t number = old.dir;
    if (!number)
        return manifest_delete(t, dir, name, err);
    if (manifest_sums(t, number, &sums, err) < 0) /* which settles what is beneath */
        return -1;
    if (sums.entries < CUT_MIN)
        return manifest_delete(t, dir, name, err);
    struct manifest_key key = manifest_key_of(dir, name);
    if (manifest_find(t, &key, &old, err) != 1 || get_dir(t, dir, &d, err) != 0)
        return -1;
    sums_count_out(d, manifest_key_name(&key), &old.entry);
    if (cut_directory(t, d, number, err) < 0)
        return -1;
    return store_delete(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), err);
}

int manifest_prune(struct manifest_txn *t, size_t most, struct err *err)
{
    struct doomed doomed = {0};
    int rc = read_doomed(t, &doomed, err);
    bool any = doomed.count > 0;
    while (rc == 0 && doomed.count > 0 && most > 0) {
        uint64_t dir = doomed.dirs[--doomed.count];
        rc = delete_content(t, dir, &doomed, &most, err);
        if (rc == 1) {
            doom(&doomed, dir);
            rc = 0;
        } else if (rc == 0) {
            rc = manifest_drift_drop(t, dir, err) < 0 || sums_drop(t->sums, dir, err) < 0 ? -1 : 0;
        }
    }
    if (rc == 0 && any)
        rc = keep_doomed(t, &doomed, err);
    free(doomed.dirs);
    return rc < 0 ? -1 : doomed.count > 0;
}

/* Is directory `dir` the directory `top`, or beneath it? */
static int is_beneath(struct manifest_txn *t, uint64_t dir, uint64_t top, struct err *err)
{
    while (dir != top) {
        struct sums_dir *d;
        if (dir == MANIFEST_ROOT)
            return 0;
        if (get_dir(t, dir, &d, err) != 0)
            return -1;
        dir = d->parent;
    }
    return 1;
}

/* Nothing moves into itself, or over what it is in. */
static int check_move(struct manifest_txn *t, uint64_t from_dir, const struct record *source,
    uint64_t to_dir, const struct record *target, struct err *err)
{
    int loop = source->dir ? is_beneath(t, to_dir, source->dir, err) : 0;
    if (loop == 0 && target->dir)
        loop = is_beneath(t, from_dir, target->dir, err);
    if (loop > 0)
        return err_set(err, ERR_FAILED, "a directory cannot be moved into or over itself");
    return loop;
}

/* Takes the source out of its place; its record stays in t->value, and *source points there. */
static int move_out(struct manifest_txn *t, uint64_t dir, const struct manifest_key *key,
    struct record *source, struct err *err)
{
    struct sums_dir *d, *child;
    manifest_encode(&t->value, source);
    if (t->value.bad)
        return err_set(err, ERR_FAILED, "a record cannot be encoded for the manifest");
    if (manifest_decode(t, (struct bytes){t->value.data, t->value.len}, source, err) != 1 ||
        get_dir(t, dir, &d, err) != 0)
        return -1;
    sums_count_out(d, manifest_key_name(key), &source->entry);
    if (source->dir) {
        if (get_dir(t, source->dir, &child, err) != 0)
            return -1;
        sums_detach(d, child);
    }
    return store_delete(t->txn, STORE_ENTRIES, manifest_key_bytes(key), err) == 1 ? 0 : -1;
}

static int move_in(struct manifest_txn *t, uint64_t dir, const struct manifest_key *key,
    const struct record *source, struct err *err)
{
    struct sums_dir *d, *child;
    if (get_dir(t, dir, &d, err) != 0)
        return -1;
    sums_count_in(d, manifest_key_name(key), &source->entry);
    if (source->dir) {
        if (get_dir(t, source->dir, &child, err) != 0)
            return -1;
        sums_attach(child, dir, manifest_key_name(key));
    }
    return put_encoded(t, key, err);
}

int manifest_move(struct manifest_txn *t, uint64_t from_dir, struct bytes from, uint64_t to_dir,
    struct bytes to, struct err *err)
{
    struct record source, target = {0};
    struct sums_dir *d;
    if (from.len == 0 || from.len > PATH_NAME_MAX)
        return 0;
    if (to.len == 0 || to.len > PATH_NAME_MAX)
        return err_set(err, ERR_FAILED, "no name for the manifest to move to");
    struct manifest_key from_key = manifest_key_of(from_dir, from),
                        to_key = manifest_key_of(to_dir, to);
    int rc = manifest_find(t, &from_key, &source, err);
    if (rc != 1)
        return rc;
    if (bytes_equal(manifest_key_bytes(&from_key), manifest_key_bytes(&to_key)))
        return 1;
    if (get_dir(t, to_dir, &d, err) != 0 || manifest_find(t, &to_key, &target, err) < 0 ||
        check_move(t, from_dir, &source, to_dir, &target, err) != 0 ||
        move_out(t, from_dir, &from_key, &source, err) != 0 ||
        manifest_delete(t, to_dir, manifest_key_name(&to_key), err) < 0 ||
        move_in(t, to_dir, &to_key, &source, err) != 0)
        return -1;
    return 1;
}
