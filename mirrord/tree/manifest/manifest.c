/*
 * The manifest's environment: which format and filter it was made for, transactions, the journal;
 * see manifest.h and, for the other parts, manifest_impl.h.
 */
#include "tree/manifest/manifest.h"

#include <endian.h>
#include <string.h>

#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/manifest/manifest_impl.h"

enum { FORMAT = 2 };

struct manifest {
    struct store *store;
};

int manifest_damaged(struct manifest_txn *t, const char *what, struct err *err)
{
    store_mark_damaged(t->store);
    return err_set(err, ERR_FAILED, "the manifest is damaged (%s)", what);
}

static int get_info(struct manifest_txn *t, const char *key, void *out, size_t n, struct err *err)
{
    struct bytes value;
    int rc = store_get(t->txn, STORE_INFO, bytes_of(key), &value, err);
    if (rc != 1)
        return rc;
    if (value.len != n)
        return manifest_damaged(t, key, err);
    memcpy(out, value.data, n);
    return 1;
}

static int put_info(
    struct manifest_txn *t, const char *key, const void *p, size_t n, struct err *err)
{
    return store_put(t->txn, STORE_INFO, bytes_of(key), (struct bytes){p, n}, err);
}

int manifest_kept(struct manifest_txn *t, const char *key, struct bytes *value, struct err *err)
{
    return store_get(t->txn, STORE_INFO, bytes_of(key), value, err);
}

int manifest_keep(struct manifest_txn *t, const char *key, struct bytes value, struct err *err)
{
    return store_put(t->txn, STORE_INFO, bytes_of(key), value, err);
}

static int get_number(struct manifest_txn *t, const char *key, uint64_t *out, struct err *err)
{
    uint64_t v = 0;
    int rc = get_info(t, key, &v, sizeof v, err);
    if (rc == 1)
        *out = le64toh(v);
    return rc;
}

static int put_number(struct manifest_txn *t, const char *key, uint64_t n, struct err *err)
{
    uint64_t v = htole64(n);
    return put_info(t, key, &v, sizeof v, err);
}

/* 1 when the environment is of this format and filter; 0 when not, or when it is new. */
static int read_identity(struct manifest *m, const struct digest *filter, struct err *err)
{
    struct manifest_txn *t;
    struct digest stored;
    uint64_t format = 0;
    if (manifest_begin(m, false, &t, err) != 0)
        return -1;
    int rc = get_number(t, "format", &format, err);
    if (rc == 1)
        rc = get_info(t, "filter", &stored, sizeof stored, err);
    manifest_abort(t);
    return rc == 1 ? format == FORMAT && digest_equal(&stored, filter) : rc;
}

static int write_identity(struct manifest *m, const struct digest *filter, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(m, true, &t, err) != 0)
        return -1;
    sums_add(t->sums, MANIFEST_ROOT, MANIFEST_NO_DIR, (struct bytes){0});
    t->next_dir = MANIFEST_ROOT + 1;
    if (put_number(t, "format", FORMAT, err) == 0 &&
        put_info(t, "filter", filter, sizeof *filter, err) == 0)
        return manifest_commit(t, err);
    manifest_abort(t);
    return -1;
}

/* As manifest_open, from what is there: 1 when that cannot be used. */
static int open_there(
    const char *dir, const struct digest *filter, struct manifest *m, struct err *err)
{
    int rc = store_open(dir, false, &m->store, err);
    if (rc != 0)
        return rc;
    rc = read_identity(m, filter, err);
    if (rc == 1)
        return 0;
    store_close(TAKE_PTR(m->store));
    return 1;
}

static int open_new(
    const char *dir, const struct digest *filter, struct manifest *m, struct err *err)
{
    int rc = store_open(dir, true, &m->store, err);
    if (rc == 0)
        return write_identity(m, filter, err);
    return rc < 0 ? -1 : err_set(err, ERR_FAILED, "cannot make a manifest in %s", dir);
}

int manifest_open_existing(
    const char *dir, const struct digest *filter, struct manifest **out, struct err *err)
{
    struct manifest *m = mem_alloc(sizeof *m);
    int rc = open_there(dir, filter, m, err);
    if (rc == 0)
        *out = m;
    else
        manifest_close(m);
    return rc;
}

int manifest_open(const char *dir, const struct digest *filter, struct manifest **out, bool *fresh,
    struct err *err)
{
    struct manifest *m = mem_alloc(sizeof *m);
    int rc = open_there(dir, filter, m, err);
    bool is_new = rc == 1;
    if (is_new)
        rc = open_new(dir, filter, m, err);
    if (rc != 0) {
        manifest_close(m);
        return -1;
    }
    *fresh = is_new;
    *out = m;
    return 0;
}

void manifest_close(struct manifest *m)
{
    if (!m)
        return;
    store_close(m->store);
    free(m);
}

int manifest_discard(const char *dir, struct err *err)
{
    return store_discard(dir, err);
}

int manifest_set_durable(struct manifest *m, struct err *err)
{
    return store_set_durable(m->store, err);
}

int manifest_sync(struct manifest *m, struct err *err)
{
    return store_sync(m->store, err);
}

int manifest_copy(struct manifest *m, const char *dir, struct err *err)
{
    return store_copy(m->store, dir, err);
}

int manifest_begin(struct manifest *m, bool write, struct manifest_txn **out, struct err *err)
{
    struct store_txn *txn;
    if (store_begin(m->store, write, &txn, err) != 0)
        return -1;
    struct manifest_txn *t = mem_alloc(sizeof *t);
    *t = (struct manifest_txn){.store = m->store, .txn = txn, .write = write};
    if (write) {
        t->sums = sums_new(m->store, txn);
        if (get_number(t, "next", &t->saved_next_dir, err) < 0) {
            manifest_abort(t);
            return -1;
        }
        t->next_dir = t->saved_next_dir;
    }
    *out = t;
    return 0;
}

static void free_txn(struct manifest_txn *t)
{
    sums_free(t->sums);
    wire_free(&t->value);
    free(t);
}

int manifest_commit(struct manifest_txn *t, struct err *err)
{
    bool saved =
        !t->write ||
        (sums_save(t->sums, err) == 0 &&
            (t->next_dir == t->saved_next_dir || put_number(t, "next", t->next_dir, err) == 0));
    if (!saved) {
        manifest_abort(t);
        return -1;
    }
    int rc = store_commit(t->txn, err);
    free_txn(t);
    return rc;
}

void manifest_abort(struct manifest_txn *t)
{
    if (!t)
        return;
    store_abort(t->txn);
    free_txn(t);
}

int manifest_journal_put(struct manifest_txn *t, uint64_t key, struct bytes value, struct err *err)
{
    uint64_t k = htobe64(key);
    return store_put(t->txn, STORE_JOURNAL, (struct bytes){&k, sizeof k}, value, err);
}

int manifest_journal_next(
    struct manifest_txn *t, uint64_t after, uint64_t *key, struct bytes *value, struct err *err)
{
    uint64_t k = htobe64(after + 1);
    struct bytes found;
    if (after == UINT64_MAX)
        return 0;
    int rc = store_seek(t->txn, STORE_JOURNAL, (struct bytes){&k, sizeof k}, &found, value, err);
    if (rc != 1)
        return rc;
    if (found.len != sizeof k)
        return manifest_damaged(t, "the journal", err);
    memcpy(&k, found.data, sizeof k);
    *key = be64toh(k);
    return 1;
}

int manifest_journal_clear(struct manifest_txn *t, struct err *err)
{
    return store_clear(t->txn, STORE_JOURNAL, err);
}
