/* Telling of drift, and the walks that find more: of the whole tree once a day, and of each file
 * whose content is not what it was when it was read again; see drift.h. What drift is, the walk
 * decides (tree/walk/walk_drift.c); whether it is healed, the primary. */
#include "secondary/site/drift.h"

#include <pthread.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "secondary/commit/batch.h"
#include "secondary/site/proof.h"
#include "tree/walk/reread.h"

enum {
    TELL_STRIDE = 64,    /* rows in one look */
    STEP_MS = 3,         /* of a walk, … */
    REST_MS = 20,        /* …and what lies between two steps, */
    YIELD_MS = 100,      /* or while there is anything to commit */
    POLL_MS = 1000,      /* between looks whether there is anything to walk */
    EVERY_S = 86400,     /* and a tenth more or less, so that not all sites walk at once */
    SUSPECTS_MAX = 1000, /* more are for the next pass */
};

struct suspect { /* value in the set of paths */
    bool content;
};

struct drift {
    struct replica *r;
    struct job job;
    bool found;               /* any, since the opening */
    uint64_t due;             /* io_now_ms: the next walk of the whole tree */
    struct walk *walk;        /* while it runs */
    struct manifest_drift at; /* the last row that was told */
    struct reread_tree *tree; /* whose thread finds suspects, and digests */
    struct proof *proof;
    pthread_mutex_t lock; /* of these: */
    struct set *suspects; /* files that are to be walked by themselves */
};

struct drift *drift_new(struct replica *r)
{
    struct drift *d = mem_alloc(sizeof *d);
    d->r = r;
    d->suspects = set_new();
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

static void drop(struct drift *d, struct set_item *item)
{
    free(item->value);
    set_remove(d->suspects, item);
}

void drift_free(struct drift *d)
{
    if (!d)
        return;
    reread_remove(d->tree);
    proof_free(d->proof);
    job_stop(&d->job);
    walk_free(d->walk);
    while (set_first(d->suspects))
        drop(d, set_first(d->suspects));
    set_free(d->suspects);
    pthread_mutex_destroy(&d->lock);
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

/* --- looking for more --- */

/* Is anything of this site being changed by a batch? The walk stands back, and what it would see
 * half done is not there when it goes on. */
static bool is_busy(const struct replica *r)
{
    for (const struct batch *b = r->tools->batches; b; b = b->next)
        if (b->replica == r)
            return true;
    return r->settle != NULL;
}

static void schedule(struct drift *d)
{
    unsigned every = d->r->tools->options->look_every_s;
    uint64_t ms = (every ? every : EVERY_S) * UINT64_C(1000);
    uint32_t dice;
    io_random(&dice, sizeof dice);
    d->due = io_now_ms() + ms - ms / 10 + dice % (ms / 5 + 1);
}

static void start_walk(struct drift *d, struct bytes top, bool content)
{
    struct replica *r = d->r;
    struct walk_options options = {
        .checksum = content,
        .keep_special = r->flags & OPEN_SPECIAL_BITS,
        .keep_accepted = true,
        .mounts = r->mounts,
        .drift = drift_kinds(r),
    };
    d->walk = walk_new(r->root, r->manifest, r->filter, r->tools->names, top, &options, NULL);
}

/* The next file that the reading found, or the whole tree when it is due. */
static void choose_walk(struct drift *d)
{
    pthread_mutex_lock(&d->lock);
    struct set_item *item = set_first(d->suspects);
    if (item) {
        start_walk(
            d, (struct bytes){item->key, item->len}, ((struct suspect *)item->value)->content);
        drop(d, item);
    }
    pthread_mutex_unlock(&d->lock);
    if (d->walk || io_now_ms() < d->due)
        return;
    schedule(d);
    start_walk(d, (struct bytes){0}, false);
}

static void give_up(struct drift *d, const struct err *why)
{
    log_warn("%s: looking for what somebody else changed: %s", d->r->path, why->text);
    walk_free(TAKE_PTR(d->walk));
}

/* The walk is over: what there is is told of, if there is any news. */
static void end_walk(struct drift *d)
{
    struct err why;
    uint64_t found = walk_counts(d->walk)->drift;
    d->found |= found > 0;
    int more = found ? drift_tell(d, &why) : 0;
    if (more < 0)
        give_up(d, &why);
    if (more != 0)
        return;
    log_debug(
        "%s: walked, %llu paths changed by somebody else", d->r->path, (unsigned long long)found);
    walk_free(TAKE_PTR(d->walk));
}

static void step(struct job *job, unsigned budget_ms)
{
    struct drift *d = (struct drift *)((char *)job - offsetof(struct drift, job));
    struct err why;
    (void)budget_ms;
    proof_step(d->proof);
    bool busy = is_busy(d->r);
    if (!busy && !d->walk)
        choose_walk(d);
    job->not_before = io_now_ms() + (!d->walk ? POLL_MS : busy ? YIELD_MS : REST_MS);
    if (busy || !d->walk)
        return;
    int more = walk_step(d->walk, STEP_MS, &why);
    if (more < 0)
        give_up(d, &why);
    else if (more == WALK_DONE)
        end_walk(d);
}

/* In the reading's thread. */
static void on_differs(void *ctx, struct bytes path, bool content)
{
    struct drift *d = ctx;
    pthread_mutex_lock(&d->lock);
    if (set_count(d->suspects) < SUSPECTS_MAX) {
        struct set_item *item = set_add(d->suspects, path.data, path.len);
        if (!item->value)
            item->value = mem_alloc(sizeof(struct suspect));
        ((struct suspect *)item->value)->content |= content;
    }
    pthread_mutex_unlock(&d->lock);
}

static void on_proven(void *ctx, struct bytes path, const struct record *r)
{
    proof_add(((struct drift *)ctx)->proof, path, r);
}

bool drift_found(const struct drift *d)
{
    return d && (d->found || (d->walk && walk_counts(d->walk)->drift > 0));
}

void drift_watch(struct drift *d, uint64_t unproven)
{
    const struct reread_hooks hooks = {.differs = on_differs, .proven = on_proven, .ctx = d};
    struct tools *tools = d->r->tools;
    schedule(d);
    job_start(&tools->jobs, &d->job, step);
    d->job.not_before = io_now_ms() + POLL_MS; /* what follows OPENED has work of its own */
    d->proof = proof_new(d->r, unproven);
    if (tools->reread)
        d->tree = reread_add(tools->reread, d->r->root, d->r->manifest, &hooks);
}

uint64_t drift_due(const struct drift *d)
{
    return d->walk ? io_now_ms() : d->due;
}

void drift_resume(struct drift *d, bool found, uint64_t due)
{
    d->found = found;
    d->due = due;
}
