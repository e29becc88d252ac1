/*
 * A directory: the one that is known, with other attributes; one that was renamed, which its watch
 * tells; or a new one, which is walked. What replaces a known directory keeps its number, and the
 * walk finds what differs beneath.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/mem.h"
#include "primary/scan/examine_impl.h"

enum { UNREADABLE_MS = 60000 };

/* Other attributes may be a reason why it can be read no longer, or again. */
static bool is_readable(struct look *l)
{
    int fd CLEANUP_FD = root_open_dir(l->s->site->root, look_path(l));
    return fd >= 0 && !unreadable_has(l->s, look_path(l));
}

/* The known directory, maybe with other attributes. */
static enum examine_outcome refresh(struct look *l)
{
    bool readable =
        l->record.entry.mode == l->entry.mode && bytes_equal(l->record.entry.acl, l->entry.acl);
    if (!examine_same(l) && readable)
        readable = is_readable(l);
    bool owed = (l->h->flags & HINT_OWE) || !entry_meta_equal(&l->entry, &l->record.entry) ||
                !entry_owner_equal(&l->entry, &l->record.entry);
    uint64_t number = l->record.dir;
    if (!examine_same(l) && examine_put(l, 0) < 0)
        return examine_failed(l);
    if (owed)
        examine_owe(l, 0);
    if (!readable || (l->s->watch && !watch_has(l->s->watch, number) && !l->s->status.unwatched))
        rescan_subtree(l->s, number, false);
    return EXAMINE_DONE;
}

/* The number under which the manifest has this directory elsewhere, or 0. */
static uint64_t known_elsewhere(struct look *l, int fd)
{
    struct record r;
    uint64_t number = l->s->watch ? watch_claim(l->s->watch, fd) : 0;
    if (number || !l->h->from.dir)
        return number;
    /* Not watched: the inode tells, if the former name is known. */
    int found = manifest_get(l->t, l->h->from.dir, l->h->from.name, &r, &l->err);
    return found > 0 && r.dir && r.validators.inode == l->st.st_ino ? r.dir : 0;
}

static enum examine_outcome put_renamed(struct look *l, uint64_t number)
{
    struct hint_key to = {l->dir, l->name};
    int moved = rename_directory(l->s, l->t, number, l->st.st_ino, to, &l->err);
    if (moved < 0)
        return examine_failed(l);
    if (moved == 0)
        return EXAMINE_DONE;
    if (manifest_get(l->t, l->dir, l->name, &l->record, &l->err) <= 0)
        return examine_failed(l);
    l->known = true;
    return refresh(l);
}

static enum examine_outcome put_new(struct look *l)
{
    bool was_dir = l->known && l->record.entry.type == ENTRY_DIR;
    if (examine_put(l, 0) < 0)
        return examine_failed(l);
    /* The number stands for the new one: what happens to the old one is no news about it. */
    if (was_dir && l->s->watch)
        watch_drop(l->s->watch, l->record.dir);
    examine_owe(l, 0);
    rescan_subtree(l->s, l->record.dir, !was_dir);
    return EXAMINE_DONE;
}

enum examine_outcome examine_dir(struct look *l)
{
    struct stat st;
    bool was_dir = l->known && l->record.entry.type == ENTRY_DIR;
    if (mounts_has(l->s->site->mounts, look_path(l)))
        return EXAMINE_DONE; /* a volume, or the place of one that is not mounted */
    if (was_dir && l->record.validators.inode == l->st.st_ino)
        return refresh(l);
    int fd CLEANUP_FD = root_open_dir(l->s->site->root, look_path(l));
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return examine_backoff(l, UNREADABLE_MS);
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != l->st.st_ino))
        return examine_later(l, 1);
    uint64_t number = fd >= 0 && !l->known ? known_elsewhere(l, fd) : 0;
    if (number) {
        enum examine_outcome outcome = put_renamed(l, number);
        if (outcome != EXAMINE_DONE || l->known)
            return outcome;
    }
    return put_new(l);
}
