/* A chunk of names: what the disk says, then what the manifest says, merged in order. The disk is
 * asked first, so that the transaction reads memory only. Finds that something differs, not what.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "tree/walk/walk_impl.h"

static enum walk_sight skip(struct walk *w, struct bytes path, const char *why)
{
    w->counts.skipped++;
    if (w->hooks.skipped)
        w->hooks.skipped(w->hooks.ctx, path, why);
    return SIGHT_OUTSIDE;
}

static const char *kind_of(mode_t mode)
{
    return S_ISFIFO(mode) ? "FIFO" : S_ISSOCK(mode) ? "socket" : "device";
}

static enum walk_sight stat_failed(struct walk *w, struct bytes path, int errnum)
{
    struct err why;
    if (errnum == ENOENT)
        return SIGHT_GONE;
    err_sys(&why, errnum, "stat");
    walk_unreadable(w, path, &why);
    return SIGHT_UNKNOWN;
}

static enum walk_sight is_mounted(struct walk *w, struct bytes path)
{
    struct err why;
    err_set(&why, ERR_FAILED, "is a mount point");
    if (w->o.mounts)
        mounts_note(w->o.mounts, path);
    walk_unreadable(w, path, &why);
    return SIGHT_UNKNOWN;
}

/* What is beneath was not deleted: it cannot be seen. */
static enum walk_sight was_mounted(struct walk *w, struct bytes path)
{
    struct err why;
    err_set(&why, ERR_FAILED,
        "is a mount point whose volume is not mounted (if it is meant to be so, resync --force)");
    walk_unreadable(w, path, &why);
    return SIGHT_UNKNOWN;
}

static bool excluded(struct walk *w, struct bytes path, bool is_dir)
{
    if (!filter_excludes(w->filter, path, is_dir))
        return false;
    if (!path_is_reserved(path_name(path)))
        w->counts.excluded++;
    return true;
}

/* What is known of a name of the listing already, or is asked for now. */
static const struct walk_glance *glance_of(
    struct walk *w, size_t index, struct walk_glance *scratch)
{
    if (index < w->found.count && w->found.glances[index].error >= 0)
        return &w->found.glances[index];
    walk_glance_at(w->found.fd, w->found.listing.names[index].name, scratch);
    return scratch;
}

static enum walk_sight look(struct walk *w, size_t index, struct stat *st)
{
    const struct listing_name *n = &w->found.listing.names[index];
    struct walk_glance scratch;
    bool hinted = n->type != DT_UNKNOWN;
    if (n->len > PATH_NAME_MAX)
        return skip(w, (struct bytes){n->name, n->len}, "name too long");
    struct bytes path = walk_path_of(w, (struct bytes){n->name, n->len});
    if (path.len > PATH_TOTAL_MAX)
        return skip(w, path, "path too long");
    if (hinted && excluded(w, path, n->type == DT_DIR))
        return SIGHT_OUTSIDE;
    const struct walk_glance *g = glance_of(w, index, &scratch);
    if (g->error)
        return stat_failed(w, path, g->error);
    *st = g->st;
    bool is_dir = S_ISDIR(st->st_mode);
    if ((!hinted || is_dir != (n->type == DT_DIR)) && excluded(w, path, is_dir))
        return SIGHT_OUTSIDE;
    /* Files of overlayfs may show the device of a layer. */
    if (g->is_mount || (is_dir && st->st_dev != w->device))
        return is_mounted(w, path);
    if (is_dir && mounts_has(w->o.mounts, path))
        return was_mounted(w, path);
    if (!is_dir && !S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode))
        return skip(w, path, kind_of(st->st_mode));
    return SIGHT_ENTRY;
}

static void count(struct walk *w, const struct stat *st)
{
    if (w->rounds > 0)
        return;
    w->counts.entries++;
    w->counts.directories += S_ISDIR(st->st_mode);
    if (S_ISREG(st->st_mode)) {
        w->counts.files++;
        w->counts.bytes += (uint64_t)st->st_size;
    }
}

struct bytes walk_keep(struct walk *w, struct bytes b)
{
    return b.len ? (struct bytes){arena_copy(&w->arena, b.data, b.len), b.len} : b;
}

struct record walk_keep_record(struct walk *w, const struct record *r)
{
    struct record copy = *r;
    copy.entry.owner = walk_keep(w, r->entry.owner);
    copy.entry.group = walk_keep(w, r->entry.group);
    copy.entry.target = walk_keep(w, r->entry.target);
    copy.entry.acl = walk_keep(w, r->entry.acl);
    copy.entry.default_acl = walk_keep(w, r->entry.default_acl);
    return copy;
}

static struct walk_item *add_item(
    struct walk *w, struct bytes name, enum walk_sight sight, const struct record *before)
{
    if (w->item_count == w->item_room) {
        w->item_room = w->item_room ? w->item_room * 2 : 16;
        w->items = mem_resize(w->items, w->item_room, sizeof *w->items);
    }
    struct walk_item *item = &w->items[w->item_count++];
    *item = (struct walk_item){.sight = sight, .has_before = before != NULL};
    char *copy = arena_copy(&w->arena, name.data, name.len);
    arena_copy(&w->arena, "", 1);
    item->name = (struct bytes){copy, name.len};
    if (before)
        item->before = walk_keep_record(w, before);
    return item;
}

/* Nothing to do for a name whose record is proven by its validators. */
static bool is_settled(const struct walk *w, const struct record_front *f, const struct stat *st)
{
    struct validators v = validators_of(st);
    bool is_file = f->type == ENTRY_FILE;
    bool read_anyway = is_file && (w->o.checksum || (w->o.prove && !f->has_digest) ||
                                      (w->o.since && v.ctime >= w->o.since));
    return validators_equal(&v, &f->validators) && !(f->flags & RECORD_RACY) && !read_anyway &&
           (f->type == ENTRY_DIR) == S_ISDIR(st->st_mode);
}

static void pass_settled(struct walk *w, const struct record_front *f, const struct stat *st)
{
    count(w, st);
    if (f->dir)
        walk_found_dir(w, f->dir, false);
}

static void meet(struct walk *w, struct bytes name, const struct walk_seen *seen,
    const struct timespec *now, const struct record *r)
{
    if (seen->sight == SIGHT_UNKNOWN || (seen->sight != SIGHT_ENTRY && !r))
        return;
    if (seen->sight != SIGHT_ENTRY) {
        add_item(w, name, seen->sight, r);
        return;
    }
    count(w, &seen->st);
    struct walk_item *item = add_item(w, name, SIGHT_ENTRY, r);
    item->st = seen->st;
    item->seen = *now;
}

static struct bytes name_at(const struct walk *w, size_t i)
{
    return (struct bytes){w->found.listing.names[i].name, w->found.listing.names[i].len};
}

/* Single names: each against its own record. */
static int compare_names(
    struct walk *w, struct manifest_txn *t, size_t n, const struct timespec *now, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct record r = {0};
        struct bytes name = name_at(w, w->next + i);
        int found = manifest_get(t, w->job.dir, name, &r, err);
        if (found < 0)
            return -1;
        const struct record_front f = {.validators = r.validators,
            .dir = r.dir,
            .flags = r.flags,
            .type = r.entry.type,
            .has_digest = r.entry.has_digest};
        if (found && w->seen[i].sight == SIGHT_ENTRY && is_settled(w, &f, &w->seen[i].st))
            pass_settled(w, &f, &w->seen[i].st);
        else
            meet(w, name, &w->seen[i], now, found ? &r : NULL);
    }
    w->next += n;
    return 0;
}

/* The records behind `after`, one at a time. */
struct records {
    struct bytes name;
    struct record_front front;
    int found; /* 1, 0 at the end, -1 */
};

/* Names and records are taken in order, so this is always the greatest name so far. */
static void set_after(struct walk *w, struct bytes name)
{
    memcpy(w->after, name.data, name.len);
    w->after_len = name.len;
}

static void next_record(struct walk *w, struct manifest_txn *t, struct records *r, struct err *err)
{
    struct bytes after = {w->after, w->after_len};
    r->found = manifest_next_front(t, w->job.dir, after, &r->name, &r->front, err);
}

/* A name that was seen and has a record. 0 or -1. */
static int meet_record(struct walk *w, struct manifest_txn *t, const struct records *r,
    const struct walk_seen *seen, const struct timespec *now, struct err *err)
{
    struct record record;
    if (seen->sight == SIGHT_ENTRY && is_settled(w, &r->front, &seen->st)) {
        pass_settled(w, &r->front, &seen->st);
        return 0;
    }
    if (manifest_unfold(t, &r->front, &record, err) < 0)
        return -1;
    meet(w, r->name, seen, now, &record);
    return 0;
}

/* Merges the chunk with the records up to its last name, or all that are left when it is the last.
 * Stops early when there are enough items; the rest is for the next call. */
static int compare_range(
    struct walk *w, struct manifest_txn *t, size_t n, const struct timespec *now, struct err *err)
{
    static const struct walk_seen gone = {.sight = SIGHT_GONE};
    bool last = w->next + n == w->found.listing.count;
    struct records r = {0};
    size_t i = 0;
    next_record(w, t, &r, err);
    while (r.found >= 0 && w->item_count < WALK_ITEMS_MAX) {
        bool no_name = i == n;
        if (no_name && (r.found == 0 || !last))
            break;
        int order = no_name        ? 1
                    : r.found == 0 ? -1
                                   : bytes_compare(name_at(w, w->next + i), r.name);
        struct bytes name = order > 0 ? r.name : name_at(w, w->next + i);
        if (order < 0)
            meet(w, name, &w->seen[i], now, NULL);
        else if (meet_record(w, t, &r, order > 0 ? &gone : &w->seen[i], now, err) < 0)
            return -1;
        i += order <= 0;
        if (name.len <= PATH_NAME_MAX)
            set_after(w, name);
        if (order >= 0)
            next_record(w, t, &r, err);
    }
    w->next += i;
    return r.found < 0 ? -1 : w->item_count >= WALK_ITEMS_MAX;
}

int walk_compare(struct walk *w, struct err *err)
{
    struct manifest_txn *t;
    struct timespec now;
    size_t left = w->found.listing.count - w->next, n = left < WALK_CHUNK ? left : WALK_CHUNK;
    arena_reset(&w->arena);
    w->item_count = w->item_next = 0;
    w->reading_turn = false;
    if (!w->seen)
        w->seen = mem_array(WALK_CHUNK, sizeof *w->seen);
    now = w->found.began;
    if (w->next >= w->found.count)
        validators_clock(&now);
    for (size_t i = 0; i < n; i++)
        w->seen[i].sight = look(w, w->next + i, &w->seen[i].st);
    if (manifest_begin(w->manifest, false, &t, err) != 0)
        return -1;
    int rc = manifest_dir_path(t, w->job.dir, w->path, &w->path_len, err);
    if (rc == 1)
        rc = w->names_only ? compare_names(w, t, n, &now, err) : compare_range(w, t, n, &now, err);
    else if (rc == 0)
        w->next = w->found.listing.count; /* the directory was deleted meanwhile */
    manifest_abort(t);
    return rc < 0 ? -1 : rc == 1 || w->next < w->found.listing.count;
}
