/*
 * The switch of units within a commit: all that the batch has are exchanged one right after the
 * other, or none is. What follows when they are live: the new times of inodes that the old and the
 * new directory share, and what is kept of the old one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit_impl.h"
#include "secondary/unit/clone.h"
#include "secondary/unit/grace.h"
#include "secondary/unit/replaced.h"
#include "tree/content/digest.h"

enum { SETTLE_STRIDE = 16 }; /* files between looks at the clock */

/* The unit's place and the new one's; descriptors are borrowed. */
struct spot {
    int live, stage;
    char name[PATH_NAME_MAX + 1], staged[PATH_NAME_MAX + 1];
};

static bool is_unit(const struct step *s)
{
    return s->kind == STEP_UNIT || s->kind == STEP_UNIT_GONE;
}

/* The name in the stage of what holds the unit; the caller frees. */
static char *holder_of(const struct step *u)
{
    return mem_copy_bytes(u->staged.data, path_parent(u->staged).len);
}

static int find_live(struct commit *c, const struct step *u, struct spot *at)
{
    at->live = root_borrow_parent(c->r->root, u->path, at->name);
    return at->live < 0 ? -1 : 0;
}

static int find_spot(struct commit *c, const struct step *u, struct spot *at)
{
    if (find_live(c, u, at) < 0)
        return -1;
    at->stage = root_borrow_parent(c->r->stage->root, u->staged, at->staged);
    return at->stage < 0 ? -1 : 0;
}

static uint64_t inode_at(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

/* Forth and, with the same inodes where they were, back. 0, or -1 with errno. */
static int exchange(struct commit *c, struct spot *at)
{
    bool live = inode_at(at->live, at->name), staged = inode_at(at->stage, at->staged);
    install_loosen(c, at->live);
    if (live)
        install_loosen_at(c, at->live, at->name);
    if (live && staged)
        return renameat2(at->stage, at->staged, at->live, at->name, RENAME_EXCHANGE);
    if (live)
        return renameat2(at->live, at->name, at->stage, at->staged, RENAME_NOREPLACE);
    return renameat2(at->stage, at->staged, at->live, at->name, RENAME_NOREPLACE);
}

/* Has it happened already, when the commit is finished after a crash? */
static bool is_done(const struct step *u, struct spot *at)
{
    uint64_t live = inode_at(at->live, at->name);
    return u->kind == STEP_UNIT ? live == u->inode : live != u->inode;
}

static bool is_intact(struct commit *c, struct step *u, struct spot *at)
{
    if (u->kind == STEP_UNIT && inode_at(at->stage, at->staged) != u->inode)
        return false;
    bool good = true;
    for (size_t i = 0; c->verify && i < c->n; i++) {
        struct step *s = c->steps[i];
        if (s->unit != u || s->kind != STEP_ENTRY || s->entry.type != ENTRY_FILE || !s->inode)
            continue;
        install_verify(c, s);
        good = good && s->state != STEP_FAILED;
    }
    return good;
}

/* 0 it is live; 1 directories cannot be exchanged here; -1: u failed. */
static int switch_one(struct commit *c, struct step *u)
{
    struct spot at;
    if (c->recovering && find_live(c, u, &at) == 0 && is_done(u, &at))
        return 0;
    if (find_spot(c, u, &at) < 0) {
        step_fail_errno(u, errno == ENOENT ? REASON_NO_PARENT : REASON_IO, errno, "switch",
            "open the directory above");
        return -1;
    }
    if (!is_intact(c, u, &at)) {
        step_fail_text(u, REASON_NEED_CONTENT, "switch", "what was built is not there any more");
        return -1;
    }
    if (exchange(c, &at) == 0)
        return 0;
    if (errno == EXDEV || errno == EINVAL)
        return 1;
    step_fail_errno(u, REASON_IO, errno, "switch", "exchange");
    return -1;
}

/* Those that were switched are switched back, the last one first. */
static void undo(struct commit *c, size_t n)
{
    while (n-- > 0) {
        struct step *u = c->steps[n];
        struct spot at;
        if (!is_unit(u) || u->state == STEP_FAILED)
            continue;
        if (find_spot(c, u, &at) < 0 || exchange(c, &at) < 0)
            log_error("%s was switched and cannot be switched back: %s",
                QUOTED(u->path.data, u->path.len), strerror(errno));
    }
}

static void drop_step(struct step **list, size_t n, const struct step *s)
{
    size_t at = 0;
    while (at < n && list[at] != s)
        at++;
    memmove(list + at, list + at + 1, (n - at - 1) * sizeof *list);
}

/* The unit's steps are done one by one, out of what was built. */
static void take_apart(struct commit *c, struct step *u)
{
    char *name CLEANUP_FREE = holder_of(u);
    for (size_t i = 0; i < c->n; i++)
        if (c->steps[i]->unit == u)
            c->steps[i]->unit = NULL;
    u->state = STEP_DONE;
    u->piecemeal = ACK_EXCHANGE;
    grace_discard(c->r->stage, name, u->path);
    drop_step(c->steps, c->n, u);
    drop_step(c->sorted, c->n, u);
    c->n--;
    replica_say_piecemeal(c->r, u->path, ACK_EXCHANGE);
}

/* A directory above a unit that the batch brings, too. */
static bool is_above(const struct commit *c, const struct step *s)
{
    if (s->kind != STEP_ENTRY || s->entry.type != ENTRY_DIR || s->unit || !s->path.len)
        return false;
    for (size_t i = 0; i < c->n; i++)
        if (is_unit(c->steps[i]) && path_beneath(c->steps[i]->path, s->path))
            return true;
    return false;
}

/* It is live: nothing of it is to be removed from the stage from now on. */
static void mark_switched(struct commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct step *s = c->steps[i];
        if (s->unit && s->unit->state != STEP_FAILED)
            s->published = true;
        if (!is_unit(s) || s->state == STEP_FAILED)
            continue;
        s->published = true;
        touch_add(c, path_parent(s->path));
        if (s->kind == STEP_UNIT)
            touch_add(c, s->path);
    }
}

static void give_up(struct commit *c, struct step *u)
{
    char *name CLEANUP_FREE = holder_of(u);
    grace_discard(c->r->stage, name, u->path);
}

static void prepare(struct commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (is_above(c, c->sorted[i]))
            install_entry(c, c->sorted[i]);
    for (size_t i = 0; i < c->n && is_unit(c->steps[i]); i++) {
        char *name CLEANUP_FREE = holder_of(c->steps[i]);
        const struct step *u = c->steps[i];
        grace_switching(c->r->stage, name, u->kind == STEP_UNIT ? u->inode : 0);
    }
}

/* They come first in their batch. */
static bool has_units(const struct commit *c)
{
    return c->n && is_unit(c->steps[0]);
}

int units_switch(struct commit *c, struct err *err)
{
    bool again = false;
    if (!has_units(c))
        return 0;
    prepare(c);
    for (size_t i = 0; i < c->n; i++) {
        struct step *u = c->steps[i];
        int result = is_unit(u) ? switch_one(c, u) : 0;
        if (result == 1) {
            take_apart(c, u);
            again = true;
            i--;
        } else if (result < 0 && !c->recovering) {
            undo(c, i);
            c->given_up = true;
            break;
        } else if (result < 0)
            give_up(c, u);
    }
    if (!c->given_up)
        mark_switched(c);
    root_forget(c->r->root);
    root_forget(c->r->stage->root);
    return again && !c->given_up && !c->recovering ? commit_journal(c, err) : 0;
}

/* --- behind it --- */

static bool mtime_is(const struct stat *st, int64_t sec, uint32_t nsec)
{
    return st->st_mtim.tv_sec == sec && (uint32_t)st->st_mtim.tv_nsec == nsec;
}

/* Is it the file that was linked? After a crash it may have its new time already. */
static bool is_linked(const struct commit *c, const struct step *s, const struct stat *st)
{
    struct validators now = validators_of(st);
    if (!c->recovering)
        return validators_equal(&now, &s->after);
    const struct validators *old = &s->old.validators;
    bool timed = mtime_is(st, old->mtime, old->mtime_nsec) ||
                 mtime_is(st, s->entry.mtime, s->entry.mtime_nsec);
    return timed && now.inode == old->inode && now.size == old->size && s->old.has_digest &&
           digest_equal(&s->old.digest, &s->entry.digest);
}

/* New times for an inode that the replaced directory shares. */
static void set_times(struct commit *c, struct step *s)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT}, {s->entry.mtime, (long)s->entry.mtime_nsec}};
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = root_borrow_parent(c->r->root, s->path, name);
    int fd CLEANUP_FD =
        dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !is_linked(c, s, &st)) {
        step_fail_text(s, REASON_NEED_CONTENT, "switch", "the file here was changed meanwhile");
        return;
    }
    if (futimens(fd, times) < 0 || fstat(fd, &st) < 0) {
        step_fail_errno(s, REASON_IO, errno, "switch", "set times");
        return;
    }
    s->after = validators_of(&st);
    s->state = STEP_DONE;
}

/* In a recovery the disk says what was done. */
static void find_after(struct commit *c, struct step *s)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = root_borrow_parent(c->r->root, s->path, name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        (s->inode && st.st_ino != s->inode)) {
        step_fail_text(s, REASON_NEED_CONTENT, "switch", "it is not there any more");
        return;
    }
    s->after = validators_of(&st);
    s->state = STEP_DONE;
}

static void settle_step(struct commit *c, struct step *s)
{
    if (s->kind == STEP_ENTRY && s->entry.type == ENTRY_FILE && !s->inode)
        set_times(c, s);
    else if (s->kind == STEP_ENTRY && c->recovering)
        find_after(c, s);
    else
        s->state = STEP_DONE;
}

static void settle_unit(struct commit *c, struct step *u, int kept)
{
    struct stage *stage = c->r->stage;
    char *name CLEANUP_FREE = holder_of(u);
    if (kept == 1)
        grace_keep(stage, name, u->path, c->r->unit_grace);
    else if (kept == 0)
        stage_bury(stage, root_fd(stage->root), name);
    u->state = STEP_DONE;
}

int units_sort(struct commit *c, uint64_t deadline)
{
    while (c->at < c->n && is_unit(c->steps[c->at])) {
        struct step *u = c->steps[c->at];
        if (u->published && !c->replaced)
            c->replaced = replaced_new(c, u);
        if (c->replaced && replaced_step(c->replaced, deadline) == 1)
            return 1;
        if (c->replaced)
            settle_unit(c, u, replaced_end(TAKE_PTR(c->replaced)));
        c->at++;
    }
    return 0;
}

int units_settle(struct commit *c, uint64_t deadline)
{
    for (unsigned n = 1; c->at < c->n; n++) {
        struct step *s = c->steps[c->at++];
        if (s->unit && s->unit->state == STEP_DONE)
            settle_step(c, s);
        if (n % SETTLE_STRIDE == 0 && io_now_us() >= deadline)
            break;
    }
    return c->at < c->n;
}

int units_refresh(struct commit *c, struct err *err)
{
    struct step *u = c->at < c->n && is_unit(c->steps[c->at]) ? c->steps[c->at] : NULL;
    int more = u && u->clone ? clone_refresh(u->clone, err) : 0;
    if (more == 0)
        c->at++;
    return more < 0 ? -1 : u != NULL;
}
