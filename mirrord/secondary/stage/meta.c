/* Metadata from an entry to an inode; see meta.h. The order matters: a change of owner clears
 * special bits, an ACL changes the group's bits, and everything but the times changes no times.
 * What others lose they lose first. */
#include "secondary/stage/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "secondary/confine/outside.h"
#include "tree/entry.h"

static int unknown(
    const struct meta_rules *rules, const char *kind, struct bytes name, struct err *err)
{
    return err_set(err, ERR_PARTIAL,
        "no such %s here: create the %s %s on %s, or set `owner = no` for the site", kind, kind,
        QUOTED(name.data, name.len), rules->host);
}

int meta_resolve(
    const struct meta_rules *rules, const struct entry *e, struct meta_owner *out, struct err *err)
{
    *out = (struct meta_owner){(uid_t)-1, (gid_t)-1};
    if (rules->fixed)
        *out = (struct meta_owner){rules->uid, rules->gid};
    if (!rules->owner || rules->fixed)
        return 0;
    if (e->owner.len && names_uid(rules->names, e->owner, &out->uid) != 1)
        return unknown(rules, "user", e->owner, err);
    if (e->group.len && names_gid(rules->names, e->group, &out->gid) != 1)
        return unknown(rules, "group", e->group, err);
    return 0;
}

static bool owner_differs(const struct meta_owner *o, const struct stat *st)
{
    return (o->uid != (uid_t)-1 && o->uid != st->st_uid) ||
           (o->gid != (gid_t)-1 && o->gid != st->st_gid);
}

static int apply_acls(
    const struct meta_rules *rules, int fd, const struct entry *e, bool fresh, struct err *err)
{
    if (!rules->acl)
        return 0;
    if ((!fresh || e->acl.len) && entry_set_acl(fd, false, e->acl, rules->names, err) < 0)
        return -1;
    if (e->type != ENTRY_DIR || (fresh && !e->default_acl.len))
        return 0;
    return entry_set_acl(fd, true, e->default_acl, rules->names, err) < 0 ? -1 : 0;
}

static struct timespec mtime_of(const struct entry *e)
{
    return (struct timespec){.tv_sec = e->mtime, .tv_nsec = (long)e->mtime_nsec};
}

static int set_times(int fd, const struct entry *e, struct err *err)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime_of(e)};
    return futimens(fd, times) < 0 ? err_sys(err, errno, "set times") : 0;
}

/* What stands in the live tree is never open to somebody to whom neither its old owner and mode
 * open it nor the new ones, as the old mode with the new group or without its ACL might. */
static int narrow(int fd, const struct stat *st, mode_t mode, bool others, struct err *err)
{
    mode_t both = st->st_mode & 07777 & mode;
    if (!others || both == (st->st_mode & 07777))
        return 0;
    return fchmod(fd, both) < 0 ? err_sys(err, errno, "chmod") : 0;
}

int meta_apply(const struct meta_rules *rules, int fd, const struct entry *e, mode_t also,
    bool fresh, struct err *err)
{
    struct meta_owner owner;
    struct stat st;
    mode_t mode = e->mode | also;
    if (meta_resolve(rules, e, &owner, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat");
    bool chown_needed = owner_differs(&owner, &st);
    if (!fresh && narrow(fd, &st, mode, chown_needed || rules->acl, err) < 0)
        return -1;
    if (chown_needed && fchown(fd, owner.uid, owner.gid) < 0)
        return err_sys(err, errno, "chown");
    if (apply_acls(rules, fd, e, fresh, err) < 0)
        return -1;
    bool chmod_needed = chown_needed || e->acl.len || (st.st_mode & 07777) != mode;
    if (chmod_needed && fchmod(fd, mode) < 0)
        return err_sys(err, errno, "chmod");
    return set_times(fd, e, err);
}

int meta_apply_new(const struct meta_rules *rules, int fd, const struct entry *e,
    struct stat *after, struct err *err)
{
    struct meta_owner owner;
    if (meta_resolve(rules, e, &owner, err) < 0 || set_times(fd, e, err) < 0)
        return -1;
    if (fstat(fd, after) < 0)
        return err_sys(err, errno, "stat");
    bool mode_differs = (after->st_mode & 07777) != e->mode;
    if (owner_differs(&owner, after) || e->acl.len) {
        if (meta_apply(rules, fd, e, 0, true, err) < 0)
            return -1;
    } else if (!mode_differs)
        return 0;
    else if (fchmod(fd, e->mode) < 0)
        return err_sys(err, errno, "chmod");
    return fstat(fd, after) < 0 ? err_sys(err, errno, "stat") : 0;
}

int meta_apply_link(const struct meta_rules *rules, int dirfd, const char *name,
    const struct entry *e, struct err *err)
{
    struct meta_owner owner;
    if (meta_resolve(rules, e, &owner, err) < 0)
        return -1;
    struct timespec mtime = mtime_of(e);
    const struct outside *o = rules->outside;
    if (o->set_link(o->ctx, dirfd, name, owner.uid, owner.gid, &mtime) < 0)
        return err_sys(err, errno, "set owner and times");
    return 0;
}
