/*
 * Steps on the disk: what is staged appears at its path, what is deleted goes. Every step looks
 * first whether it is done already, and what it takes away is destroyed only when the manifest
 * knows it as mirrord's. Paths of the live tree are opened by root.c alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"
#include "secondary/stage/bin.h"
#include "secondary/stage/place.h"
#include "secondary/trash/kept.h"
#include "secondary/unit/grace.h"
#include "tree/content/digest.h"

static void fail_errno(struct step *s, int errnum, const char *call)
{
    step_fail_errno(s, REASON_IO, errnum, "commit", call);
}

/* Directory modes that would lock us out are completed until the end of the commit. */
void install_seal(struct commit *c, struct step *s)
{
    struct err why;
    struct stat st;
    int fd CLEANUP_FD = root_open_dir(c->r->stage->root, s->staged);
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (!c->recovering)
            fail_errno(s, errno, "open the staged directory");
        return;
    }
    if (st.st_ino != s->inode)
        return; /* an interrupted exchange left the old one there */
    mode_t also = c->mighty ? 0 : COMMIT_DIR_WORK | S_IRUSR;
    if (meta_apply(&c->r->rules, fd, &s->entry, also, !c->recovering, &why) < 0)
        step_fail(s, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "commit", &why);
    else if (fstat(fd, &st) == 0)
        s->after = validators_of(&st);
}

/* Is what lies at the staged place what the journal means, and undamaged? */
static bool staged_is_good(struct commit *c, struct step *s, int dirfd, const char *name)
{
    struct stat st;
    struct digest digest;
    struct err why;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != s->inode)
        return false;
    if (!c->verify || s->kind != STEP_ENTRY || s->entry.type != ENTRY_FILE)
        return true;
    int fd CLEANUP_FD = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && (uint64_t)st.st_size == s->entry.size && s->entry.has_digest &&
           digest_of_fd(fd, s->entry.size, &digest, &why) == 0 &&
           digest_equal(&digest, &s->entry.digest);
}

void install_verify(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    int dirfd = root_borrow_parent(c->r->stage->root, s->staged, name);
    if (dirfd >= 0 && !staged_is_good(c, s, dirfd, name))
        step_fail_text(s, REASON_NEED_CONTENT, "commit", "what was staged is damaged");
}

/* Where a step takes place: the staged object and its target. */
struct spot {
    int from, to; /* borrowed */
    char staged[PATH_NAME_MAX + 1], name[PATH_NAME_MAX + 1];
};

/* Takes the old thing away first: for filesystems that cannot exchange. */
static int replace_slowly(struct commit *c, struct step *s, struct spot *at, enum fate fate)
{
    struct err why;
    if (install_remove(c, at->to, at->name, s->path, fate, &why) < 0) {
        step_fail(s, REASON_IO, "commit", &why);
        return -1;
    }
    if (renameat2(at->from, at->staged, at->to, at->name, RENAME_NOREPLACE) == 0)
        return 0;
    fail_errno(s, errno, "rename");
    return -1;
}

/* The new thing and the old one change places; then the old one goes. */
static int exchange(struct commit *c, struct step *s, struct spot *at, enum fate fate)
{
    struct err why;
    if (!c->r->stage->exchange)
        return replace_slowly(c, s, at, fate);
    install_loosen_at(c, at->to, at->name);
    if (renameat2(at->from, at->staged, at->to, at->name, RENAME_EXCHANGE) < 0) {
        fail_errno(s, errno, "exchange");
        return -1;
    }
    if (fate == FATE_FOREIGN && install_is_matched(s, at->from, at->staged))
        fate = FATE_DEAD;
    if (install_remove(c, at->from, at->staged, s->path, fate, &why) == 0)
        return 0;
    step_fail(s, REASON_IO, "commit", &why);
    if (renameat2(at->from, at->staged, at->to, at->name, RENAME_EXCHANGE) < 0)
        log_error("%s: what was there is at %s in the stage: %s", QUOTED(s->path.data, s->path.len),
            at->staged, strerror(errno));
    return -1;
}

static bool is_directory(const struct step *s)
{
    return (s->kind == STEP_MOVE ? s->source.type : s->entry.type) == ENTRY_DIR;
}

/* Nothing, or something that may go without a word, is at the target. */
static int rename_over(struct commit *c, struct step *s, struct spot *at, const struct stat *live)
{
    int old = live ? bin_hold(at->to, at->name, (uint64_t)live->st_size) : -1;
    int r = renameat2(at->from, at->staged, at->to, at->name, live ? 0 : RENAME_NOREPLACE);
    bin_put(c->r->stage->bin, old);
    if (r < 0)
        fail_errno(s, errno, "rename");
    return r;
}

static int put_in_place(struct commit *c, struct step *s, struct spot *at, const struct stat *live)
{
    bool dir_there = live && S_ISDIR(live->st_mode);
    enum fate fate = live ? install_fate(s, at->to, at->name, live) : FATE_DEAD;
    bool types = dir_there || is_directory(s);
    bool keep = fate == FATE_OURS && !types && kept_wanted(c->r);
    if (keep && !c->r->stage->exchange)
        kept_link(c->r, at->to, at->name, s->path);
    if (live && (fate == FATE_FOREIGN || types || (keep && c->r->stage->exchange))) {
        if (exchange(c, s, at, fate) < 0)
            return -1;
        if (dir_there)
            root_forget(c->r->root);
        return 0;
    }
    return rename_over(c, s, at, live);
}

/* Is it what was put there? Somebody may have put back another one since, or written to it. */
static bool is_untouched(const struct step *s, const struct stat *st)
{
    if (s->inode && st->st_ino != s->inode)
        return false;
    return s->kind != STEP_ENTRY || s->entry.type != ENTRY_FILE ||
           (uint64_t)st->st_size == s->entry.size;
}

/* What was staged is at its path now. Of what took its place at once nothing is known: without
 * validators whoever looks through the tree next finds it. */
static void published(struct commit *c, struct step *s, struct spot *at)
{
    struct stat st;
    s->published = true;
    if (fstatat(root_borrow_parent(c->r->root, s->path, at->name), at->name, &st,
            AT_SYMLINK_NOFOLLOW) < 0) {
        fail_errno(s, errno, "stat");
        return;
    }
    s->after = is_untouched(s, &st) ? validators_of(&st) : (struct validators){0};
    s->state = STEP_DONE;
    s->whole = is_directory(s) && s->kind == STEP_ENTRY;
    if (s->whole)
        touch_add(c, s->path);
    else if (is_directory(s))
        touch_moved(c, s);
}

/* A new file, of which the manifest knows nothing, without a look at what may be there. False:
 * nothing was done, and whatever is there is looked at. */
static bool appears(struct commit *c, struct step *s, struct spot *at)
{
    if (c->recovering || s->kind != STEP_ENTRY || s->entry.type != ENTRY_FILE || !s->staged.len ||
        s->old.known || !c->r->stage)
        return false;
    at->from = root_borrow_parent(c->r->stage->root, s->staged, at->staged);
    if (at->from < 0)
        return false;
    install_loosen(c, at->to);
    if (renameat2(at->from, at->staged, at->to, at->name, RENAME_NOREPLACE) < 0)
        return false;
    published(c, s, at);
    return true;
}

static void publish(struct commit *c, struct step *s, struct spot *at, const struct stat *live)
{
    at->from = c->r->stage ? root_borrow_parent(c->r->stage->root, s->staged, at->staged) : -1;
    if (at->from < 0) {
        fail_errno(s, c->r->stage ? errno : ENOENT, "open the stage");
        return;
    }
    if (c->recovering && !staged_is_good(c, s, at->from, at->staged)) {
        step_fail_text(s, REASON_NEED_CONTENT, "commit", "it is not staged any more");
        return;
    }
    if (put_in_place(c, s, at, live) == 0)
        published(c, s, at);
}

/* Replaced units that are kept may share it as long as only its times change. */
static bool has_other_links(struct commit *c, const struct step *s, const struct stat *st)
{
    if (st->st_nlink == 1)
        return false;
    return (!c->recovering && !s->times_only) ||
           st->st_nlink > 1 + grace_links(c->r->stage, s->path, st->st_ino);
}

/* Is the live file what the manifest says, with the content of the entry? After a crash it may have
 * the time already that this step sets. */
static bool has_old_content(
    const struct commit *c, const struct step *s, const struct validators *live)
{
    const struct validators *old = &s->old.validators;
    bool old_time = live->mtime == old->mtime && live->mtime_nsec == old->mtime_nsec;
    bool new_time = live->mtime == s->entry.mtime && live->mtime_nsec == s->entry.mtime_nsec;
    return s->old.known && s->old.has_digest && live->inode == old->inode &&
           live->size == old->size && (old_time || (c->recovering && new_time)) &&
           s->entry.has_digest && digest_equal(&s->old.digest, &s->entry.digest);
}

/* The content is there; only metadata changes, on the live inode. */
static void change_meta(struct commit *c, struct step *s)
{
    struct stat st;
    struct err why;
    int fd CLEANUP_FD = root_open_file(c->r->root, s->path, &st);
    struct validators v = {0};
    if (fd >= 0)
        v = validators_of(&st);
    bool same = fd >= 0 && has_old_content(c, s, &v);
    bool verified = fd >= 0 && s->verified && validators_equal(&v, &s->seen);
    if ((!same && !verified) || has_other_links(c, s, &st)) {
        step_fail_text(
            s, REASON_NEED_CONTENT, "commit", "the content here is not known to be right");
        return;
    }
    if (meta_apply(&c->r->rules, fd, &s->entry, 0, false, &why) < 0)
        step_fail(s, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "commit", &why);
    else if (fstat(fd, &st) < 0)
        fail_errno(s, errno, "stat");
    else {
        s->after = validators_of(&st);
        s->state = STEP_DONE;
    }
}

/* A directory that was there when its entry came and is not any more. */
static int stage_late(struct commit *c, struct step *s)
{
    struct stage *stage = c->r->stage;
    char own[STAGE_NAME_MAX];
    struct stat st;
    size_t n = stage_new_name(stage, 'n', own);
    if (mkdirat(root_fd(stage->root), own, 0700) < 0 ||
        fstatat(root_fd(stage->root), own, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        fail_errno(s, errno, "mkdir");
        return -1;
    }
    s->inode = st.st_ino;
    step_set_bytes(&s->staged, own, n);
    install_seal(c, s);
    return s->state == STEP_FAILED ? -1 : 0;
}

/* After an interrupted exchange what was replaced is still at the staged place. */
static void settle_replaced(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    struct err why;
    int dirfd = s->staged.len ? root_borrow_parent(c->r->stage->root, s->staged, name) : -1;
    if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    enum fate fate = st.st_ino == s->inode ? FATE_DEAD : install_fate(s, dirfd, name, &st);
    if (fate == FATE_FOREIGN && install_is_matched(s, dirfd, name))
        fate = FATE_DEAD;
    if (install_remove(c, dirfd, name, s->path, fate, &why) < 0)
        log_error("%s: what was replaced cannot be removed from the stage: %s",
            QUOTED(s->path.data, s->path.len), why.text);
}

static void done_already(struct commit *c, struct step *s, const struct stat *live)
{
    if (c->recovering && live->st_ino == s->inode)
        settle_replaced(c, s);
    s->after = validators_of(live);
    s->state = STEP_DONE;
    if (is_directory(s) && s->kind == STEP_ENTRY)
        touch_add(c, s->path);
    else if (is_directory(s))
        touch_moved(c, s);
}

static bool missing(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP;
}

/* It appeared with the staged directory that contains it. */
static void done_inside(struct commit *c, struct step *s)
{
    s->state = STEP_DONE;
    s->published = true;
    s->whole = s->entry.type == ENTRY_DIR;
    if (s->whole && !c->mighty && (s->entry.mode & 0700) != 0700)
        touch_add(c, s->path);
}

static void install_at(struct commit *c, struct step *s, struct spot *at)
{
    struct stat live;
    if (appears(c, s, at))
        return;
    bool there = fstatat(at->to, at->name, &live, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT) {
        fail_errno(s, errno, "stat");
        return;
    }
    if (there && s->inode && live.st_ino == s->inode) {
        done_already(c, s, &live);
        return;
    }
    if (there && s->kind == STEP_ENTRY && s->entry.type == ENTRY_DIR && S_ISDIR(live.st_mode)) {
        done_already(c, s, &live);
        return;
    }
    if (!s->staged.len && s->entry.type == ENTRY_FILE) {
        change_meta(c, s);
        return;
    }
    if (!s->staged.len && stage_late(c, s) < 0)
        return;
    install_loosen(c, at->to);
    publish(c, s, at, there ? &live : NULL);
}

void install_entry(struct commit *c, struct step *s)
{
    struct spot at;
    if (s->path.len == 0) {
        s->state = STEP_DONE;
        touch_add(c, s->path);
        return;
    }
    if (s->above && s->above->whole && !c->recovering) {
        done_inside(c, s);
        return;
    }
    at.to = root_borrow_parent(c->r->root, s->path, at.name);
    if (at.to < 0) {
        step_fail_errno(s, missing(errno) ? REASON_NO_PARENT : REASON_IO, errno, "commit",
            "open the directory above");
        return;
    }
    touch_add(c, path_parent(s->path));
    install_at(c, s, &at);
}

static void delete_at(struct commit *c, struct step *s, int dirfd, const char *name)
{
    struct stat live;
    struct err why;
    s->state = STEP_DONE;
    if (fstatat(dirfd, name, &live, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    touch_add(c, path_parent(s->path));
    install_loosen(c, dirfd);
    bool is_dir = S_ISDIR(live.st_mode);
    if (is_dir && s->way == WAY_EXCLUDED) {
        prune_directory(c, s);
        return;
    }
    s->state = STEP_WAITING;
    if (install_remove(c, dirfd, name, s->path, install_fate(s, dirfd, name, &live), &why) < 0)
        step_fail(s, REASON_IO, "delete", &why);
    else
        s->state = STEP_DONE;
    if (is_dir)
        root_forget(c->r->root);
}

void install_delete(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    int dirfd = root_borrow_parent(c->r->root, s->path, name);
    if (dirfd >= 0)
        delete_at(c, s, dirfd, name);
    else if (missing(errno))
        s->state = STEP_DONE;
    else
        step_fail_errno(s, REASON_IO, errno, "delete", "open the directory above");
}
