/*
 * What was committed at paths that somebody else changed since; see manifest.h. The rows lie in the
 * table of entries, under directory numbers that no directory has, so that they follow a directory
 * that moves, and cost nothing where there are none.
 */
#include <endian.h>
#include <string.h>

#include "tree/manifest/manifest_impl.h"

static struct manifest_key key_of(uint64_t dir, struct bytes name)
{
    return manifest_key_of(dir | MANIFEST_DRIFT_BIT, name);
}

/* Mostly there is none, which is found out once a transaction. 1, 0, -1. */
static int is_any(struct manifest_txn *t, struct err *err)
{
    struct manifest_key first = key_of(0, (struct bytes){0});
    struct bytes found, value;
    if (t->drift == DRIFT_UNKNOWN) {
        t->has_last = false; /* the cursor is manifest_next's too */
        int rc = store_seek(t->txn, STORE_ENTRIES, manifest_key_bytes(&first), &found, &value, err);
        if (rc < 0)
            return -1;
        t->drift = rc == 1 ? DRIFT_SOME : DRIFT_NONE;
    }
    return t->drift == DRIFT_SOME;
}

int manifest_drift_put(struct manifest_txn *t, uint64_t dir, struct bytes name,
    const struct entry *committed, struct err *err)
{
    static const struct entry nothing = {.type = ENTRY_NONE};
    struct manifest_key key = key_of(dir, name);
    wire_reset(&t->value);
    entry_encode(&t->value, committed ? committed : &nothing);
    if (t->value.bad)
        return err_set(err, ERR_FAILED, "an entry cannot be encoded for the manifest");
    struct bytes value = {t->value.data, t->value.len};
    t->drift = DRIFT_SOME;
    return store_put(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), value, err);
}

static int decode(
    struct manifest_txn *t, struct bytes value, struct entry *committed, struct err *err)
{
    struct wire_reader r = wire_reader_of(value.data, value.len);
    entry_decode(&r, committed);
    return wire_done(&r) ? 1 : manifest_damaged(t, "drift", err);
}

int manifest_drift_get(struct manifest_txn *t, uint64_t dir, struct bytes name,
    struct entry *committed, struct err *err)
{
    struct manifest_key key = key_of(dir, name);
    struct bytes value;
    int rc = is_any(t, err);
    if (rc == 1)
        rc = store_get(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), &value, err);
    return rc == 1 ? decode(t, value, committed, err) : rc;
}

int manifest_drift_forget(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err)
{
    struct manifest_key key = key_of(dir, name);
    int rc = is_any(t, err);
    if (rc == 1)
        rc = store_delete(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), err);
    return rc < 0 ? -1 : 0;
}

int manifest_drift_next(struct manifest_txn *t, struct manifest_drift *at, struct err *err)
{
    struct bytes name = {at->name, at->name_len}, found, value;
    struct manifest_key key = key_of(at->dir, name);
    uint64_t number;
    t->has_last = false; /* the cursor is manifest_next's too */
    int rc = store_seek(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), &found, &value, err);
    if (rc == 1 && at->begun && bytes_equal(found, manifest_key_bytes(&key)))
        rc = store_next(t->txn, STORE_ENTRIES, &found, &value, err);
    if (rc != 1)
        return rc;
    if (found.len < sizeof number || found.len > sizeof key.b)
        return manifest_damaged(t, "drift", err);
    memcpy(&number, found.data, sizeof number);
    at->begun = true;
    at->dir = be64toh(number) & ~MANIFEST_DRIFT_BIT;
    at->name_len = found.len - sizeof number;
    memcpy(at->name, (const uint8_t *)found.data + sizeof number, at->name_len);
    return decode(t, value, &at->committed, err);
}

int manifest_drift_drop(struct manifest_txn *t, uint64_t dir, struct err *err)
{
    struct manifest_drift at = {.dir = dir};
    int rc = is_any(t, err);
    if (rc != 1)
        return rc;
    while ((rc = manifest_drift_next(t, &at, err)) == 1 && at.dir == dir) {
        struct bytes name = {at.name, at.name_len};
        if (manifest_drift_forget(t, dir, name, err) < 0)
            return -1;
        at.begun = false;
    }
    return rc < 0 ? -1 : 0;
}
