/*
 * A directory that is to be deleted but holds what is not mirrored: everything in it that the
 * manifest knows goes, entry by entry; the rest, and the directories that lead to it, stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"

struct leaf {
    struct bytes path; /* owned */
    bool is_dir;
    struct step_old old;
};

struct leaves {
    struct leaf *list;
    size_t count, cap;
};

static struct bytes join(struct bytes dir, struct bytes name)
{
    char *path = mem_alloc(dir.len + 1 + name.len + 1);
    memcpy(path, dir.data, dir.len);
    path[dir.len] = '/';
    memcpy(path + dir.len + 1, name.data, name.len);
    return (struct bytes){path, dir.len + 1 + name.len};
}

static void append(struct leaves *l, struct bytes path, const struct record *r)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->list = mem_resize(l->list, l->cap, sizeof *l->list);
    }
    l->list[l->count++] = (struct leaf){
        .path = path,
        .is_dir = r->entry.type == ENTRY_DIR,
        .old = {.known = true,
            .committed = r->flags & RECORD_COMMITTED,
            .type = r->entry.type,
            .validators = r->validators},
    };
}

/* All that the manifest has beneath, each directory before what is in it. */
static int gather(struct leaves *l, struct manifest_txn *t, struct bytes top, struct err *err)
{
    struct record r;
    uint64_t parent;
    int found = manifest_lookup(t, top, &r, &parent, err);
    if (found != 1 || r.entry.type != ENTRY_DIR)
        return found < 0 ? -1 : 0;
    append(l, (struct bytes){mem_copy_bytes(top.data, top.len), top.len}, &r);
    for (size_t i = 0; i < l->count; i++) {
        if (!l->list[i].is_dir)
            continue;
        struct bytes dir = l->list[i].path, name = {0};
        if (manifest_lookup(t, dir, &r, &parent, err) != 1)
            return -1;
        uint64_t number = r.dir;
        while ((found = manifest_next(t, number, name, &name, &r, err)) == 1)
            append(l, join(dir, name), &r);
        if (found < 0)
            return -1;
    }
    return 0;
}

static void remove_leaf(struct commit *c, struct step *s, const struct leaf *l)
{
    char name[PATH_NAME_MAX + 1];
    struct stat live;
    struct err why;
    int dirfd = root_borrow_parent(c->r->root, l->path, name);
    if (dirfd < 0 || fstatat(dirfd, name, &live, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    install_loosen(c, dirfd);
    if (S_ISDIR(live.st_mode)) {
        if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
            log_info("%s stays: %s", QUOTED(l->path.data, l->path.len), strerror(errno));
        return;
    }
    enum fate fate = install_is_ours(&l->old, &live) ? FATE_OURS : FATE_FOREIGN;
    if (install_remove(c, dirfd, name, l->path, fate, &why) < 0)
        step_fail(s, REASON_IO, "delete", &why);
}

void prune_directory(struct commit *c, struct step *s)
{
    struct leaves l = {0};
    struct manifest_txn *t;
    struct err why;
    int bad = manifest_begin(c->r->manifest, false, &t, &why);
    if (!bad) {
        bad = gather(&l, t, s->path, &why);
        manifest_abort(t);
    }
    if (bad)
        step_fail(s, REASON_INTERNAL, "delete", &why);
    for (size_t i = l.count; i-- > 0;) {
        if (!bad)
            remove_leaf(c, s, &l.list[i]);
        free((void *)l.list[i].path.data);
    }
    free(l.list);
    root_forget(c->r->root);
    log_info("%s holds what is not mirrored, which stays", QUOTED(s->path.data, s->path.len));
}
