/* One name that differs: what its record should be, and writing it. Between the look and the write
 * no transaction is open, so the record may have been changed by somebody else: then the name is
 * looked at again. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tree/content/digest.h"
#include "tree/walk/walk_impl.h"

enum { WRITE_AFTER = 16 * 1024 * 1024 }; /* bytes of content read, so that results do not wait */

static bool entries_same(const struct entry *a, const struct entry *b)
{
    return entry_meta_equal(a, b) && entry_owner_equal(a, b) && a->has_digest == b->has_digest &&
           digest_equal(&a->digest, &b->digest);
}

static bool records_same(const struct record *a, const struct record *b)
{
    return a->flags == b->flags && a->dir == b->dir && entries_same(&a->entry, &b->entry) &&
           validators_equal(&a->validators, &b->validators);
}

static void look_again(struct walk *w, struct walk_item *item)
{
    item->action = ACTION_NOTHING;
    listing_add(&w->again, item->name.data, item->name.len, 0);
}

static void give_up(struct walk *w, struct walk_item *item, const struct err *why)
{
    item->action = ACTION_NOTHING;
    walk_unreadable(w, walk_path_of(w, item->name), why);
}

/* A new stat: false when the entry is not what it was taken for. */
static bool stat_again(struct walk *w, struct walk_item *item)
{
    struct err why;
    validators_clock(&item->seen);
    if (fstatat(w->found.fd, item->name.data, &item->st, AT_SYMLINK_NOFOLLOW) == 0)
        return !S_ISDIR(item->st.st_mode) || item->st.st_dev == w->device;
    if (errno == ENOENT)
        return false;
    err_sys(&why, errno, "stat");
    give_up(w, item, &why);
    return false;
}

static bool same_validators(const struct walk_item *item)
{
    return item->has_before && item->before.entry.type == item->after.entry.type &&
           validators_equal(&item->before.validators, &item->after.validators);
}

static bool only_ctime_moved(const struct walk_item *item)
{
    const struct validators *a = &item->before.validators, *b = &item->after.validators;
    return a->inode == b->inode && a->size == b->size && a->mtime == b->mtime &&
           a->mtime_nsec == b->mtime_nsec;
}

/* Nothing was done to it since: what else differs went with the power. */
static bool is_untouched(const struct walk_item *item)
{
    const struct validators *a = &item->before.validators, *b = &item->after.validators;
    return a->inode == b->inode && a->ctime == b->ctime && a->ctime_nsec == b->ctime_nsec;
}

/* Does what mirrord committed still stand there? Files are judged by content, which is not known
 * before it was read. */
static bool stays_committed(const struct walk *w, const struct walk_item *item)
{
    if (!item->has_before || !(item->before.flags & RECORD_COMMITTED) ||
        item->before.entry.type != item->after.entry.type)
        return false;
    if (same_validators(item) || (w->o.since && is_untouched(item)))
        return true;
    if (item->after.entry.type != ENTRY_FILE)
        return item->before.validators.inode == item->after.validators.inode;
    return only_ctime_moved(item) && item->before.entry.has_digest &&
           item->after.entry.has_digest &&
           digest_equal(&item->before.entry.digest, &item->after.entry.digest);
}

static bool must_be_read(const struct walk *w, const struct walk_item *item)
{
    const struct record *before = &item->before, *after = &item->after;
    if (after->entry.type != ENTRY_FILE)
        return false;
    if (w->o.checksum || (w->o.prove && !after->entry.has_digest) ||
        (w->o.since && after->validators.ctime >= w->o.since))
        return true;
    if (!item->has_before || !before->entry.has_digest || before->entry.type != ENTRY_FILE)
        return false;
    if (same_validators(item))
        return before->flags & RECORD_RACY;
    return before->entry.size == after->entry.size;
}

static void set_after(struct walk *w, struct walk_item *item, const struct entry *e)
{
    struct record *after = &item->after;
    *after = (struct record){.entry = *e, .validators = validators_of(&item->st)};
    after->entry.target = walk_keep(w, e->target);
    after->entry.acl = walk_keep(w, e->acl);
    after->entry.default_acl = walk_keep(w, e->default_acl);
    item->has_after = true;
    if (same_validators(item)) {
        after->entry.has_digest = item->before.entry.has_digest;
        after->entry.digest = item->before.entry.digest;
        if (w->o.keep_accepted)
            after->entry = item->before.entry;
    }
    if (item->has_before && item->before.entry.type == after->entry.type)
        after->dir = item->before.dir;
    if (validators_racy(&after->validators, &item->seen))
        after->flags |= RECORD_RACY;
}

static void settle(struct walk *w, struct walk_item *item)
{
    if (stays_committed(w, item))
        item->after.flags |= RECORD_COMMITTED;
    if (!item->has_before || !records_same(&item->before, &item->after)) {
        item->action = ACTION_PUT;
        return;
    }
    item->action = ACTION_NOTHING;
    if (item->before.dir)
        walk_found_dir(w, item->before.dir, false);
}

/* It is here because its content is to be read, not because it differs. */
static bool is_as_recorded(const struct walk_item *item)
{
    struct validators v = validators_of(&item->st);
    return item->has_before && validators_equal(&v, &item->before.validators);
}

/* The entry of the disk, as entry_read. The validators of a file that is as it was prove all of it
 * but the content: owner, mode and ACL do not change without its ctime. */
static int read_entry(struct walk *w, struct walk_item *item, struct entry *out, struct err *err)
{
    if (is_as_recorded(item) && item->before.entry.type == ENTRY_FILE &&
        !(item->before.flags & RECORD_RACY)) {
        *out = item->before.entry;
        return 0;
    }
    return entry_read(
        w->found.fd, item->name.data, &item->st, w->names, w->o.keep_special, &w->store, out, err);
}

static void look_at_entry(struct walk *w, struct walk_item *item)
{
    struct entry e;
    struct err why;
    int rc = read_entry(w, item, &e, &why);
    if (rc == 1 || (rc < 0 && (why.sys == ENOENT || why.sys == EINVAL))) {
        look_again(w, item);
        return;
    }
    if (rc < 0) {
        give_up(w, item, &why);
        return;
    }
    set_after(w, item, &e);
    if (must_be_read(w, item))
        item->action = ACTION_READ;
    else
        settle(w, item);
}

static void look_at(struct walk *w, struct walk_item *item)
{
    if (item->sight == SIGHT_OUTSIDE) {
        item->action = ACTION_DELETE;
    } else if (item->sight == SIGHT_GONE) {
        /* Absent from a listing is not yet deleted (RULES 3). */
        bool there = fstatat(w->found.fd, item->name.data, &item->st, AT_SYMLINK_NOFOLLOW) == 0;
        struct err why;
        if (there) {
            look_again(w, item);
        } else if (errno == ENOENT) {
            item->action = ACTION_DELETE;
        } else {
            err_sys(&why, errno, "stat");
            give_up(w, item, &why);
        }
    } else if (!item->has_before || is_as_recorded(item) || stat_again(w, item)) {
        look_at_entry(w, item);
    } else if (item->action == ACTION_LOOK) {
        look_again(w, item);
    }
}

static void end_reading(struct walk *w, struct walk_item *item, const struct digest *d)
{
    struct entry *e = &item->after.entry;
    e->has_digest = d != NULL;
    bool racy = validators_racy(&item->after.validators, &w->reading.began);
    if (d) { /* a racy one is what was read, to be read again when it has come to rest */
        e->digest = *d;
        item->after.flags &= ~(uint32_t)RECORD_RACY;
        item->after.flags |= racy ? RECORD_RACY : 0;
    } else { /* what was in doubt stays so */
        const struct entry *was = &item->before.entry;
        e->has_digest = item->has_before && was->has_digest && digest_is_doubt(&was->digest);
        memset(&e->digest, 0, sizeof e->digest);
        item->after.flags |= RECORD_RACY;
    }
    settle(w, item);
}

static void read_item(struct walk *w, struct walk_item *item)
{
    struct digest d;
    if (w->reading.fd < 0 && !walk_read_begin(w, item->name.data, &item->after.validators)) {
        end_reading(w, item, NULL);
        return;
    }
    enum walk_read_result r = walk_read_step(w, &d);
    if (r != READ_MORE)
        end_reading(w, item, r == READ_GOOD ? &d : NULL);
}

bool walk_item_step(struct walk *w)
{
    while (w->reading_turn && w->item_next < w->item_count &&
           w->items[w->item_next].action != ACTION_READ)
        w->item_next++;
    if (w->item_next == w->item_count || w->read_since_write >= WRITE_AFTER)
        return false;
    struct walk_item *item = &w->items[w->item_next];
    if (w->reading_turn) {
        read_item(w, item);
    } else {
        look_at(w, item);
        w->item_next++;
    }
    return true;
}

/* Writes one item unless its record changed since it was compared. */
static int write_item(
    struct walk *w, struct manifest_txn *t, struct walk_item *item, struct err *err)
{
    struct record now;
    int found = manifest_get(t, w->job.dir, item->name, &now, err);
    if (found < 0)
        return -1;
    if (item->moved)
        return item->has_after ? manifest_put(t, w->job.dir, item->name, &item->after, err) : 0;
    if ((found == 1) != item->has_before || (found && !records_same(&now, &item->before))) {
        look_again(w, item);
        return 0;
    }
    if (walk_drift_note(w, t, w->job.dir, item, err) < 0)
        return -1;
    if (item->action == ACTION_PUT)
        return manifest_put(t, w->job.dir, item->name, &item->after, err);
    return manifest_delete(t, w->job.dir, item->name, err) < 0 ? -1 : 0;
}

static bool is_pending(const struct walk_item *item)
{
    return item->action == ACTION_PUT || item->action == ACTION_DELETE;
}

static bool is_moved(const struct walk_item *from, const struct walk_item *to)
{
    return from->action == ACTION_DELETE && from->has_before && from->before.dir &&
           to->action == ACTION_PUT && !to->has_before && to->after.entry.type == ENTRY_DIR &&
           from->before.validators.inode == to->after.validators.inode;
}

/* A directory that went and one that came with its inode are one: the records beneath move along.
 */
static int move_records(struct walk *w, struct manifest_txn *t, struct err *err)
{
    for (size_t i = 0; i < w->item_count; i++) {
        struct walk_item *from = &w->items[i];
        if (from->action != ACTION_DELETE || !from->before.dir)
            continue;
        for (size_t j = 0; j < w->item_count; j++) {
            struct walk_item *to = &w->items[j];
            if (!is_moved(from, to))
                continue;
            if (manifest_move(t, w->job.dir, from->name, w->job.dir, to->name, err) < 0)
                return -1;
            from->moved = to->moved = true;
            break;
        }
    }
    return 0;
}

static int write_items(struct walk *w, struct manifest_txn *t, struct err *err)
{
    int rc = manifest_dir_path(t, w->job.dir, w->path, &w->path_len, err);
    w->committed = COMMITTED_UNKNOWN;
    if (rc < 0 || (rc == 1 && w->o.find_moves && move_records(w, t, err) < 0))
        return -1;
    for (size_t i = 0; i < w->item_count; i++) {
        struct walk_item *item = &w->items[i];
        if (rc == 0)
            item->action = ACTION_NOTHING; /* the directory was deleted meanwhile */
        else if (is_pending(item) && write_item(w, t, item, err) != 0)
            return -1;
    }
    return 0;
}

/* Does the change matter to others, or is it between the walk and its manifest? */
static bool is_notable(const struct walk_item *item)
{
    const struct record *a = &item->before, *b = &item->after;
    if (!item->has_before || !item->has_after)
        return true;
    if (!entry_meta_equal(&a->entry, &b->entry) || !entry_owner_equal(&a->entry, &b->entry) ||
        ((a->flags ^ b->flags) & RECORD_COMMITTED))
        return true;
    if (a->entry.type != ENTRY_FILE)
        return false;
    if (a->entry.has_digest)
        return !b->entry.has_digest || !digest_equal(&a->entry.digest, &b->entry.digest);
    return !validators_equal(&a->validators, &b->validators);
}

static void tell(struct walk *w, const struct walk_item *item)
{
    if (w->hooks.changed && is_notable(item))
        w->hooks.changed(w->hooks.ctx, walk_path_of(w, item->name),
            item->has_before ? &item->before : NULL, item->has_after ? &item->after : NULL);
    if (item->has_after && item->after.dir)
        walk_found_dir(w, item->after.dir,
            !item->has_before || !item->before.dir ||
                item->before.validators.inode != item->after.validators.inode);
}

int walk_items_write(struct walk *w, struct err *err)
{
    struct manifest_txn *t;
    bool any = false;
    w->read_since_write = 0;
    for (size_t i = 0; i < w->item_count && !any; i++)
        any = is_pending(&w->items[i]);
    if (!any)
        return 0;
    if (manifest_begin(w->manifest, true, &t, err) != 0)
        return -1;
    if (write_items(w, t, err) != 0) {
        manifest_abort(t);
        return -1;
    }
    if (manifest_commit(t, err) != 0)
        return -1;
    for (size_t i = 0; i < w->item_count; i++) {
        struct walk_item *item = &w->items[i];
        if (!is_pending(item))
            continue;
        item->action = ACTION_NOTHING;
        tell(w, item);
    }
    return 0;
}

static int get_root_record(struct walk *w, struct walk_item *item, struct err *err)
{
    struct manifest_txn *t;
    uint64_t parent;
    if (manifest_begin(w->manifest, false, &t, err) != 0)
        return -1;
    struct record r;
    int rc = manifest_lookup(t, (struct bytes){0}, &r, &parent, err);
    item->has_before = rc == 1;
    if (rc == 1)
        item->before = walk_keep_record(w, &r);
    manifest_abort(t);
    return rc < 0 ? -1 : 0;
}

static int put_root_record(struct walk *w, struct walk_item *item, struct err *err)
{
    struct manifest_txn *t;
    if (manifest_begin(w->manifest, true, &t, err) != 0)
        return -1;
    w->committed = COMMITTED_UNKNOWN;
    if (walk_drift_note(w, t, MANIFEST_NO_DIR, item, err) < 0 ||
        manifest_put_root(t, &item->after, err) != 0) {
        manifest_abort(t);
        return -1;
    }
    if (manifest_commit(t, err) != 0)
        return -1;
    if (w->hooks.changed && is_notable(item))
        w->hooks.changed(w->hooks.ctx, (struct bytes){"", 0},
            item->has_before ? &item->before : NULL, &item->after);
    return 0;
}

int walk_root_record(struct walk *w, struct err *err)
{
    struct walk_item item = {.name = {"", 0}, .sight = SIGHT_ENTRY};
    struct entry e;
    arena_reset(&w->arena);
    if (get_root_record(w, &item, err) != 0)
        return -1;
    validators_clock(&item.seen);
    if (fstat(root_fd(w->root), &item.st) != 0)
        return err_sys(err, errno, "stat %s", root_path(w->root));
    if (entry_read(
            root_fd(w->root), "", &item.st, w->names, w->o.keep_special, &w->store, &e, err) != 0)
        return err_prefix(err, "%s", root_path(w->root));
    set_after(w, &item, &e);
    item.after.dir = MANIFEST_ROOT;
    if (stays_committed(w, &item))
        item.after.flags |= RECORD_COMMITTED;
    return item.has_before && records_same(&item.before, &item.after)
               ? 0
               : put_root_record(w, &item, err);
}
