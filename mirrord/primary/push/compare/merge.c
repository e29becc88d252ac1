/*
 * One directory as it is listed there, held against the same one in the manifest here, name by
 * name: both are sorted. What differs is added to what the comparison found; a directory at both
 * ends whose digests differ is to be listed next.
 */
#include <string.h>

#include "base/mem.h"
#include "primary/push/compare/compare_impl.h"
#include "primary/push/push_impl.h"
#include "tree/content/digest.h"
#include "tree/manifest/buckets.h"

/* Of a unit: not what is beside it. */
static bool is_meant(const struct compare *c, const char *dir, struct bytes name)
{
    const struct unit_rules *rules = c->ps->site->options.units;
    struct bytes key;
    if (!c->unit)
        return true;
    char *path CLEANUP_FREE = difference_path(dir, name);
    return unit_rules_match(rules, bytes_of(path), true, &key) &&
           bytes_equal(key, queue_path(c->unit));
}

/* Somebody else's doing, which is left as it is? `ours`: NULL where nothing is here. */
bool merge_leaves(
    const struct compare *c, const char *dir, struct bytes name, const struct entry *ours)
{
    if (!push_site_leaves_drift(c->ps))
        return false;
    char *path CLEANUP_FREE = difference_path(dir, name);
    return drifted_leave(c->ps->drifted, bytes_of(path), ours, difference_owner_matters(c->ps));
}

/* It is to be missing there. */
static bool is_lacked(
    const struct compare *c, const char *dir, struct bytes name, const struct record *r)
{
    if (!c->ps->without)
        return false;
    char *path CLEANUP_FREE = difference_path(dir, name);
    return push_site_lacks(c->ps, bytes_of(path), r->entry.type == ENTRY_DIR);
}

static void only_here(struct compare *c, const char *dir, struct bytes name, const struct record *r,
    const struct msg_sums *sums)
{
    if (is_lacked(c, dir, name, r))
        return;
    if ((dir[0] || name.len) && is_meant(c, dir, name) && !merge_leaves(c, dir, name, &r->entry))
        difference_describe(differences_add(&c->all, dir, name, OWED_CREATE), &r->entry, sums);
}

static void example(char **at, const char *dir, struct bytes name)
{
    if (!*at)
        *at = difference_path(dir, name);
}

static void only_there(struct compare *c, const char *dir, const struct msg_item *i)
{
    if (c->ps->site->options.no_delete || !is_meant(c, dir, i->name) ||
        merge_leaves(c, dir, i->name, NULL))
        return;
    c->strangers++;
    struct difference *d = differences_add(&c->all, dir, i->name, OWED_DELETE);
    difference_describe(d, &i->entry, &i->sums);
    c->findings.doomed += d->entries;
    example(&c->findings.doomed_example, dir, i->name);
}

/* Neither size nor time tell: was it changed under them, or taken over so? */
static void note_other(struct compare *c, const char *dir, struct bytes name,
    const struct entry *ours, const struct entry *theirs)
{
    if (ours->type != ENTRY_FILE || theirs->type != ENTRY_FILE || ours->size != theirs->size ||
        ours->mtime != theirs->mtime || ours->mtime_nsec != theirs->mtime_nsec ||
        entry_content_equal(ours, theirs) || digest_is_doubt(&ours->digest))
        return;
    c->other++;
    example(&c->other_example, dir, name);
}

static void on_both(struct compare *c, const char *dir, const struct msg_item *theirs,
    const struct record *ours, const struct msg_sums *sums)
{
    bool dirs = ours->entry.type == ENTRY_DIR && theirs->entry.type == ENTRY_DIR;
    enum owed_kind kind = difference_of(c->ps, &ours->entry, &theirs->entry);
    if ((kind != OWED_ANY || dirs) && !is_meant(c, dir, theirs->name))
        return;
    if (kind != OWED_ANY && merge_leaves(c, dir, theirs->name, &ours->entry))
        kind = OWED_ANY;
    if (kind != OWED_ANY) {
        struct difference *d = differences_add(&c->all, dir, theirs->name, kind);
        difference_describe(d, &ours->entry, sums);
        d->has_theirs = theirs->entry.type == ENTRY_FILE && theirs->entry.has_digest &&
                        theirs->entry.size == ours->entry.size;
        d->theirs = theirs->entry.digest;
        d->was_dir = theirs->entry.type == ENTRY_DIR;
        note_other(c, dir, theirs->name, &ours->entry, &theirs->entry);
        if (dirs) { /* the directory alone; what is in it is listed */
            d->subtree = false;
            d->entries = 1;
            d->bytes = 0;
        } else if (difference_is_newer(&theirs->entry, &ours->entry)) {
            c->findings.newer++;
            example(&c->findings.newer_example, dir, theirs->name);
        } else {
            c->findings.older++;
        }
    }
    if (!dirs || difference_same_sums(c->ps, sums, &theirs->sums))
        return;
    char *path CLEANUP_FREE = difference_path(dir, theirs->name);
    compare_want(c, bytes_of(path));
}

static void note_namesake(struct compare *c, const char *dir, struct bytes name)
{
    if (dir[0] || !c->findings.foreign || c->findings.namesake)
        return;
    const char *last = strrchr(root_path(c->ps->site->root), '/');
    if (last && last[1] && bytes_equal(name, bytes_of(last + 1)))
        c->findings.namesake = mem_copy_bytes(name.data, name.len);
}

/* The local side of a merge. */
struct local {
    struct manifest_txn *t;
    uint64_t dir;
    bool there; /* name and record are valid */
    struct bytes name;
    struct record record;
    struct msg_sums sums;
};

static int local_next(struct local *l, struct bytes after, struct err *err)
{
    struct bytes name;
    int r = manifest_next(l->t, l->dir, after, &name, &l->record, err);
    if (r < 0)
        return -1;
    l->there = r == 1;
    l->name = name;
    l->sums = (struct msg_sums){0};
    if (l->there && l->record.entry.type == ENTRY_DIR)
        return manifest_sums(l->t, l->record.dir, &l->sums, err);
    return 0;
}

/* A name that was not listed may be there, too: its bucket does not differ. */
static bool is_missing_there(const struct request *r, struct bytes name)
{
    return r->bits == 0 || buckets_differ(r->differ, buckets_index(name, r->bits));
}

/* Our names up to `upto` (all, when it is NULL) that the far end has not. */
static int pass_over(struct compare *c, struct request *r, struct local *l,
    const struct bytes *upto, struct err *err)
{
    while (l->there && (!upto || bytes_compare(l->name, *upto) < 0)) {
        if (is_missing_there(r, l->name))
            only_here(c, r->path, l->name, &l->record, &l->sums);
        if (local_next(l, l->name, err) < 0)
            return -1;
    }
    return 0;
}

static int merge_items(struct compare *c, struct request *r, struct local *l,
    const struct msg_listing *m, struct err *err)
{
    struct wire_reader items = wire_reader_of(m->items.data, m->items.len);
    struct msg_item i = {.name = bytes_of(r->last)}; /* names rise across frames, too */
    for (unsigned n = 0; n < m->count; n++) {
        struct bytes before = i.name;
        msg_item_decode(&items, &i);
        c->illegal = items.bad || bytes_compare(before, i.name) >= 0;
        if (c->illegal)
            return err_set(err, ERR_FAILED, "its listing of a directory is malformed");
        note_namesake(c, r->path, i.name);
        if (pass_over(c, r, l, &i.name, err) < 0)
            return -1;
        if (l->there && bytes_equal(l->name, i.name)) {
            on_both(c, r->path, &i, &l->record, &l->sums);
            if (local_next(l, l->name, err) < 0)
                return -1;
        } else {
            only_there(c, r->path, &i);
        }
    }
    if (m->last)
        return pass_over(c, r, l, NULL, err);
    char *last = mem_copy_bytes(i.name.data, i.name.len); /* may be the one before */
    free(r->last);
    r->last = last;
    return 0;
}

int merge_listing(
    struct compare *c, struct request *r, const struct msg_listing *m, struct err *err)
{
    struct local l = {0};
    struct record dir;
    uint64_t parent;
    if (manifest_begin(c->ps->site->manifest, false, &l.t, err) < 0)
        return -1;
    int found = manifest_lookup(l.t, bytes_of(r->path), &dir, &parent, err);
    if (found == 1 && (dir.entry.type == ENTRY_DIR || !r->path[0])) {
        l.dir = r->path[0] ? dir.dir : MANIFEST_ROOT;
        found = local_next(&l, bytes_of(r->last), err);
        if (found == 0)
            found = merge_items(c, r, &l, m, err);
    }
    manifest_abort(l.t);
    return found < 0 ? -1 : 0;
}

int merge_walked(
    struct compare *c, struct manifest_txn *t, const struct walked_change *change, struct err *err)
{
    struct bytes above = path_parent(change->path);
    char *dir CLEANUP_FREE = mem_copy_bytes(above.data, above.len);
    struct msg_item theirs = {.name = path_name(change->path), .entry = change->before};
    struct record ours;
    uint64_t parent;
    int found = manifest_lookup(t, change->path, &ours, &parent, err);
    if (found == 1 && ours.entry.type == ENTRY_DIR &&
        manifest_sums(t, ours.dir, &theirs.sums, err) < 0)
        return -1; /* of directories at both ends: what differs in them is told by itself */
    if (found == 1 && change->was)
        on_both(c, dir, &theirs, &ours, &theirs.sums);
    else if (found == 1)
        only_here(c, dir, theirs.name, &ours, &theirs.sums);
    else if (found == 0 && change->was)
        only_there(c, dir, &theirs);
    return found < 0 ? -1 : 0;
}
