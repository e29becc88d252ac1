/* Listing a replaced unit against the manifest; see replaced.h. No transaction lives from one step
 * to the next. */
#include "secondary/unit/replaced.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/trash/foreign.h"
#include "tree/content/digest.h"

enum { REPLACED_STRIDE = 32 }; /* entries between looks at the clock */

struct replaced {
    struct commit *c;
    struct step *unit;
    struct manifest_txn *t;
    bool begun;
    DIR *dir;         /* the one being listed, the first of those left */
    uint64_t number;  /* its number in the manifest; 0: not there */
    struct set *left; /* paths beneath the root of directories still to be listed */
    bool kept;        /* something is there, and was not set aside as a whole */
    bool bad;
};

/* Where the old thing of a live path lies; the caller frees .data. */
static struct bytes place_of(const struct replaced *x, struct bytes path)
{
    struct bytes staged = x->unit->staged;
    size_t rest = path.len - x->unit->path.len;
    char *place = mem_alloc(staged.len + rest + 1);
    memcpy(place, staged.data, staged.len);
    memcpy(place + staged.len, (const char *)path.data + x->unit->path.len, rest);
    return (struct bytes){place, staged.len + rest};
}

static bool is_shared(struct replaced *x, struct bytes path, const struct stat *st)
{
    struct stat live;
    return root_stat(x->c->r->root, path, &live) == 0 && live.st_ino == st->st_ino;
}

/* What comes has the content of what goes. */
static bool is_same(
    struct replaced *x, struct bytes path, const struct step_old *old, const struct stat *st)
{
    const struct step *step = commit_find(x->c, path);
    struct validators v = validators_of(st);
    return step && step->entry.type == ENTRY_FILE && step->entry.has_digest && old->known &&
           old->has_digest && v.inode == old->validators.inode && v.size == old->validators.size &&
           v.mtime == old->validators.mtime && v.mtime_nsec == old->validators.mtime_nsec &&
           digest_equal(&old->digest, &step->entry.digest);
}

static bool is_matched(struct replaced *x, int dir, const char *name, struct bytes path)
{
    const struct step *step = commit_find(x->c, path);
    return step && install_is_matched(step, dir, name);
}

static bool is_lost(struct replaced *x, int dir, const char *name, struct bytes path,
    const struct record *r, const struct stat *st)
{
    struct step_old old = {0};
    if (S_ISDIR(st->st_mode))
        return !r || !r->dir;
    if (r)
        old = step_old_of(r);
    return !install_is_ours(&old, st) && !is_same(x, path, &old, st) && !is_shared(x, path, st) &&
           !is_matched(x, dir, name, path);
}

static bool put_back(struct replaced *x, int dir, const char *name, struct bytes path)
{
    char target[PATH_NAME_MAX + 1];
    int to = root_borrow_parent(x->c->r->root, path, target);
    if (to < 0 || renameat2(dir, name, to, target, RENAME_NOREPLACE) < 0)
        return false;
    touch_add(x->c, path_parent(path));
    return true;
}

static void set_aside(struct replaced *x, int dir, const char *name, struct bytes path)
{
    struct err why;
    if (foreign_keep(x->c->r->stage, dir, name, path, &why) == 0)
        return;
    log_error("%s: %s", QUOTED(path.data, path.len), why.text);
    x->bad = true;
}

static void look_at(
    struct replaced *x, uint64_t number, int dir, const char *name, struct bytes path)
{
    const struct filter *filter = x->c->r->filter;
    struct record r;
    struct stat st;
    struct err why;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    bool is_dir = S_ISDIR(st.st_mode);
    int found = number ? manifest_get(x->t, number, path_name(path), &r, &why) : 0;
    if (found != 1 && filter && filter_excludes(filter, path, is_dir) &&
        put_back(x, dir, name, path))
        return;
    if (!is_lost(x, dir, name, path, found == 1 ? &r : NULL, &st)) {
        if (is_dir)
            set_add(x->left, path.data, path.len);
    } else
        set_aside(x, dir, name, path);
}

/* Lists until the deadline. True when there may be more. */
static bool list_some(struct replaced *x, uint64_t deadline)
{
    const struct set_item *top = set_first(x->left);
    const struct dirent *e;
    for (unsigned n = 1; (e = readdir(x->dir)) != NULL; n++) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t len = strlen(e->d_name);
        char *path CLEANUP_FREE = mem_alloc(top->len + 1 + len + 1);
        memcpy(path, top->key, top->len);
        path[top->len] = '/';
        memcpy(path + top->len + 1, e->d_name, len);
        look_at(x, x->number, dirfd(x->dir), e->d_name, (struct bytes){path, top->len + 1 + len});
        if (n % REPLACED_STRIDE == 0 && io_now_us() >= deadline)
            return true;
    }
    return false;
}

/* Opens the first directory that is left. */
static void open_next(struct replaced *x)
{
    const struct set_item *first = set_first(x->left);
    struct bytes path = {first->key, first->len};
    struct record r;
    uint64_t parent;
    struct err why;
    struct bytes place = place_of(x, path);
    int fd = root_open_dir(x->c->r->stage->root, place);
    free((void *)place.data);
    x->dir = fd < 0 ? NULL : fdopendir(fd);
    int found = manifest_lookup(x->t, path, &r, &parent, &why);
    x->number = found == 1 ? r.dir : 0;
    if (x->dir && found >= 0)
        return;
    log_error("list the replaced %s: %s", QUOTED(path.data, path.len),
        x->dir ? why.text : strerror(errno));
    if (fd >= 0 && !x->dir)
        close(fd);
    x->bad = true;
}

/* The unit itself, which may be anything. */
static void look_at_top(struct replaced *x)
{
    char name[PATH_NAME_MAX + 1];
    struct record r;
    uint64_t parent;
    struct err why;
    struct bytes path = x->unit->path;
    int dir = root_borrow_parent(x->c->r->stage->root, x->unit->staged, name);
    struct stat st;
    x->begun = true;
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    int found = manifest_lookup(x->t, path, &r, &parent, &why);
    if (is_lost(x, dir, name, path, found == 1 ? &r : NULL, &st)) {
        set_aside(x, dir, name, path);
        return;
    }
    x->kept = true;
    if (S_ISDIR(st.st_mode))
        set_add(x->left, path.data, path.len);
}

static int work(struct replaced *x, uint64_t deadline)
{
    if (!x->begun)
        look_at_top(x);
    while (set_first(x->left) && !x->bad) {
        if (!x->dir)
            open_next(x);
        if (x->dir && list_some(x, deadline))
            return 1;
        if (x->dir)
            closedir(TAKE_PTR(x->dir));
        set_remove(x->left, set_first(x->left));
        if (io_now_us() >= deadline)
            return 1;
    }
    return 0;
}

int replaced_step(struct replaced *x, uint64_t deadline)
{
    struct err why;
    if (manifest_begin(x->c->r->manifest, false, &x->t, &why) < 0) {
        log_error("%s: %s", x->c->r->path, why.text);
        x->bad = true;
        return 0;
    }
    int more = work(x, deadline);
    manifest_abort(TAKE_PTR(x->t));
    return more;
}

struct replaced *replaced_new(struct commit *c, struct step *u)
{
    struct replaced *x = mem_alloc(sizeof *x);
    *x = (struct replaced){.c = c, .unit = u, .left = set_new()};
    return x;
}

void replaced_free(struct replaced *x)
{
    if (!x)
        return;
    if (x->dir)
        closedir(x->dir);
    set_free(x->left);
    free(x);
}

static void keep_all(struct replaced *x)
{
    struct stage *stage = x->c->r->stage;
    char own[STAGE_NAME_MAX];
    char *name CLEANUP_FREE =
        mem_copy_bytes(x->unit->staged.data, path_parent(x->unit->staged).len);
    stage_new_name(stage, 'k', own);
    if (renameat2(root_fd(stage->root), name, root_fd(stage->root), own, RENAME_NOREPLACE) == 0)
        log_error("the replaced %s is kept at %s/%s until somebody removes it",
            QUOTED(x->unit->path.data, x->unit->path.len), root_path(stage->root), own);
}

int replaced_end(struct replaced *x)
{
    int result = x->bad ? -1 : x->kept;
    if (x->bad)
        keep_all(x);
    replaced_free(x);
    return result;
}
