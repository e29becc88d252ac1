/* Building a unit in the stage; see clone.h. When it is built, and what becomes of it, is in
 * swap.c. */
#include "secondary/unit/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/unit/grace.h"
#include "tree/content/digest.h"

enum {
    CLONE_STRIDE = 32, /* entries between looks at the clock */
    DIR_WORK = S_IRWXU,
};

/* Where something is, live and in the clone: descriptors are borrowed. */
struct spot {
    int live, dir; /* dir: in the clone */
    char live_name[PATH_NAME_MAX + 1], name[PATH_NAME_MAX + 1];
};

static int in_clone(struct clone *c, struct bytes path, char name[PATH_NAME_MAX + 1])
{
    char whole[PATH_TOTAL_MAX + 1];
    struct bytes place;
    if (!grace_place(c->name, c->unit->path, path, whole, &place)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return root_borrow_parent(c->r->stage->root, place, name);
}

static struct step *step_at(const struct clone *c, struct bytes path)
{
    const struct set_item *item = set_find(c->steps, path.data, path.len);
    return item ? item->value : NULL;
}

static void add_dir(
    struct clone *c, struct bytes path, struct step *step, const struct validators *was)
{
    if (c->dir_count == c->dir_cap) {
        c->dir_cap = c->dir_cap ? 2 * c->dir_cap : 16;
        c->dirs = mem_resize(c->dirs, c->dir_cap, sizeof *c->dirs);
    }
    c->dirs[c->dir_count++] = (struct clone_dir){
        .path = {arena_copy(&c->paths, path.data, path.len), path.len}, .step = step};
    if (was)
        c->dirs[c->dir_count - 1].was = *was;
    c->sealed = c->dir_count;
}

struct clone *clone_new(
    struct replica *r, struct step *unit, const struct set *steps, bool empty, struct err *err)
{
    struct clone *c = mem_alloc(sizeof *c);
    *c = (struct clone){.r = r, .unit = unit, .steps = steps};
    if (grace_make(r->stage, unit->path, c->name, err) < 0) {
        free(c);
        return NULL;
    }
    c->left = empty ? NULL : subtree_new(unit->path);
    return c;
}

void clone_free(struct clone *c)
{
    if (!c)
        return;
    subtree_free(c->left);
    refresh_clear(&c->linked);
    arena_free(&c->paths);
    free(c->dirs);
    free(c);
}

/* A directory that is live and known. Whoever owns it here goes on doing so where owners are not
 * mirrored. 1 made, 0 it is not there, -1 with errno. */
static int copy_directory(struct clone *c, struct spot *at, struct bytes path)
{
    struct stat st;
    if (fstatat(at->live, at->live_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    if (mkdirat(at->dir, at->name, DIR_WORK) < 0)
        return -1;
    label_place_directory(&c->r->label, c->r->root, path, at->dir, at->name);
    if (c->r->rules.owner || (st.st_uid == geteuid() && st.st_gid == getegid()))
        return 1;
    int fd CLEANUP_FD = openat(at->dir, at->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int bad = fd < 0 ? -1 : fchown(fd, st.st_uid, st.st_gid);
    return bad && errno != EPERM ? -1 : 1;
}

static bool same_kind(const struct stat *st, uint8_t type)
{
    return type == ENTRY_LINK ? S_ISLNK(st->st_mode) : S_ISREG(st->st_mode);
}

static bool same_but_ctime(const struct validators *a, const struct validators *b)
{
    return a->inode == b->inode && a->size == b->size && a->mtime == b->mtime &&
           a->mtime_nsec == b->mtime_nsec;
}

/* May the step set new times on the inode that was linked? Its content must be the right one, and
 * nothing else change; where more changes, or others hold it, too, the batch brought a copy. */
static bool may_share(struct clone *c, const struct step *s, const struct stat *st, bool exact)
{
    struct validators now = validators_of(st);
    bool known = exact && s->old.has_digest && digest_equal(&s->old.digest, &s->entry.digest);
    bool verified = s->verified && validators_equal(&now, &s->seen);
    if ((!known && !verified) || !s->times_only || (st->st_mode & 07777) != s->entry.mode)
        return false;
    return st->st_nlink == 2 || st->st_nlink <= 2 + grace_links(c->r->stage, s->path, st->st_ino);
}

/* A link of the live file. A step that changes only its metadata learns that it is there. */
static int link_file(
    struct clone *c, struct spot *at, struct bytes path, const struct record *r, struct step *s)
{
    struct stat st;
    if (fstatat(at->live, at->live_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !same_kind(&st, r->entry.type))
        return 0;
    struct validators live = validators_of(&st);
    if (linkat(at->live, at->live_name, at->dir, at->name, 0) < 0)
        return errno == ENOENT ? 0 : -1;
    if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    struct validators now = validators_of(&st);
    bool exact = same_but_ctime(&now, &live) && validators_equal(&live, &r->validators);
    if (exact)
        refresh_add(&c->linked, path, &live, &now);
    if (s && s->verified && same_but_ctime(&now, &live) && validators_equal(&live, &s->seen))
        s->seen = now;
    if (s) {
        s->linked = may_share(c, s, &st, exact);
        s->after = now;
    }
    return 0;
}

/* One record of the manifest. -1 with errno. */
static int visit(struct clone *c, struct bytes path, const struct record *r)
{
    struct spot at;
    struct step *s = step_at(c, path);
    bool is_dir = r->entry.type == ENTRY_DIR;
    if (s)
        s->old = step_old_of(r);
    bool stays = !s || (s->kind == STEP_ENTRY && s->entry.type == r->entry.type && !s->staged.len);
    int made = 0;
    at.live = stays ? root_borrow_parent(c->r->root, path, at.live_name) : -1;
    at.dir = at.live >= 0 ? in_clone(c, path, at.name) : -1;
    if (at.dir >= 0)
        made = is_dir ? copy_directory(c, &at, path) : link_file(c, &at, path, r, s);
    if (is_dir && made == 1)
        add_dir(c, path, s, &r->validators);
    else if (is_dir)
        subtree_skip(c->left);
    return made < 0 ? -1 : 0;
}

static int link_some(struct clone *c, struct manifest_txn *t, uint64_t deadline, struct err *err)
{
    struct bytes path;
    struct record r;
    int more;
    for (unsigned n = 1; (more = subtree_next(c->left, t, &path, &r, err)) == 1; n++) {
        if (visit(c, path, &r) < 0)
            return err_sys(err, errno, "build %s in the stage", QUOTED(path.data, path.len));
        if (n % CLONE_STRIDE == 0 && io_now_us() >= deadline)
            return 1;
    }
    return more;
}

int clone_link(struct clone *c, uint64_t deadline, struct err *err)
{
    struct manifest_txn *t;
    if (!c->left)
        return 0;
    if (manifest_begin(c->r->manifest, false, &t, err) < 0)
        return -1;
    int more = link_some(c, t, deadline, err);
    manifest_abort(t);
    if (more == 0)
        subtree_free(TAKE_PTR(c->left));
    return more;
}

static void fail(struct step *s, const char *call)
{
    bool above = errno == ENOENT || errno == ENOTDIR;
    step_fail_errno(s, above ? REASON_NO_PARENT : REASON_IO, errno, "switch", call);
}

static void fill_directory(struct clone *c, struct step *s, int dir, const char *name)
{
    if (mkdirat(dir, name, DIR_WORK) == 0) {
        label_place_directory(&c->r->label, c->r->root, s->path, dir, name);
        add_dir(c, s->path, s, NULL);
    } else if (errno != EEXIST)
        fail(s, "mkdir");
}

/* What was staged takes its place. From there it is published by the unit's exchange, or, where
 * that fails, alone. */
static void fill_staged(struct clone *c, struct step *s, int dir, const char *name)
{
    char staged[PATH_NAME_MAX + 1], whole[PATH_TOTAL_MAX + 1];
    struct bytes place;
    struct stat st;
    int from = root_borrow_parent(c->r->stage->root, s->staged, staged);
    if (from < 0 || renameat2(from, staged, dir, name, RENAME_NOREPLACE) < 0 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        fail(s, "rename");
        return;
    }
    s->after = validators_of(&st);
    if (grace_place(c->name, c->unit->path, s->path, whole, &place))
        step_set_bytes(&s->staged, place.data, place.len);
}

void clone_fill(struct clone *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    if (s->kind != STEP_ENTRY)
        return;
    if (s->entry.type == ENTRY_FILE && !s->staged.len) {
        if (!s->linked)
            step_fail_text(
                s, REASON_NEED_CONTENT, "switch", "the content here is not known to be right");
        return;
    }
    int dir = in_clone(c, s->path, name);
    if (dir < 0)
        fail(s, "open the directory above");
    else if (s->entry.type == ENTRY_DIR)
        fill_directory(c, s, dir, name);
    else
        fill_staged(c, s, dir, name);
}

/* The entry that a directory becomes, in its own memory: 1, 0 it is not known any more, -1. */
static int entry_of(struct clone *c, const struct clone_dir *d, struct step *out, struct err *err)
{
    struct manifest_txn *t;
    struct record r;
    uint64_t parent;
    if (d->step) {
        step_set_entry(out, &d->step->entry);
        return 1;
    }
    if (manifest_begin(c->r->manifest, false, &t, err) < 0)
        return -1;
    int found = manifest_lookup(t, d->path, &r, &parent, err);
    if (found == 1)
        step_set_entry(out, &r.entry);
    manifest_abort(t);
    return found;
}

static int apply_entry(struct clone *c, const struct clone_dir *d, int fd, struct err *err)
{
    struct step holder = {0};
    /* The unit itself is renamed yet: it gets its own mode afterwards. */
    mode_t also = bytes_equal(d->path, c->unit->path) && geteuid() != 0 ? DIR_WORK : 0;
    int found = entry_of(c, d, &holder, err);
    if (found == 1 && meta_apply(&c->r->rules, fd, &holder.entry, also, true, err) < 0)
        found = -1;
    step_clear(&holder);
    return found < 0 ? -1 : 0;
}

static int seal_one(struct clone *c, struct clone_dir *d, struct err *err)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = in_clone(c, d->path, name);
    int fd CLEANUP_FD =
        dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open a directory of the unit in the stage");
    if (apply_entry(c, d, fd, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat");
    d->after = validators_of(&st);
    if (d->step)
        d->step->after = d->after;
    return 0;
}

int clone_seal(struct clone *c, uint64_t deadline, struct err *err)
{
    while (c->sealed > 0) {
        struct clone_dir *d = &c->dirs[c->sealed - 1];
        struct err why;
        if (seal_one(c, d, &why) < 0) {
            struct step *s = d->step ? d->step : c->unit;
            step_fail(s, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "switch", &why);
            *err = why;
            return -1;
        }
        c->sealed--;
        if (io_now_us() >= deadline)
            return 1;
    }
    return 0;
}

int clone_refresh(struct clone *c, struct err *err)
{
    for (; c->noted < c->dir_count; c->noted++) {
        const struct clone_dir *d = &c->dirs[c->noted];
        if (!d->step && c->noted >= c->sealed)
            refresh_add(&c->linked, d->path, &d->was, &d->after);
    }
    return refresh_some(&c->linked, c->r, err);
}
