/*
 * Directories after a commit's renames: each one that was touched gets the mode and the times that
 * its entry says, the deepest first. One that is not of the batch keeps those of the manifest.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"

void touch_add(struct commit *c, struct bytes path)
{
    set_add(c->touched, path.len ? path.data : "", path.len);
}

void touch_moved(struct commit *c, const struct step *s)
{
    touch_add(c, s->path);
    for (struct set_item *i = set_first(c->touched); i; i = i->next) {
        struct bytes was = {i->key, i->len};
        if (s->from.len == was.len || !path_beneath(was, s->from))
            continue;
        size_t rest = was.len - s->from.len;
        char *path CLEANUP_FREE = mem_alloc(s->path.len + rest + 1);
        memcpy(path, s->path.data, s->path.len);
        memcpy(path + s->path.len, i->key + s->from.len, rest);
        touch_add(c, (struct bytes){path, s->path.len + rest});
    }
}

/* What the directory is to be. */
static int resolve(struct commit *c, struct manifest_txn *t, struct set_item *item, struct err *err)
{
    struct touched *d = mem_alloc(sizeof *d);
    struct record r;
    uint64_t parent;
    item->value = d;
    d->step = commit_find(c, (struct bytes){item->key, item->len});
    if (d->step && d->step->state == STEP_DONE && d->step->entry.type == ENTRY_DIR)
        return 0;
    d->step = NULL;
    struct bytes old = moves_old_path(c, (struct bytes){item->key, item->len});
    int found = manifest_lookup(t, old, &r, &parent, err);
    free((void *)old.data);
    d->known = found == 1 && r.entry.type == ENTRY_DIR;
    if (d->known) {
        d->mode = r.entry.mode;
        d->mtime = (struct timespec){r.entry.mtime, (long)r.entry.mtime_nsec};
    }
    return found < 0 ? -1 : 0;
}

static int resolve_all(struct commit *c, struct err *err)
{
    struct manifest_txn *t;
    int bad = 0;
    if (manifest_begin(c->r->manifest, false, &t, err) < 0)
        return -1;
    for (struct set_item *i = set_first(c->touched); i && !bad; i = i->next)
        bad = resolve(c, t, i, err);
    manifest_abort(t);
    return bad;
}

static int restore(struct commit *c, struct touched *d, int fd, struct err *err)
{
    struct stat st;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, d->mtime};
    if (d->step)
        return meta_apply(&c->r->rules, fd, &d->step->entry, 0, false, err);
    if (!d->known)
        return 0;
    if (!c->mighty && fstat(fd, &st) == 0 && (st.st_mode & 07777) != d->mode &&
        fchmod(fd, d->mode) < 0)
        return err_sys(err, errno, "chmod");
    return futimens(fd, times) < 0 ? err_sys(err, errno, "set times") : 0;
}

static void set_one(struct commit *c, struct set_item *item)
{
    struct touched *d = item->value;
    struct stat st;
    struct err why;
    int fd CLEANUP_FD = root_open_dir(c->r->root, (struct bytes){item->key, item->len});
    if (fd < 0 && !d->step)
        return; /* deleted by a later step */
    int bad = fd < 0 ? err_sys(&why, errno, "open") : restore(c, d, fd, &why);
    if (!bad && fstat(fd, &st) < 0)
        bad = err_sys(&why, errno, "stat");
    if (bad && d->step)
        step_fail(d->step, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "commit", &why);
    else if (bad)
        log_warn("times of %s: %s", QUOTED(item->key, item->len), why.text);
    if (bad)
        return;
    d->after = validators_of(&st);
    d->done = true;
    if (d->step)
        d->step->after = d->after;
}

static int deepest_first(const void *a, const void *b)
{
    const struct set_item *x = *(struct set_item *const *)a, *y = *(struct set_item *const *)b;
    return -bytes_compare((struct bytes){x->key, x->len}, (struct bytes){y->key, y->len});
}

int touch_all(struct commit *c, struct err *err)
{
    size_t n = 0;
    struct set_item **items CLEANUP_FREE = mem_array(set_count(c->touched) + 1, sizeof *items);
    if (resolve_all(c, err) < 0)
        return -1;
    for (struct set_item *i = set_first(c->touched); i; i = i->next)
        items[n++] = i;
    qsort(items, n, sizeof *items, deepest_first);
    for (size_t i = 0; i < n; i++)
        set_one(c, items[i]);
    return 0;
}
