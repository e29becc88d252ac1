/* Listing a replaced unit against the manifest; see replaced.h. */
#include "secondary/replaced.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/foreign.h"
#include "tree/digest.h"

struct sorting {
    struct commit *c;
    struct step *unit;
    struct manifest_txn *t;
    struct set *left; /* paths beneath the root of directories still to be listed */
    bool kept;        /* something is there, and was not set aside as a whole */
    int bad;
};

/* Where the old thing of a live path lies; the caller frees .data. */
static struct bytes place_of(const struct sorting *s, struct bytes path)
{
    struct bytes staged = s->unit->staged;
    size_t rest = path.len - s->unit->path.len;
    char *place = mem_alloc(staged.len + rest + 1);
    memcpy(place, staged.data, staged.len);
    memcpy(place + staged.len, (const char *)path.data + s->unit->path.len, rest);
    return (struct bytes){place, staged.len + rest};
}

static bool is_shared(struct sorting *s, struct bytes path, const struct stat *st)
{
    struct stat live;
    return root_stat(s->c->r->root, path, &live) == 0 && live.st_ino == st->st_ino;
}

/* What comes has the content of what goes. */
static bool is_same(
    struct sorting *s, struct bytes path, const struct step_old *old, const struct stat *st)
{
    const struct step *step = commit_find(s->c, path);
    struct validators v = validators_of(st);
    return step && step->entry.type == ENTRY_FILE && step->entry.has_digest && old->known &&
           old->has_digest && v.inode == old->validators.inode && v.size == old->validators.size &&
           v.mtime == old->validators.mtime && v.mtime_nsec == old->validators.mtime_nsec &&
           digest_equal(&old->digest, &step->entry.digest);
}

static bool is_lost(
    struct sorting *s, struct bytes path, const struct record *r, const struct stat *st)
{
    struct step_old old = {0};
    if (S_ISDIR(st->st_mode))
        return !r || !r->dir;
    if (r)
        old = step_old_of(r);
    return !install_is_ours(&old, st) && !is_same(s, path, &old, st) && !is_shared(s, path, st);
}

static bool put_back(struct sorting *s, int dir, const char *name, struct bytes path)
{
    char target[PATH_NAME_MAX + 1];
    int to = root_borrow_parent(s->c->r->root, path, target);
    if (to < 0 || renameat2(dir, name, to, target, RENAME_NOREPLACE) < 0)
        return false;
    touch_add(s->c, path_parent(path));
    return true;
}

static void look_at(
    struct sorting *s, uint64_t number, int dir, const char *name, struct bytes path)
{
    const struct filter *filter = s->c->r->filter;
    struct record r;
    struct stat st;
    struct err why;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    bool is_dir = S_ISDIR(st.st_mode);
    int found = number ? manifest_get(s->t, number, path_name(path), &r, &why) : 0;
    if (found != 1 && filter && filter_excludes(filter, path, is_dir) &&
        put_back(s, dir, name, path))
        return;
    if (!is_lost(s, path, found == 1 ? &r : NULL, &st)) {
        if (is_dir)
            set_add(s->left, path.data, path.len);
    } else if (foreign_keep(s->c->r->stage, dir, name, path, &why) < 0) {
        log_error("%s: %s", QUOTED(path.data, path.len), why.text);
        s->bad = -1;
    }
}

static int list(struct sorting *s, struct bytes dir_path, DIR *dir)
{
    struct record r;
    uint64_t parent;
    struct err why;
    const struct dirent *e;
    int found = manifest_lookup(s->t, dir_path, &r, &parent, &why);
    uint64_t number = found == 1 ? r.dir : 0;
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t len = strlen(e->d_name);
        char *path CLEANUP_FREE = mem_alloc(dir_path.len + 1 + len + 1);
        memcpy(path, dir_path.data, dir_path.len);
        path[dir_path.len] = '/';
        memcpy(path + dir_path.len + 1, e->d_name, len);
        look_at(s, number, dirfd(dir), e->d_name, (struct bytes){path, dir_path.len + 1 + len});
    }
    return found < 0 ? -1 : 0;
}

static int sort_directory(struct sorting *s, struct bytes path)
{
    struct bytes place = place_of(s, path);
    int fd = root_open_dir(s->c->r->stage->root, place);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    free((void *)place.data);
    if (!dir) {
        log_error("list the replaced %s: %s", QUOTED(path.data, path.len), strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int bad = list(s, path, dir);
    closedir(dir);
    return bad;
}

/* The unit itself, which may be anything. */
static void sort_top(struct sorting *s)
{
    char name[PATH_NAME_MAX + 1];
    struct record r;
    uint64_t parent;
    struct err why;
    int dir = root_borrow_parent(s->c->r->stage->root, s->unit->staged, name);
    struct stat st;
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    int found = manifest_lookup(s->t, s->unit->path, &r, &parent, &why);
    if (!is_lost(s, s->unit->path, found == 1 ? &r : NULL, &st)) {
        s->kept = true;
        if (S_ISDIR(st.st_mode))
            set_add(s->left, s->unit->path.data, s->unit->path.len);
    } else if (foreign_keep(s->c->r->stage, dir, name, s->unit->path, &why) < 0) {
        log_error("%s: %s", QUOTED(s->unit->path.data, s->unit->path.len), why.text);
        s->bad = -1;
    }
}

static void keep_all(struct sorting *s)
{
    struct stage *stage = s->c->r->stage;
    char own[STAGE_NAME_MAX];
    char *name CLEANUP_FREE =
        mem_copy_bytes(s->unit->staged.data, path_parent(s->unit->staged).len);
    stage_new_name(stage, 'k', own);
    if (renameat2(root_fd(stage->root), name, root_fd(stage->root), own, RENAME_NOREPLACE) == 0)
        log_error("the replaced %s is kept at %s/%s until somebody removes it",
            QUOTED(s->unit->path.data, s->unit->path.len), root_path(stage->root), own);
}

int replaced_sort(struct commit *c, struct step *u)
{
    struct sorting s = {.c = c, .unit = u, .left = set_new()};
    struct set_item *first;
    struct err why;
    root_forget(c->r->stage->root);
    s.bad = manifest_begin(c->r->manifest, false, &s.t, &why);
    if (!s.bad) {
        sort_top(&s);
        while ((first = set_first(s.left)) != NULL) {
            if (sort_directory(&s, (struct bytes){first->key, first->len}) < 0)
                s.bad = -1;
            set_remove(s.left, first);
        }
        manifest_abort(s.t);
    }
    set_free(s.left);
    root_forget(c->r->stage->root);
    if (s.bad)
        keep_all(&s);
    return s.bad ? -1 : s.kept;
}
