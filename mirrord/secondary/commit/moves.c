/*
 * Moves within a commit: a directory by one rename where its target's parent is there already,
 * else, like files, by way of the stage. A file's source is linked, so that it never is under
 * neither name; the old name goes last. A source must be what the manifest says, else its content
 * is asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/commit/commit_impl.h"

struct bytes moves_old_path(const struct commit *c, struct bytes path)
{
    char *copy = mem_copy_bytes(path.data ? path.data : "", path.len);
    size_t len = path.len;
    for (size_t i = c->moves ? c->n : 0; i-- > 0;) {
        const struct step *s = c->steps[i];
        if (s->kind != STEP_MOVE || s->state == STEP_FAILED ||
            !path_beneath((struct bytes){copy, len}, s->path))
            continue;
        size_t rest = len - s->path.len;
        char *old = mem_alloc(s->from.len + rest + 1);
        memcpy(old, s->from.data, s->from.len);
        memcpy(old + s->from.len, copy + s->path.len, rest);
        free(copy);
        copy = old;
        len = s->from.len + rest;
    }
    return (struct bytes){copy, len};
}

static bool source_is_known(const struct step *s, const struct stat *st)
{
    const struct validators *old = &s->source.validators;
    if (!s->source.known)
        return false;
    if (S_ISDIR(st->st_mode))
        return s->source.type == ENTRY_DIR;
    return s->source.type != ENTRY_DIR && st->st_ino == old->inode &&
           (uint64_t)st->st_size == old->size && st->st_mtim.tv_sec == old->mtime &&
           (uint32_t)st->st_mtim.tv_nsec == old->mtime_nsec;
}

/* Into the stage: a second link of what is not a directory, else the thing itself. */
static int take_into_stage(
    struct commit *c, struct step *s, int dirfd, const char *name, bool is_dir)
{
    const char *staged = s->staged.data;
    int stage = root_fd(c->r->stage->root);
    if (!is_dir && linkat(dirfd, name, stage, staged, 0) == 0)
        return 0;
    if (!is_dir && errno == EEXIST && c->recovering)
        return 0;
    install_loosen(c, dirfd);
    install_loosen_at(c, dirfd, name);
    return renameat2(dirfd, name, stage, staged, RENAME_NOREPLACE);
}

static bool rename_at_once(struct commit *c, struct step *s, int dirfd, const char *name)
{
    char target[PATH_NAME_MAX + 1];
    int to = root_borrow_parent(c->r->root, s->path, target);
    if (to < 0)
        return false;
    install_loosen(c, dirfd);
    install_loosen(c, to);
    install_loosen_at(c, dirfd, name);
    if (renameat2(dirfd, name, to, target, RENAME_NOREPLACE) < 0)
        return false;
    s->direct = true;
    s->published = true;
    return true;
}

/* After the rename: what the target is now. */
static void finish_direct(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    root_forget(c->r->root);
    int to = root_borrow_parent(c->r->root, s->path, name);
    if (to < 0 || fstatat(to, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        step_fail_errno(s, REASON_IO, errno, "move", "stat");
        return;
    }
    s->after = validators_of(&st);
    s->state = STEP_DONE;
    touch_add(c, path_parent(s->from));
    touch_add(c, path_parent(s->path));
    touch_moved(c, s);
}

/* In a recovery what was moved may be in the stage or at its target already: install_entry sees. */
static void source_is_gone(struct commit *c, struct step *s)
{
    if (!c->recovering)
        step_fail_text(s, REASON_NEED_CONTENT, "move", "its source is not here");
}

void moves_take(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dirfd = root_borrow_parent(c->r->root, s->from, name);
    if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != s->inode) {
        source_is_gone(c, s);
        return;
    }
    if (!source_is_known(s, &st)) {
        step_fail_text(s, REASON_NEED_CONTENT, "move", "its source is not what it should be");
        return;
    }
    bool is_dir = S_ISDIR(st.st_mode);
    if (is_dir && rename_at_once(c, s, dirfd, name)) {
        finish_direct(c, s);
        return;
    }
    if (!c->r->stage || take_into_stage(c, s, dirfd, name, is_dir) < 0) {
        step_fail_errno(s, REASON_IO, c->r->stage ? errno : ENOENT, "move", "take its source");
        return;
    }
    touch_add(c, path_parent(s->from));
    if (is_dir)
        root_forget(c->r->root);
}

/* Whatever took its other name away changed the inode's ctime. */
static void refresh(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dirfd = root_borrow_parent(c->r->root, s->path, name);
    if (dirfd >= 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_ino == s->after.inode)
        s->after = validators_of(&st);
}

static void unlink_source(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dirfd = root_borrow_parent(c->r->root, s->from, name);
    if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_ino != s->after.inode)
        return; /* something new took its place */
    touch_add(c, path_parent(s->from));
    install_loosen(c, dirfd);
    if (unlinkat(dirfd, name, 0) < 0)
        step_fail_errno(s, REASON_IO, errno, "move", "unlink its old name");
}

void moves_finish(struct commit *c, struct step *s)
{
    if (s->direct || s->source.type == ENTRY_DIR)
        return;
    unlink_source(c, s);
    refresh(c, s);
}
