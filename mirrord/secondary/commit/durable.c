/*
 * `fsync = batch`: what a commit syncs, so that its acknowledgement survives a power loss. What is
 * staged is on the disk before the journal is (which a durable manifest syncs by itself), and what
 * the steps changed before the manifest says that they are done.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/commit/commit_impl.h"

enum { SINGLY_MAX = 32 }; /* more objects than these are synced with their filesystem, in one go */

static bool is_wanted(const struct commit *c)
{
    return c->r->flags & OPEN_FSYNC;
}

static int sync_at(struct root *root, struct bytes path, bool is_dir)
{
    char name[PATH_NAME_MAX + 1];
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int above = is_dir ? -1 : root_borrow_parent(root, path, name);
    int fd CLEANUP_FD = is_dir      ? root_open_dir(root, path)
                        : above < 0 ? -1
                                    : openat(above, name, flags);
    return fd < 0 ? -1 : fsync(fd);
}

/* Only of files and directories: a link is in its directory. */
static bool has_inode_to_sync(const struct step *s)
{
    return s->kind == STEP_ENTRY && s->state != STEP_FAILED && s->entry.type != ENTRY_LINK;
}

static int sync_all(struct commit *c, struct err *err)
{
    return syncfs(root_fd(c->r->root)) < 0 ? err_sys(err, errno, "sync the filesystem") : 0;
}

/* A unit is more than its steps: it is synced with its filesystem. */
static bool has_unit(const struct commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->kind > STEP_MOVE)
            return true;
    return false;
}

int durable_staged(struct commit *c, struct err *err)
{
    size_t staged = 0;
    if (!is_wanted(c))
        return 0;
    for (size_t i = 0; i < c->n; i++)
        staged += c->steps[i]->staged.len > 0;
    if (staged > SINGLY_MAX || has_unit(c))
        return sync_all(c, err);
    for (size_t i = 0; i < c->n; i++) {
        struct step *s = c->steps[i];
        if (s->staged.len && has_inode_to_sync(s) &&
            sync_at(c->r->stage->root, s->staged, s->entry.type == ENTRY_DIR) < 0)
            return err_sys(err, errno, "sync what is staged");
    }
    return !staged || fsync(root_fd(c->r->stage->root)) == 0
               ? 0
               : err_sys(err, errno, "sync the stage");
}

static int sync_step(struct commit *c, const struct step *s)
{
    bool is_dir = s->entry.type == ENTRY_DIR;
    if (!has_inode_to_sync(s) || s->state != STEP_DONE || (!is_dir && s->staged.len))
        return 0;
    return sync_at(c->r->root, s->path, is_dir);
}

int durable_places(struct commit *c, struct err *err)
{
    if (!is_wanted(c))
        return 0;
    if (c->n + set_count(c->touched) > SINGLY_MAX || has_unit(c))
        return sync_all(c, err);
    for (size_t i = 0; i < c->n; i++)
        if (sync_step(c, c->steps[i]) < 0)
            return err_sys(err, errno, "sync what was changed");
    for (struct set_item *i = set_first(c->touched); i; i = i->next)
        if (sync_at(c->r->root, (struct bytes){i->key, i->len}, true) < 0 && errno != ENOENT &&
            errno != ENOTDIR)
            return err_sys(err, errno, "sync a directory");
    return c->r->stage && fsync(root_fd(c->r->stage->root)) < 0
               ? err_sys(err, errno, "sync the stage")
               : 0;
}
