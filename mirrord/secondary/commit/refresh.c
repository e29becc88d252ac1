/* Noting validators and writing them; see refresh.h. Why they moved is the callers' business. */
#include "secondary/commit/refresh.h"

#include <fcntl.h>

#include "base/mem.h"
#include "secondary/commit/commit_impl.h"

enum { REFRESH_TXN = 1024 }; /* a few milliseconds */

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

int refresh_some(struct refresh *f, struct replica *r, struct err *err)
{
    struct manifest_txn *t;
    struct record_parents cache = {0};
    size_t end = f->count - f->done < REFRESH_TXN ? f->count : f->done + REFRESH_TXN;
    if (f->done == f->count)
        return 0;
    if (manifest_begin(r->manifest, true, &t, err) < 0)
        return -1;
    for (; f->done < end; f->done++) {
        const struct refresh_item *item = &f->items[f->done];
        if (!still_stands(r, item) || write_one(t, &cache, item, err) == 0)
            continue;
        manifest_abort(t);
        return -1;
    }
    return manifest_commit(t, err) < 0 ? -1 : f->done < f->count;
}

int refresh_write(struct refresh *f, struct replica *r, struct err *err)
{
    int more;
    while ((more = refresh_some(f, r, err)) == 1)
        continue;
    refresh_clear(f);
    return more;
}
