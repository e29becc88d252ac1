/* A job that marks what is in the manifest as committed; see settle.h. Touches no files: whether
 * one still is what its record says is seen when it is to be changed. */
#include "secondary/site/settle.h"

#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/site/checkpoint.h"
#include "secondary/site/drift.h"

enum { SETTLE_STRIDE = 256 }; /* names in one look */

struct settle {
    struct job job;
    struct replica *r;
    bool forget;    /* drift, first */
    bool marked;    /* something */
    uint64_t *left; /* numbers of directories still to be gone through; the last is at work */
    size_t count, cap;
    char after[PATH_NAME_MAX];
    size_t after_len;
};

static void push(struct settle *s, uint64_t dir)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->left = mem_resize(s->left, s->cap, sizeof *s->left);
    }
    s->left[s->count++] = dir;
}

/* What one look found. */
struct stride {
    struct bytes names[SETTLE_STRIDE]; /* owned: not committed yet */
    size_t name_count;
    uint64_t dirs[SETTLE_STRIDE];
    size_t dir_count;
    bool end; /* of the directory */
};

/* What somebody else put there stays theirs, with all beneath it. 1, 0, -1. */
static int is_drift(struct manifest_txn *t, uint64_t dir, struct bytes name, struct err *err)
{
    struct entry was;
    return manifest_drift_get(t, dir, name, &was, err);
}

static int look(struct settle *s, uint64_t dir, struct stride *out, struct err *err)
{
    struct manifest_txn *t;
    struct bytes name;
    struct record r;
    int more = 1;
    if (manifest_begin(s->r->manifest, false, &t, err) < 0)
        return -1;
    for (int i = 0; i < SETTLE_STRIDE && more == 1; i++) {
        more = manifest_next(t, dir, (struct bytes){s->after, s->after_len}, &name, &r, err);
        if (more != 1)
            break;
        memcpy(s->after, name.data, name.len);
        s->after_len = name.len;
        int drift = r.flags & RECORD_COMMITTED ? 0 : is_drift(t, dir, name, err);
        if (drift < 0)
            more = -1;
        if (drift != 0)
            continue;
        if (!(r.flags & RECORD_COMMITTED))
            out->names[out->name_count++] =
                (struct bytes){mem_copy_bytes(name.data, name.len), name.len};
        if (r.dir)
            out->dirs[out->dir_count++] = r.dir;
    }
    manifest_abort(t);
    out->end = more == 0;
    return more < 0 ? -1 : 0;
}

static int mark(struct settle *s, uint64_t dir, const struct stride *found, struct err *err)
{
    struct manifest_txn *t;
    struct record r;
    if (!found->name_count)
        return 0;
    if (manifest_begin(s->r->manifest, true, &t, err) < 0)
        return -1;
    for (size_t i = 0; i < found->name_count; i++) {
        int there = manifest_get(t, dir, found->names[i], &r, err);
        r.flags |= RECORD_COMMITTED;
        if (there < 0 || (there == 1 && manifest_put(t, dir, found->names[i], &r, err) < 0)) {
            manifest_abort(t);
            return -1;
        }
    }
    s->marked = true;
    return manifest_commit(t, err);
}

/* Some of what is remembered as drift. 1 there may be more, 0, -1. */
static int forget_some(struct settle *s, struct err *err)
{
    struct manifest_drift row = {0};
    struct manifest_txn *t;
    int more = 1;
    if (manifest_begin(s->r->manifest, true, &t, err) < 0)
        return -1;
    for (int i = 0; i < SETTLE_STRIDE && more == 1; i++) {
        more = manifest_drift_next(t, &row, err);
        if (more == 1 &&
            manifest_drift_forget(t, row.dir, (struct bytes){row.name, row.name_len}, err) < 0)
            more = -1;
        row = (struct manifest_drift){0};
    }
    if (more >= 0)
        return manifest_commit(t, err) < 0 ? -1 : more;
    manifest_abort(t);
    return -1;
}

/* One stride of the directory at work. */
static int go_on(struct settle *s, struct err *err)
{
    struct stride *found CLEANUP_FREE = mem_alloc(sizeof *found);
    uint64_t dir = s->left[s->count - 1];
    int bad = look(s, dir, found, err) < 0 || mark(s, dir, found, err) < 0 ? -1 : 0;
    for (size_t i = 0; i < found->name_count; i++)
        free((void *)found->names[i].data);
    if (bad)
        return -1;
    if (found->end) {
        s->count--;
        s->after_len = 0;
    }
    for (size_t i = 0; i < found->dir_count; i++) {
        push(s, found->dirs[i]);
        if (!found->end) { /* the one at work stays last */
            s->left[s->count - 2] = s->left[s->count - 1];
            s->left[s->count - 1] = dir;
        }
    }
    return s->count > 0;
}

/* The root's own record, last: from now on what is new in it is somebody else's doing. */
static int mark_root(struct settle *s, struct err *err)
{
    struct manifest_txn *t;
    struct record r;
    uint64_t parent;
    if (manifest_begin(s->r->manifest, true, &t, err) < 0)
        return -1;
    int found = manifest_lookup(t, (struct bytes){0}, &r, &parent, err);
    r.flags |= RECORD_COMMITTED;
    if (found == 1 && manifest_put_root(t, &r, err) == 0)
        return manifest_commit(t, err);
    manifest_abort(t);
    return found == 0 ? 0 : -1;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct settle *s = (struct settle *)((char *)job - offsetof(struct settle, job));
    struct replica *r = s->r;
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    struct err why;
    int more;
    while (s->forget && io_now_us() < deadline) {
        more = forget_some(s, &why);
        s->forget = more == 1;
        if (more < 0)
            log_warn("%s: %s", r->path, why.text);
    }
    if (s->forget)
        return;
    do
        more = go_on(s, &why);
    while (more == 1 && io_now_us() < deadline);
    if (more == 1)
        return;
    if (more == 0)
        more = mark_root(s, &why);
    if (more < 0)
        log_warn("%s: %s", r->path, why.text);
    if (s->marked)
        checkpoint_uncovered(r);
    settle_free(s);
    r->settle = NULL;
}

void settle_start(struct replica *r)
{
    settle_free(r->settle);
    r->settle = mem_alloc(sizeof *r->settle);
    r->settle->r = r;
    r->settle->forget = r->drift && !drift_found(r->drift);
    push(r->settle, MANIFEST_ROOT);
    job_start(&r->tools->jobs, &r->settle->job, step);
}

void settle_free(struct settle *s)
{
    if (!s)
        return;
    job_stop(&s->job);
    free(s->left);
    free(s);
}
