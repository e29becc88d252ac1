/*
 * Drift: a difference that somebody else made. Only who committed something can say that it is
 * something else now, so this is found by the secondary's walk, where a record is about to follow
 * the disk; what was committed is kept beside it until something is committed there again.
 */
#include "tree/walk/walk_impl.h"

bool walk_drift_same(unsigned drift, const struct entry *was, const struct entry *now)
{
    struct entry a = *was, b = *now;
    if (!(drift & WALK_DRIFT_ACL))
        a.acl = b.acl = a.default_acl = b.default_acl = (struct bytes){0};
    return entry_meta_equal(&a, &b) && entry_content_equal(&a, &b) &&
           (!(drift & WALK_DRIFT_OWNER) || entry_owner_equal(&a, &b));
}

/* 1, 0, -1: is the directory at work mirrord's? In one that is not, nothing is. */
static int in_committed(struct walk *w, struct manifest_txn *t, struct err *err)
{
    struct record r;
    uint64_t parent;
    if (w->committed == COMMITTED_UNKNOWN) {
        int rc = manifest_lookup(t, (struct bytes){w->path, w->path_len}, &r, &parent, err);
        if (rc < 0)
            return -1;
        bool is = rc == 1 && (r.flags & RECORD_COMMITTED);
        w->committed = is ? COMMITTED_YES : COMMITTED_NO;
    }
    return w->committed == COMMITTED_YES;
}

/* 1, 0, -1: is it somebody else's doing? */
static int is_drift(
    struct walk *w, struct manifest_txn *t, const struct walk_item *item, struct err *err)
{
    if (!item->has_before)
        return item->has_after ? in_committed(w, t, err) : 0;
    return (item->before.flags & RECORD_COMMITTED) &&
           (!item->has_after ||
               !walk_drift_same(w->o.drift, &item->before.entry, &item->after.entry));
}

int walk_drift_note(
    struct walk *w, struct manifest_txn *t, uint64_t dir, struct walk_item *item, struct err *err)
{
    struct entry was;
    if (!w->o.drift)
        return 0;
    int noted = manifest_drift_get(t, dir, item->name, &was, err);
    if (noted < 0)
        return -1;
    if (noted == 0) {
        int drift = is_drift(w, t, item, err);
        w->counts.drift += drift > 0;
        return drift <= 0 ? drift
                          : manifest_drift_put(t, dir, item->name,
                                item->has_before ? &item->before.entry : NULL, err);
    }
    bool back = item->has_after ? walk_drift_same(w->o.drift, &was, &item->after.entry)
                                : was.type == ENTRY_NONE;
    if (!back) {
        w->counts.drift++;
        return 0;
    }
    if (item->has_after)
        item->after.flags |= RECORD_COMMITTED;
    return manifest_drift_forget(t, dir, item->name, err);
}
