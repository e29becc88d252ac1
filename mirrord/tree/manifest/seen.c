/* Digests on their way into the manifest; see seen.h. */
#include "tree/manifest/seen.h"

#include "base/mem.h"

struct note {
    char *path;
    size_t len;
    struct validators validators;
    struct digest digest;
    uint32_t flags;
};

struct seen {
    struct manifest *manifest;
    struct note *notes;
    size_t count, room;
};

struct seen *seen_new(struct manifest *m)
{
    struct seen *n = mem_alloc(sizeof *n);
    n->manifest = m;
    return n;
}

static void clear(struct seen *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->notes[i].path);
    n->count = 0;
}

void seen_free(struct seen *n)
{
    if (!n)
        return;
    clear(n);
    free(n->notes);
    free(n);
}

void seen_add(struct seen *n, struct bytes path, const struct record *r)
{
    if (n->count == n->room) {
        n->room = n->room ? n->room * 2 : 64;
        n->notes = mem_resize(n->notes, n->room, sizeof *n->notes);
    }
    n->notes[n->count++] = (struct note){.path = mem_copy_bytes(path.data, path.len),
        .len = path.len,
        .validators = r->validators,
        .digest = r->entry.digest,
        .flags = r->flags};
}

size_t seen_count(const struct seen *n)
{
    return n->count;
}

static int store_one(struct manifest_txn *t, const struct note *n, struct err *err)
{
    struct bytes path = {n->path, n->len};
    struct record r;
    uint64_t parent = 0;
    int found = manifest_lookup(t, path, &r, &parent, err);
    if (found != 1)
        return found;
    if (r.entry.type != ENTRY_FILE || !validators_equal(&r.validators, &n->validators))
        return 0; /* changed since: whoever scans sends it again */
    r.entry.has_digest = true;
    r.entry.digest = n->digest;
    r.flags = (r.flags & ~(uint32_t)RECORD_RACY) | (n->flags & RECORD_RACY);
    return manifest_put(t, parent, path_name(path), &r, err);
}

int seen_store(struct seen *n, struct err *err)
{
    for (size_t at = 0; at < n->count;) {
        struct manifest_txn *t;
        if (manifest_begin(n->manifest, true, &t, err) < 0)
            return -1;
        for (int i = 0; i < MANIFEST_TXN_MAX && at < n->count; i++, at++)
            if (store_one(t, &n->notes[at], err) < 0) {
                manifest_abort(t);
                return -1;
            }
        if (manifest_commit(t, err) < 0)
            return -1;
    }
    clear(n);
    return 0;
}
