/* Records of the manifest: their form, and the ways to find one. Changes nothing. */
#include <endian.h>
#include <string.h>

#include "tree/manifest/manifest_impl.h"

enum { RECORD_VERSION = 1 };

struct manifest_key manifest_key_of(uint64_t dir, struct bytes name)
{
    struct manifest_key k = {.len = sizeof dir + name.len};
    uint64_t number = htobe64(dir);
    memcpy(k.b, &number, sizeof number);
    if (name.len)
        memcpy(k.b + sizeof number, name.data, name.len);
    return k;
}

struct bytes manifest_key_bytes(const struct manifest_key *k)
{
    return (struct bytes){k->b, k->len};
}

struct bytes manifest_key_name(const struct manifest_key *k)
{
    return (struct bytes){k->b + sizeof(uint64_t), k->len - sizeof(uint64_t)};
}

void manifest_encode(struct wire_writer *w, const struct record *r)
{
    wire_reset(w);
    wire_u8(w, RECORD_VERSION);
    wire_u32(w, r->flags);
    wire_u64(w, r->dir);
    validators_encode(w, &r->validators);
    entry_encode(w, &r->entry);
}

bool manifest_record(struct bytes value, struct record *out)
{
    struct wire_reader r = wire_reader_of(value.data, value.len);
    struct record rec;
    uint8_t version = wire_get_u8(&r);
    rec.flags = wire_get_u32(&r);
    rec.dir = wire_get_u64(&r);
    rec.validators = validators_decode(&r);
    entry_decode(&r, &rec.entry);
    if (!wire_done(&r) || version != RECORD_VERSION || (rec.entry.type == ENTRY_DIR) != !!rec.dir)
        return false;
    *out = rec;
    return true;
}

int manifest_decode(struct manifest_txn *t, struct bytes value, struct record *out, struct err *err)
{
    return manifest_record(value, out) ? 1 : manifest_damaged(t, "a record", err);
}

int manifest_find(
    struct manifest_txn *t, const struct manifest_key *key, struct record *out, struct err *err)
{
    struct bytes value;
    int rc = store_get(t->txn, STORE_ENTRIES, manifest_key_bytes(key), &value, err);
    return rc == 1 ? manifest_decode(t, value, out, err) : rc;
}

int manifest_get(
    struct manifest_txn *t, uint64_t dir, struct bytes name, struct record *out, struct err *err)
{
    if (name.len == 0 || name.len > PATH_NAME_MAX)
        return 0;
    struct manifest_key key = manifest_key_of(dir, name);
    return manifest_find(t, &key, out, err);
}

int manifest_lookup(struct manifest_txn *t, struct bytes path, struct record *out, uint64_t *parent,
    struct err *err)
{
    uint64_t dir = MANIFEST_ROOT;
    if (path.len == 0) {
        struct manifest_key root = manifest_key_of(MANIFEST_NO_DIR, path);
        return manifest_find(t, &root, out, err);
    }
    const char *p = path.data, *end = p + path.len;
    for (;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        struct bytes name = {p, (size_t)((slash ? slash : end) - p)};
        struct record r = {0};
        int rc = manifest_get(t, dir, name, &r, err);
        if (rc < 0)
            return -1;
        if (!slash) {
            *parent = dir;
            if (rc == 1)
                *out = r;
            return rc;
        }
        if (rc == 0 || r.entry.type != ENTRY_DIR) {
            *parent = 0;
            return 0;
        }
        dir = r.dir;
        p = slash + 1;
    }
}

static bool is_key(struct bytes key, uint64_t number, struct bytes name)
{
    const uint8_t *p = key.data;
    return key.len == sizeof number + name.len && memcmp(p, &number, sizeof number) == 0 &&
           (name.len == 0 || memcmp(p + sizeof number, name.data, name.len) == 0);
}

/* The next key in order: where the cursor is already, one step; else a search. `number` is the
 * directory's, as it stands in keys. */
static int next_key(struct manifest_txn *t, uint64_t number, struct bytes after,
    struct bytes *found, struct bytes *value, struct err *err)
{
    if (t->has_last && is_key(t->last, number, after))
        return store_next(t->txn, STORE_ENTRIES, found, value, err);
    struct manifest_key key = manifest_key_of(be64toh(number), after);
    int rc = store_seek(t->txn, STORE_ENTRIES, manifest_key_bytes(&key), found, value, err);
    if (rc == 1 && is_key(*found, number, after))
        rc = store_next(t->txn, STORE_ENTRIES, found, value, err);
    return rc;
}

/* The front of a record, as manifest_encode wrote it; what is behind it is not looked at. */
enum { FRONT_SIZE = 1 + 4 + 8 + 8 + 8 + 4 + 8 + 8 + 4, FRONT_WITH_TYPE = FRONT_SIZE + 2 };

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static int decode_front(
    struct manifest_txn *t, struct bytes value, struct record_front *out, struct err *err)
{
    const uint8_t *p = value.data;
    if (value.len < FRONT_WITH_TYPE || p[0] != RECORD_VERSION)
        return manifest_damaged(t, "a record", err);
    *out = (struct record_front){.flags = u32_at(p + 1),
        .dir = u64_at(p + 5),
        .validators = {.inode = u64_at(p + 13),
            .ctime = (int64_t)u64_at(p + 21),
            .ctime_nsec = u32_at(p + 29),
            .size = u64_at(p + 33),
            .mtime = (int64_t)u64_at(p + 41),
            .mtime_nsec = u32_at(p + 49)},
        .type = p[FRONT_SIZE],
        .has_digest = p[FRONT_SIZE + 1],
        .value = value,
        .entry = {p + FRONT_SIZE, value.len - FRONT_SIZE}};
    if ((out->type == ENTRY_DIR) != !!out->dir)
        return manifest_damaged(t, "a record", err);
    return 1;
}

int manifest_unfold(
    struct manifest_txn *t, const struct record_front *f, struct record *out, struct err *err)
{
    return manifest_decode(t, f->value, out, err) == 1 ? 0 : -1;
}

int manifest_peek(struct manifest *m, struct bytes path, struct record *out, struct err *err)
{
    struct manifest_txn *t;
    uint64_t parent;
    if (manifest_begin(m, false, &t, err) < 0)
        return -1;
    int found = manifest_lookup(t, path, out, &parent, err);
    manifest_abort(t);
    if (found == 1) {
        struct entry *e = &out->entry;
        e->owner = e->group = e->target = e->acl = e->default_acl = (struct bytes){0};
    }
    return found;
}

int manifest_next(struct manifest_txn *t, uint64_t dir, struct bytes after, struct bytes *name,
    struct record *out, struct err *err)
{
    struct record_front front;
    int rc = manifest_next_front(t, dir, after, name, &front, err);
    return rc == 1 && manifest_unfold(t, &front, out, err) < 0 ? -1 : rc;
}

int manifest_next_front(struct manifest_txn *t, uint64_t dir, struct bytes after,
    struct bytes *name, struct record_front *out, struct err *err)
{
    struct bytes found, value;
    if (after.len > PATH_NAME_MAX)
        return err_set(err, ERR_FAILED, "a name in the manifest is longer than %d", PATH_NAME_MAX);
    uint64_t number = htobe64(dir);
    int rc = next_key(t, number, after, &found, &value, err);
    t->has_last = rc == 1 && !t->write;
    if (rc != 1)
        return rc;
    t->last = found;
    if (found.len <= sizeof dir || memcmp(found.data, &number, sizeof number) != 0)
        return 0;
    if (found.len > sizeof dir + PATH_NAME_MAX)
        return manifest_damaged(t, "a name", err);
    rc = decode_front(t, value, out, err);
    if (rc == 1)
        *name = (struct bytes){(const uint8_t *)found.data + sizeof dir, found.len - sizeof dir};
    return rc;
}

int manifest_next_of_all(
    struct manifest_txn *t, struct manifest_place *at, struct record *out, struct err *err)
{
    struct bytes found, value;
    uint64_t dir;
    int rc =
        next_key(t, htobe64(at->dir), (struct bytes){at->name, at->name_len}, &found, &value, err);
    t->has_last = false;
    if (rc != 1)
        return rc;
    if (found.len < sizeof dir || found.len > sizeof dir + PATH_NAME_MAX)
        return manifest_damaged(t, "a name", err);
    memcpy(&dir, found.data, sizeof dir);
    dir = be64toh(dir);
    if (dir & MANIFEST_DRIFT_BIT)
        return 0;
    *at = (struct manifest_place){.dir = dir, .name_len = found.len - sizeof dir};
    memcpy(at->name, (const uint8_t *)found.data + sizeof dir, at->name_len);
    return manifest_decode(t, value, out, err);
}

int manifest_dir_path(struct manifest_txn *t, uint64_t dir, char path[PATH_TOTAL_MAX + 1],
    size_t *len, struct err *err)
{
    size_t at = PATH_TOTAL_MAX; /* filled from the end */
    while (dir != MANIFEST_ROOT) {
        struct sums_dir stored, *d = &stored;
        int rc =
            t->write ? sums_get(t->sums, dir, &d, err) : sums_read(t->store, t->txn, dir, d, err);
        if (rc != 1)
            return rc;
        bool slash = at < PATH_TOTAL_MAX;
        if (d->name_len == 0 || d->name_len + (size_t)slash > at)
            return manifest_damaged(t, "a directory's path", err);
        if (slash)
            path[--at] = '/';
        at -= d->name_len;
        memcpy(path + at, d->name, d->name_len);
        dir = d->parent;
    }
    *len = PATH_TOTAL_MAX - at;
    memmove(path, path + at, *len);
    path[*len] = '\0';
    return 1;
}

int manifest_sums(struct manifest_txn *t, uint64_t dir, struct msg_sums *out, struct err *err)
{
    struct sums_dir stored, *d = &stored;
    if (t->write && sums_settle(t->sums, err) != 0)
        return -1;
    int rc = t->write ? sums_get(t->sums, dir, &d, err) : sums_read(t->store, t->txn, dir, d, err);
    if (rc == 0)
        return err_set(
            err, ERR_FAILED, "the manifest has no directory %llu", (unsigned long long)dir);
    if (rc < 0)
        return -1;
    *out = d->sums;
    return 0;
}
