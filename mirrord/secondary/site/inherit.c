/* Going through two manifests of one root side by side; see inherit.h. Touches no files. */
#include "secondary/site/inherit.h"

#include <string.h>

#include "base/io.h"
#include "base/mem.h"

enum { INHERIT_STRIDE = 256 }; /* entries between looks at the clock */

struct pair {
    uint64_t from, to; /* numbers of one directory */
};

struct inherit {
    struct manifest *from, *to;
    struct pair *left; /* directories still to be gone through; the last one is at work */
    size_t count, cap;
    char after[PATH_NAME_MAX]; /* the last name done in it */
    size_t after_len;
};

static void push(struct inherit *i, uint64_t from, uint64_t to)
{
    if (i->count == i->cap) {
        i->cap = i->cap ? 2 * i->cap : 64;
        i->left = mem_resize(i->left, i->cap, sizeof *i->left);
    }
    i->left[i->count++] = (struct pair){from, to};
}

struct inherit *inherit_new(struct manifest *from, struct manifest *to)
{
    struct inherit *i = mem_alloc(sizeof *i);
    i->from = from;
    i->to = to;
    push(i, MANIFEST_ROOT, MANIFEST_ROOT);
    return i;
}

void inherit_free(struct inherit *i)
{
    if (!i)
        return;
    free(i->left);
    free(i);
}

/* One name: its record, and in *found the pair to go on with where it is a directory. */
static int take_over(struct manifest_txn *to, struct pair at, struct bytes name,
    const struct record *old, struct pair *found, struct err *err)
{
    struct record now;
    int there = manifest_get(to, at.to, name, &now, err);
    if (there != 1 || now.entry.type != old->entry.type)
        return there < 0 ? -1 : 0;
    if (old->entry.type == ENTRY_DIR)
        *found = (struct pair){old->dir, now.dir};
    bool same = validators_equal(&old->validators, &now.validators);
    if (!(old->flags & RECORD_COMMITTED) || !same || (now.flags & RECORD_COMMITTED))
        return 0;
    struct record r = {.entry = old->entry, .validators = now.validators, .flags = old->flags};
    return manifest_put(to, at.to, name, &r, err);
}

/* One stride of the directory at work, which is finished before those found in it are begun. 1 more
 * to do, 0 all is done, -1. */
static int go_on(
    struct inherit *i, struct manifest_txn *from, struct manifest_txn *to, struct err *err)
{
    struct pair at = i->left[i->count - 1];
    struct pair *found CLEANUP_FREE = mem_array(INHERIT_STRIDE, sizeof *found);
    size_t dirs = 0;
    int more = 1;
    for (int n = 0; n < INHERIT_STRIDE && more == 1; n++) {
        struct bytes name, after = {i->after, i->after_len};
        struct record old;
        struct pair sub = {0};
        more = manifest_next(from, at.from, after, &name, &old, err);
        if (more == 1 && take_over(to, at, name, &old, &sub, err) < 0)
            return -1;
        if (more == 1) {
            memcpy(i->after, name.data, name.len);
            i->after_len = name.len;
        }
        if (sub.from)
            found[dirs++] = sub;
    }
    if (more < 0)
        return -1;
    if (more == 0) {
        i->count--;
        i->after_len = 0;
    }
    for (size_t n = 0; n < dirs; n++) {
        push(i, found[n].from, found[n].to);
        if (more == 1) { /* the one at work stays last */
            struct pair work = i->left[i->count - 2];
            i->left[i->count - 2] = i->left[i->count - 1];
            i->left[i->count - 1] = work;
        }
    }
    return i->count > 0;
}

static int go_on_for(struct inherit *i, struct manifest_txn *from, struct manifest_txn *to,
    uint64_t deadline, struct err *err)
{
    int more;
    do
        more = go_on(i, from, to, err);
    while (more == 1 && io_now_us() < deadline);
    return more;
}

int inherit_step(struct inherit *i, unsigned budget_ms, struct err *err)
{
    struct manifest_txn *from, *to;
    if (manifest_begin(i->from, false, &from, err) < 0)
        return -1;
    if (manifest_begin(i->to, true, &to, err) < 0) {
        manifest_abort(from);
        return -1;
    }
    int more = go_on_for(i, from, to, io_now_us() + (uint64_t)budget_ms * 1000, err);
    manifest_abort(from);
    if (more < 0) {
        manifest_abort(to);
        return -1;
    }
    return manifest_commit(to, err) < 0 ? -1 : more;
}
