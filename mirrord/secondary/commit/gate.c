/*
 * The last look before a commit; see gate.h. A deletion counts for all entries that the manifest
 * has beneath its path, what a unit's switch deletes as one; what came back is taken off again.
 */
#include "secondary/commit/gate.h"

#include <time.h>

#include "base/log.h"
#include "secondary/site/fencing.h"

static bool is_doomed(const struct step *s)
{
    return s->state == STEP_WAITING &&
           (s->kind == STEP_DELETE || (s->kind == STEP_ENTRY && s->entry.type != ENTRY_DIR));
}

/* The unit, or the deletion, that this path lies beneath (of a unit: or is itself). */
static struct set_item *top_of(const struct batch *b, const struct set *tops, struct bytes path)
{
    if (!b->whole)
        path = path_parent(path);
    for (; path.len; path = path_parent(path)) {
        struct set_item *top = set_find(tops, path.data, path.len);
        if (top)
            return top;
    }
    return NULL;
}

/* The entries that go with the step. 0 or more; -1. */
static int64_t weigh(struct manifest_txn *t, const struct step *s, struct err *err)
{
    struct record r;
    uint64_t parent;
    struct msg_sums sums = {0};
    int found = s->path.len ? manifest_lookup(t, s->path, &r, &parent, err) : 0;
    if (found <= 0)
        return found;
    bool is_dir = r.entry.type == ENTRY_DIR;
    if (s->kind == STEP_ENTRY && !is_dir)
        return 0;
    if (is_dir && manifest_sums(t, r.dir, &sums, err) < 0)
        return -1;
    return (int64_t)sums.entries + 1;
}

/* What the step counts for. Of what lies beneath a top only the top counts: a deletion with all
 * that goes with it, a unit as one if anything in it is deleted. */
static int64_t weigh_beneath(const struct batch *b, struct manifest_txn *t, const struct step *s,
    struct set_item *top, struct err *err)
{
    if (top && (!b->whole || top->value))
        return 0;
    int64_t weight = weigh(t, s, err);
    if (!top || weight <= 0)
        return weight;
    top->value = top; /* counted */
    return 1;
}

static int64_t weigh_all(
    const struct batch *b, struct manifest_txn *t, const struct set *tops, struct err *err)
{
    int64_t all = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        if (b->atoms[i]->aborted || !is_doomed(s))
            continue;
        int64_t one = weigh_beneath(b, t, s, top_of(b, tops, s->path), err);
        if (one < 0)
            return -1;
        all += one;
    }
    return all;
}

/* Units; without any, deletions. */
static struct set *find_tops(const struct batch *b)
{
    struct set *tops = set_new();
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        bool top = b->whole ? s->kind > STEP_MOVE : s->kind == STEP_DELETE;
        if (!b->atoms[i]->aborted && top)
            set_add(tops, s->path.data, s->path.len);
    }
    return tops;
}

static int count(const struct batch *b, int64_t *deleted, uint64_t *now, struct err *err)
{
    struct manifest_txn *t;
    struct msg_sums sums;
    if (manifest_begin(b->replica->manifest, false, &t, err) < 0)
        return -1;
    int r = manifest_sums(t, MANIFEST_ROOT, &sums, err);
    struct set *tops = find_tops(b);
    *deleted = r < 0 ? -1 : weigh_all(b, t, tops, err);
    *now = sums.entries;
    set_free(tops);
    manifest_abort(t);
    return *deleted < 0 ? -1 : 0;
}

static bool deletes_anything(const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (!b->atoms[i]->aborted && (b->whole || is_doomed(&b->atoms[i]->step)))
            return true;
    return false;
}

/* What came since the last look makes up for what was deleted before it: a directory that is
 * renamed back and forth is no loss. */
static void take_back(struct replica *r, int64_t seconds, uint64_t now)
{
    if (now > r->entries_left)
        deletions_take_back(&r->deletions, seconds, now - r->entries_left);
    r->entries_left = now;
}

/* The limit that so many are over: this host's own counts beside the primary's. */
static const struct deletions_limit *passed(
    const struct replica *r, uint64_t deleted, uint64_t before)
{
    if (deletions_too_many(&r->limit, deleted, before))
        return &r->limit;
    bool over = r->policy.said && deletions_too_many(&r->policy.limit, deleted, before);
    return over ? &r->policy.limit : NULL;
}

static int check_deletions(struct batch *b, uint16_t *reason, struct err *err)
{
    struct replica *r = b->replica;
    int64_t deleted, seconds = time(NULL);
    uint64_t now, before;
    struct err why;
    *reason = REASON_INTERNAL;
    if (!deletes_anything(b))
        return 0;
    if (count(b, &deleted, &now, err) < 0)
        return -1;
    take_back(r, seconds, now);
    uint64_t sum = deletions_sum(&r->deletions, seconds, now, &before) + (uint64_t)deleted;
    *reason = REASON_HELD;
    bool asked = deleted && !(r->flags & OPEN_FORCE);
    const struct deletions_limit *limit = asked ? passed(r, sum, before) : NULL;
    if (limit)
        return err_set(err, ERR_REFUSED,
            "%llu of %llu entries would be deleted within %d minutes, more than max-delete%s "
            "allows (%u %% and %llu): held. If that is right, use --force",
            (unsigned long long)sum, (unsigned long long)before, DELETIONS_MINUTES,
            limit == &r->limit ? "" : " of this host", limit->percent,
            (unsigned long long)limit->count);
    deletions_add(&r->deletions, seconds, (uint64_t)deleted, now);
    r->entries_left = now - ((uint64_t)deleted < now ? (uint64_t)deleted : now);
    if (deleted && deletions_store(&r->deletions, state_fd(r->locked), &why) < 0)
        log_warn("%s: %s", r->path, why.text);
    return 0;
}

/* Within a mount namespace only the directory above is sure to be the host's. */
static bool is_in_place(const struct replica *r)
{
    const struct tools *t = r->tools;
    return root_in_place(r->root) &&
           (!t->self || !t->self->enclosed || t->outside->in_place(t->outside->ctx, r->path) == 0);
}

int gate_pass(struct batch *b, uint16_t *reason, struct err *err)
{
    struct replica *r = b->replica;
    *reason = REASON_NO_ROOT;
    if (!is_in_place(r))
        return err_set(
            err, ERR_FAILED, "%s is not the directory any more that was opened", r->path);
    *reason = REASON_FENCED;
    if (fencing_enter(r, err) < 0)
        return -1;
    return check_deletions(b, reason, err);
}
