/* Telling of drift, and the daily walk that finds more; see drift.h. What drift is, the walk
 * decides (tree/walk_drift.c); whether it is healed, the primary. */
#include "secondary/drift.h"

#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/batch.h"

enum {
    TELL_STRIDE = 64, /* rows in one look */
    STEP_MS = 3,      /* of the daily walk, … */
    REST_MS = 20,     /* …and what lies between two steps, */
    YIELD_MS = 100,   /* or while there is anything to commit */
    EVERY_S = 86400,  /* and a tenth more or less, so that not all sites walk at once */
};

struct drift {
    struct replica *r;
    struct job job;
    struct walk *walk;        /* while it runs */
    struct manifest_drift at; /* the last row that was told */
};

struct drift *drift_new(struct replica *r)
{
    struct drift *d = mem_alloc(sizeof *d);
    d->r = r;
    return d;
}

void drift_free(struct drift *d)
{
    if (!d)
        return;
    job_stop(&d->job);
    walk_free(d->walk);
    free(d);
}

unsigned drift_kinds(const struct replica *r)
{
    return WALK_DRIFT | (r->rules.owner ? WALK_DRIFT_OWNER : 0) |
           (r->rules.acl ? WALK_DRIFT_ACL : 0);
}

/* --- telling --- */

static bool only_times_differ(
    const struct replica *r, const struct entry *was, const struct entry *now)
{
    struct entry a = *was, b = *now;
    b.mtime = a.mtime;
    b.mtime_nsec = a.mtime_nsec;
    return a.type == ENTRY_DIR && walk_drift_same(drift_kinds(r), &a, &b);
}

static enum drift_kind kind_of(
    const struct replica *r, const struct entry *was, const struct entry *now)
{
    if (was->type == ENTRY_NONE)
        return DRIFT_ADDED;
    if (!now)
        return DRIFT_REMOVED;
    return only_times_differ(r, was, now) ? DRIFT_TIMES : DRIFT_CHANGED;
}

/* The path of a row, into `path`. 1, 0: the directory is gone, -1. */
static int path_of(struct manifest_txn *t, const struct manifest_drift *row,
    char path[PATH_TOTAL_MAX + 1], size_t *len, struct err *err)
{
    *len = 0;
    if (row->dir == MANIFEST_NO_DIR)
        return 1;
    int rc = manifest_dir_path(t, row->dir, path, len, err);
    if (rc != 1 || *len + 1 + row->name_len > PATH_TOTAL_MAX)
        return rc < 0 ? -1 : 0;
    if (*len > 0)
        path[(*len)++] = '/';
    memcpy(path + *len, row->name, row->name_len);
    *len += row->name_len;
    return 1;
}

static int tell_row(struct drift *d, struct manifest_txn *t, struct err *err)
{
    const struct manifest_drift *row = &d->at;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct record now;
    uint64_t parent;
    int rc = path_of(t, row, path, &len, err);
    if (rc != 1)
        return rc;
    int there = manifest_lookup(t, (struct bytes){path, len}, &now, &parent, err);
    if (there < 0)
        return -1;
    if (there == 0 && row->committed.type == ENTRY_NONE)
        return 0;
    struct outbox *out = &d->r->tools->out;
    msg_put_drift(
        &out->writer, &(struct msg_drift){.site = d->r->site,
                          .kind = kind_of(d->r, &row->committed, there ? &now.entry : NULL),
                          .path = {path, len},
                          .committed = row->committed});
    outbox_put(out);
    return 0;
}

int drift_tell(struct drift *d, struct err *err)
{
    struct manifest_txn *t;
    int more = 1;
    if (manifest_begin(d->r->manifest, false, &t, err) < 0)
        return -1;
    for (int n = 0; n < TELL_STRIDE && more == 1; n++) {
        more = manifest_drift_next(t, &d->at, err);
        if (more == 1 && tell_row(d, t, err) < 0)
            more = -1;
    }
    manifest_abort(t);
    if (more != 1)
        d->at = (struct manifest_drift){0};
    return more;
}

/* --- another filter --- */

static int inherit_row(struct replica *r, struct manifest_txn *from, struct manifest_txn *to,
    const struct manifest_drift *row, struct err *err)
{
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct record dir = {.dir = MANIFEST_ROOT};
    uint64_t parent;
    int rc = path_of(from, row, path, &len, err);
    if (rc != 1)
        return rc;
    struct bytes whole = {path, len}, above = path_parent(whole);
    if (row->dir == MANIFEST_NO_DIR)
        return manifest_drift_put(to, row->dir, whole, &row->committed, err);
    rc = above.len ? manifest_lookup(to, above, &dir, &parent, err) : 1;
    if (rc != 1 || !dir.dir || filter_excludes(r->filter, whole, row->committed.type == ENTRY_DIR))
        return rc < 0 ? -1 : 0;
    return manifest_drift_put(to, dir.dir, path_name(whole), &row->committed, err);
}

int drift_inherit(struct replica *r, struct err *err)
{
    struct manifest_txn *from, *to;
    struct manifest_drift row = {0};
    int more;
    if (manifest_begin(r->former, false, &from, err) < 0)
        return -1;
    if (manifest_begin(r->manifest, true, &to, err) < 0) {
        manifest_abort(from);
        return -1;
    }
    while ((more = manifest_drift_next(from, &row, err)) == 1)
        if (inherit_row(r, from, to, &row, err) < 0)
            break;
    manifest_abort(from);
    if (more == 0)
        return manifest_commit(to, err);
    manifest_abort(to);
    return -1;
}

/* --- the daily walk --- */

/* Is anything of this site being changed by a batch? The walk stands back, and what it would see
 * half done is not there when it goes on. */
static bool is_busy(const struct replica *r)
{
    for (const struct batch *b = r->tools->batches; b; b = b->next)
        if (b->replica == r)
            return true;
    return r->settle != NULL;
}

static struct walk *start_walk(struct replica *r)
{
    struct walk_options options = {
        .keep_special = r->flags & OPEN_SPECIAL_BITS,
        .keep_accepted = true,
        .mounts = r->mounts,
        .drift = drift_kinds(r),
    };
    return walk_new(
        r->root, r->manifest, r->filter, r->tools->names, (struct bytes){0}, &options, NULL);
}

static void schedule(struct drift *d)
{
    unsigned every = d->r->tools->options->look_every_s;
    uint64_t ms = (every ? every : EVERY_S) * UINT64_C(1000);
    uint32_t dice;
    io_random(&dice, sizeof dice);
    d->job.not_before = io_now_ms() + ms - ms / 10 + dice % (ms / 5 + 1);
}

static void give_up(struct drift *d, const struct err *why)
{
    log_warn("%s: looking for what somebody else changed: %s", d->r->path, why->text);
    walk_free(TAKE_PTR(d->walk));
    schedule(d);
}

/* The walk is over: what there is is told of, if there is any news. */
static void end_walk(struct drift *d)
{
    struct err why;
    int more = walk_counts(d->walk)->drift ? drift_tell(d, &why) : 0;
    if (more == 1)
        return;
    if (more < 0) {
        give_up(d, &why);
        return;
    }
    log_debug("%s: walked, %llu paths changed by somebody else", d->r->path,
        (unsigned long long)walk_counts(d->walk)->drift);
    walk_free(TAKE_PTR(d->walk));
    schedule(d);
}

static void step(struct job *job, unsigned budget_ms)
{
    struct drift *d = (struct drift *)((char *)job - offsetof(struct drift, job));
    struct err why;
    (void)budget_ms;
    if (is_busy(d->r)) {
        job->not_before = io_now_ms() + YIELD_MS;
        return;
    }
    if (!d->walk)
        d->walk = start_walk(d->r);
    job->not_before = io_now_ms() + REST_MS;
    int more = walk_step(d->walk, STEP_MS, &why);
    if (more < 0)
        give_up(d, &why);
    else if (more == WALK_DONE)
        end_walk(d);
}

void drift_watch(struct drift *d)
{
    job_start(&d->r->tools->jobs, &d->job, step);
    schedule(d);
}
