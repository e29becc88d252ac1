/*
 * A look at one path of the live tree; see sight.h.
 */
#include "primary/push/sight.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool gone(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP;
}

static int look_once(
    struct push *p, struct push_site *ps, struct bytes path, struct sight *s, struct err *err)
{
    struct root *root = ps->site->root;
    s->name[0] = '\0';
    s->dir = path.len ? above_open(&p->above, root, path, s->name) : root_fd(root);
    if (s->dir < 0 && gone(errno))
        return SIGHT_GONE;
    if (s->dir < 0)
        return err_sys(err, errno, "open the directory above");
    int r =
        path.len ? fstatat(s->dir, s->name, &s->st, AT_SYMLINK_NOFOLLOW) : fstat(s->dir, &s->st);
    if (r < 0 && errno == ENOENT)
        return SIGHT_GONE;
    if (r < 0)
        return err_sys(err, errno, "stat");
    r = entry_read(s->dir, s->name, &s->st, p->names, ps->site->options.special_bits, &s->store,
        &s->entry, err);
    if (r < 0 && (err->sys == ENOENT || err->sys == EINVAL))
        return SIGHT_CHANGED;
    return r; /* 1: a device, socket or FIFO, which a mirror has not */
}

/* That something is gone is believed only of the directory that is there now. */
int sight_look(
    struct push *p, struct push_site *ps, struct bytes path, struct sight *s, struct err *err)
{
    bool kept = path.len && above_is_kept(&p->above, ps->site->root, path);
    int r = look_once(p, ps, path, s, err);
    if (!kept || r == SIGHT_THERE)
        return r;
    above_forget(&p->above);
    return look_once(p, ps, path, s, err);
}

static struct bytes keep(char *to, struct bytes name)
{
    if (name.len)
        memcpy(to, name.data, name.len);
    return (struct bytes){to, name.len};
}

bool sight_foresee(struct foreseen *f, const struct record *r)
{
    bool named = r->entry.owner.len && r->entry.group.len;
    if (r->entry.type != ENTRY_FILE || (r->flags & RECORD_RACY) || r->entry.acl.len || !named)
        return false;
    f->entry = r->entry;
    f->entry.has_digest = false;
    f->entry.owner = keep(f->owner, r->entry.owner);
    f->entry.group = keep(f->group, r->entry.group);
    f->validators = r->validators;
    return true;
}

/* Without a look: the same validators after it was read prove that it is, and was all the time,
 * what the manifest says, mode, owner and ACL too, any change of which moves the ctime. */
bool sight_is_foreseen(struct push *p, struct push_site *ps, struct bytes path,
    const struct foreseen *f, struct sight *s)
{
    const struct validators *v = &f->validators;
    if (ps->site->options.dry_run)
        return false;
    s->dir = above_open(&p->above, ps->site->root, path, s->name);
    s->entry = f->entry;
    s->st = (struct stat){.st_ino = v->inode,
        .st_mode = S_IFREG | f->entry.mode,
        .st_size = (off_t)v->size,
        .st_ctim = {v->ctime, v->ctime_nsec},
        .st_mtim = {v->mtime, v->mtime_nsec}};
    return s->dir >= 0;
}
