/* Noting validators and writing them; see refresh.h. Why they moved is the callers' business. */
#include "secondary/refresh.h"

#include <fcntl.h>

#include "base/mem.h"
#include "secondary/commit_impl.h"

struct refresh_item *refresh_add(
    struct refresh *f, struct bytes path, const struct validators *was, const struct validators *is)
{
    if (f->count == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 64;
        f->items = mem_resize(f->items, f->cap, sizeof *f->items);
    }
    struct refresh_item *item = &f->items[f->count++];
    *item =
        (struct refresh_item){{arena_copy(&f->paths, path.data, path.len), path.len}, *was, *is};
    return item;
}

void refresh_clear(struct refresh *f)
{
    arena_free(&f->paths);
    free(f->items);
    *f = (struct refresh){0};
}

static bool still_stands(struct replica *r, const struct refresh_item *item)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = root_borrow_parent(r->root, item->path, name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    struct validators now = validators_of(&st);
    return validators_equal(&now, &item->is);
}

static int write_one(struct manifest_txn *t, struct record_parents *cache,
    const struct refresh_item *item, struct err *err)
{
    struct record r;
    uint64_t parent;
    struct bytes name = path_name(item->path);
    if (record_parent(t, cache, item->path, &parent, err) < 0)
        return -1;
    int found = parent ? manifest_get(t, parent, name, &r, err) : 0;
    if (found != 1 || !validators_equal(&r.validators, &item->was))
        return found < 0 ? -1 : 0;
    r.validators = item->is;
    return manifest_put(t, parent, name, &r, err);
}

static int write_some(struct refresh *f, struct replica *r, size_t from, size_t to, struct err *err)
{
    struct manifest_txn *t;
    struct record_parents cache = {0};
    if (manifest_begin(r->manifest, true, &t, err) < 0)
        return -1;
    for (size_t i = from; i < to; i++) {
        if (!still_stands(r, &f->items[i]) || write_one(t, &cache, &f->items[i], err) == 0)
            continue;
        manifest_abort(t);
        return -1;
    }
    return manifest_commit(t, err);
}

int refresh_write(struct refresh *f, struct replica *r, struct err *err)
{
    int bad = 0;
    for (size_t n = 0; n < f->count && !bad; n += MANIFEST_TXN_MAX) {
        size_t left = f->count - n;
        bad = write_some(f, r, n, n + (left < MANIFEST_TXN_MAX ? left : MANIFEST_TXN_MAX), err);
    }
    refresh_clear(f);
    return bad;
}
