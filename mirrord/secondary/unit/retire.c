/* A job that goes through the manifest of a unit beside its old directory; see retire.h. */
#include "secondary/unit/retire.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/refresh.h"
#include "secondary/commit/subtree.h"
#include "secondary/stage/reap.h"
#include "secondary/trash/keeper.h"
#include "secondary/trash/kept.h"
#include "secondary/unit/grace.h"

enum {
    RETIRE_STRIDE = 32, /* records between looks at the clock */
    RETIRE_BATCH = 512, /* unlinked between two transactions */
    RETIRE_PAUSE_MS = 20,
};

struct retire {
    struct job job;
    struct replica *r;
    struct set_item *unit; /* of the stage's held ones; NULL: none is at work */
    struct subtree *left;
    struct refresh moved;
};

/* Opened for the step where its mode forbids it. */
static bool unlink_old(int dir, const char *name)
{
    struct stat st;
    if (unlinkat(dir, name, 0) == 0)
        return true;
    return errno == EACCES && fstat(dir, &st) == 0 &&
           fchmod(dir, (st.st_mode & 07777) | 0300) == 0 && unlinkat(dir, name, 0) == 0;
}

/* The old name of one file, if the live one shares its inode and is as the manifest knows it. */
static void part(struct retire *x, struct bytes path, const struct record *record)
{
    const struct grace_unit *u = x->unit->value;
    char whole[PATH_TOTAL_MAX + 1], name[PATH_NAME_MAX + 1];
    struct bytes place;
    struct stat st;
    if (record->dir || !grace_place(x->unit->key, u->path, path, whole, &place))
        return;
    int dir = root_borrow_parent(x->r->stage->root, place, name);
    if (dir < 0 || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    struct validators old = validators_of(&st);
    if (!validators_equal(&old, &record->validators) || !unlink_old(dir, name))
        return;
    int live = root_borrow_parent(x->r->root, path, name);
    if (live < 0 || fstatat(live, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    struct validators now = validators_of(&st);
    bool same = now.inode == old.inode && now.size == old.size && now.mtime == old.mtime &&
                now.mtime_nsec == old.mtime_nsec;
    if (same)
        refresh_add(&x->moved, path, &old, &now);
}

/* 1 there is more, 0 the end, -1. */
static int part_some(struct retire *x, struct manifest_txn *t, uint64_t deadline, struct err *err)
{
    struct bytes path;
    struct record record;
    int more;
    for (unsigned n = 1; (more = subtree_next(x->left, t, &path, &record, err)) == 1; n++) {
        part(x, path, &record);
        if (x->moved.count >= RETIRE_BATCH || (n % RETIRE_STRIDE == 0 && io_now_us() >= deadline))
            return 1;
    }
    return more;
}

static int work(struct retire *x, uint64_t deadline, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(x->r->manifest, false, &t, err) < 0)
        return -1;
    int more = part_some(x, t, deadline, err);
    manifest_abort(t);
    if (refresh_write(&x->moved, x->r, err) < 0)
        return -1;
    return more;
}

/* What is left of it by now was changed or deleted by the switch. */
static void end_unit(struct retire *x)
{
    struct stage *stage = x->r->stage;
    const struct grace_unit *u = x->unit->value;
    root_forget(stage->root);
    if (kept_wanted(x->r) && u->due) /* what is not due at a time never was live */
        kept_take_unit(x->r, x->unit->key, u->path);
    if (stage_bury(stage, root_fd(stage->root), x->unit->key) < 0)
        log_warn("cannot remove %s from the stage %s", x->unit->key, root_path(stage->root));
    stage_forget_held(stage, x->unit);
    x->unit = NULL;
    subtree_free(TAKE_PTR(x->left));
    replica_reap(x->r);
    keeper_look(x->r);
}

/* A clock that was set back makes nobody wait longer than a full grace. */
static uint64_t seconds_left(const struct retire *x, const struct grace_unit *u)
{
    uint64_t now = (uint64_t)time(NULL), grace = x->r->unit_grace;
    uint64_t left = u->due > now ? u->due - now : 0;
    return left < grace ? left : grace;
}

/* The next one whose time has come; else how long that is, in *wait: none at all is UINT64_MAX. */
static bool pick(struct retire *x, uint64_t *wait)
{
    *wait = UINT64_MAX;
    for (struct set_item *i = set_first(x->r->stage->held); i; i = i->next) {
        uint64_t left = seconds_left(x, i->value);
        if (left == 0) {
            x->unit = i;
            x->left = subtree_new(((const struct grace_unit *)i->value)->path);
            return true;
        }
        *wait = left < *wait ? left : *wait;
    }
    return false;
}

static void go_on(struct retire *x, unsigned budget_ms)
{
    struct err why;
    int more = work(x, io_now_us() + (uint64_t)budget_ms * 1000, &why);
    if (more < 0)
        log_warn("%s: a replaced unit is removed, but not noted: %s", x->r->path, why.text);
    if (more < 1)
        end_unit(x);
}

static void step(struct job *job, unsigned budget_ms)
{
    struct retire *x = (struct retire *)((char *)job - offsetof(struct retire, job));
    uint64_t wait;
    unsigned filling = reap_wait(x->r->stage);
    if (filling)
        job->not_before = io_now_ms() + filling;
    else if (x->r->swaps) /* what is being linked now is not unlinked beside it */
        job->not_before = io_now_ms() + RETIRE_PAUSE_MS;
    else if (x->unit || pick(x, &wait))
        go_on(x, budget_ms);
    else if (wait == UINT64_MAX)
        job_stop(job);
    else
        job->not_before = io_now_ms() + wait * 1000;
}

static struct retire *retire_of(struct replica *r)
{
    if (!r->retire) {
        r->retire = mem_alloc(sizeof *r->retire);
        r->retire->r = r;
    }
    return r->retire;
}

void retire_schedule(struct replica *r)
{
    if (r->stage && set_first(r->stage->held))
        job_start(&r->tools->jobs, &retire_of(r)->job, step);
}

bool retire_some(struct replica *r, unsigned budget_ms)
{
    struct retire *x = retire_of(r);
    uint64_t wait;
    if (!x->unit && !pick(x, &wait))
        return false;
    go_on(x, budget_ms);
    return true;
}

void retire_free(struct retire *x)
{
    if (!x)
        return;
    job_stop(&x->job);
    subtree_free(x->left);
    refresh_clear(&x->moved);
    free(x);
}
