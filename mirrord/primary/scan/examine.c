/*
 * A hint becomes the manifest's truth: what is at the path is read from the disk, beneath the
 * directory that the manifest knows, put into the manifest, and owed. Files and directories have
 * files of their own; here are the way to a path, what is gone, and links.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/scan/examine_impl.h"

enum {
    RUN_MAX = 256,   /* looks in one transaction */
    RUN_US = 4000,   /* and how long they may take */
    SWEEP_MS = 2000, /* after a directory was lost: are there watches of what was in it? */
    UNREADABLE_MS = 60000,
    TOLD_TRIES = 4,
    DOUBT_TRIES = 12, /* looks beneath a directory that is not what the manifest says */
};

enum examine_outcome examine_later(struct look *l, uint64_t ms)
{
    batch_postpone(l->s->batch, l->h, l->now + ms);
    return EXAMINE_LATER;
}

enum examine_outcome examine_backoff(struct look *l, uint64_t max_ms)
{
    unsigned shift = l->h->tries++;
    uint64_t ms = 5u << (shift < 16 ? shift : 16);
    return examine_later(l, ms < max_ms ? ms : max_ms);
}

enum examine_outcome examine_failed(struct look *l)
{
    err_prefix(&l->err, "%s", QUOTED(l->path, l->path_len));
    return EXAMINE_FAILED;
}

int examine_read(struct look *l)
{
    char name[PATH_NAME_MAX + 1] = "";
    int dirfd = l->dir ? l->fd : root_fd(l->s->site->root);
    if (l->dir)
        memcpy(name, l->name.data, l->name.len);
    return entry_read(dirfd, name, &l->st, l->s->scan->names, l->s->site->options.special_bits,
        &l->store, &l->entry, &l->err);
}

bool examine_same(const struct look *l)
{
    struct validators v = validators_of(&l->st);
    return l->known && validators_equal(&v, &l->record.validators) &&
           entry_meta_equal(&l->entry, &l->record.entry) &&
           entry_owner_equal(&l->entry, &l->record.entry);
}

void examine_links(struct look *l)
{
    if (l->h->flags & HINT_LINKED)
        return;
    if (l->known && l->record.validators.inode != l->st.st_ino)
        links_lost(l->s, l->record.validators.inode);
    if (l->st.st_nlink > 1)
        links_note(l->s, l->st.st_ino);
}

int examine_put(struct look *l, unsigned record_flags)
{
    if (l->known && l->record.entry.type == ENTRY_DIR && l->entry.type != ENTRY_DIR)
        examine_lost(l);
    struct record r = {
        .entry = l->entry,
        .validators = validators_of(&l->st),
        .flags = record_flags,
    };
    int done = l->dir ? manifest_put(l->t, l->dir, l->name, &r, &l->err)
                      : manifest_put_root(l->t, &r, &l->err);
    if (done == 0)
        l->record = r;
    l->put = true;
    return done;
}

/* The times of the directory need not wait any longer: they go together with what changed in it. */
static void hurry_parent(struct look *l)
{
    struct hint *above = batch_find(l->s->batch, (struct hint_key){l->dir, {0}});
    if (above && above->due_ms > l->now && above->tries == 0)
        batch_postpone(l->s->batch, above, l->now);
}

void examine_owe(struct look *l, unsigned owe_flags)
{
    bool dir = l->was_dir || l->entry.type == ENTRY_DIR;
    bool alone = unrest_is_hot(l->s->site->unrest, look_path(l));
    outbox_owe(
        &l->s->outbox, look_path(l), owe_flags | (dir ? OWE_DIR : 0) | (alone ? OWE_ALONE : 0));
    hurry_parent(l);
}

void examine_lost(struct look *l)
{
    if (!l->s->sweep_due_ms)
        l->s->sweep_due_ms = l->now + SWEEP_MS;
    rescan_note_lost(l->s, look_path(l));
}

/* What goes with a unit, or in one, is no loss of the site; the unit itself counts as one entry. */
static int excuse_unit(struct look *l)
{
    struct bytes key;
    struct msg_sums sums = {0};
    bool is_dir = l->record.entry.type == ENTRY_DIR;
    if (!unit_rules_match(l->s->site->options.units, look_path(l), is_dir, &key))
        return 0;
    if (is_dir && manifest_sums(l->t, l->record.dir, &sums, &l->err) < 0)
        return -1;
    bool itself = bytes_equal(key, look_path(l));
    loss_excuse(&l->s->site->loss, sums.entries + !itself);
    return 0;
}

enum examine_outcome examine_gone(struct look *l)
{
    bool is_dir = l->known && l->record.entry.type == ENTRY_DIR;
    if ((l->h->flags & HINT_LEFT) && l->now < l->h->last_ms + SCAN_PAIR_MS)
        return examine_later(l, l->h->last_ms + SCAN_PAIR_MS - l->now);
    if (l->known) {
        if (!l->root_checked && !root_in_place(l->s->site->root))
            return EXAMINE_HELD;
        l->root_checked = true;
        if (excuse_unit(l) < 0 || manifest_delete(l->t, l->dir, l->name, &l->err) < 0)
            return examine_failed(l);
        l->put = true;
        if (is_dir)
            examine_lost(l);
        else
            links_lost(l->s, l->record.validators.inode);
    }
    if (l->known || (l->h->flags & HINT_OWE))
        examine_owe(l, is_dir ? OWE_SUBTREE : 0);
    return EXAMINE_DONE;
}

static enum examine_outcome examine_link(struct look *l)
{
    bool same = examine_same(l);
    if (same && !(l->h->flags & HINT_OWE))
        return EXAMINE_DONE;
    if (!same)
        examine_links(l);
    if (!same && examine_put(l, 0) < 0)
        return examine_failed(l);
    examine_owe(l, 0);
    return EXAMINE_DONE;
}

static enum examine_outcome examine_root(struct look *l)
{
    if (fstat(root_fd(l->s->site->root), &l->st) < 0 || examine_read(l) != 0)
        return examine_backoff(l, UNREADABLE_MS);
    if (examine_same(l))
        return EXAMINE_DONE;
    if (examine_put(l, 0) < 0)
        return examine_failed(l);
    examine_owe(l, 0);
    return EXAMINE_DONE;
}

/* What should be above is not there, or is another directory: that one is looked at first. */
static enum examine_outcome examine_doubtful(struct look *l)
{
    struct hint_key key = {l->dir, {0}};
    struct hint *above = batch_find(l->s->batch, key);
    if (!above || above->tries == 0) /* before all else, but once: it may have to wait itself */
        batch_add(l->s->batch, key, HINT_META, l->h->last_ms, 0);
    if (l->h->tries < DOUBT_TRIES)
        return examine_backoff(l, 1000);
    if (!l->s->whole)
        log_info("%s: %s is not beneath the directory that was known: looking through the whole "
                 "site",
            l->s->site->label, QUOTED(l->path, l->path_len));
    rescan_start(l->s, false);
    return EXAMINE_DONE;
}

static enum examine_outcome examine_unknown(struct look *l, int errnum, const char *what)
{
    if (l->h->tries == TOLD_TRIES) /* by then it is not just being renamed */
        log_warn("%s: %s: %s: %s", l->s->site->label, QUOTED(l->path, l->path_len), what,
            strerror(errnum));
    return examine_backoff(l, UNREADABLE_MS);
}

static bool not_there(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == EXDEV;
}

/* Opens the directory above and sees that it is the one that the manifest knows. */
static enum examine_outcome open_above(struct look *l)
{
    struct stat st;
    l->fd = root_open_dir(l->s->site->root, path_parent(look_path(l)));
    int failed = l->fd < 0 ? errno : 0;
    if (failed == EACCES)
        unreadable_note(l->s, path_parent(look_path(l)));
    if (failed)
        return not_there(failed) ? examine_doubtful(l)
                                 : examine_unknown(l, failed, "open the directory above");
    if (fstat(l->fd, &st) < 0)
        return examine_unknown(l, errno, "stat of the directory above");
    return st.st_ino == l->above_inode ? EXAMINE_DONE : examine_doubtful(l);
}

static enum examine_outcome look_at(struct look *l)
{
    char name[PATH_NAME_MAX + 1] = "";
    memcpy(name, l->name.data, l->name.len);
    validators_clock(&l->seen);
    if (fstatat(l->fd, name, &l->st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? examine_gone(l) : examine_unknown(l, errno, "stat");
    if (filter_excludes(l->s->site->filter, look_path(l), S_ISDIR(l->st.st_mode)))
        return examine_gone(l);
    int kind = examine_read(l);
    if (kind < 0 && (l->err.sys == ENOENT || l->err.sys == EINVAL))
        return examine_later(l, 1);
    if (kind < 0)
        return examine_unknown(l, l->err.sys, "read its attributes");
    if (kind > 0)
        return examine_gone(l);
    return l->entry.type == ENTRY_DIR    ? examine_dir(l)
           : l->entry.type == ENTRY_FILE ? examine_file(l)
                                         : examine_link(l);
}

/* From the hint's key to a path and what the manifest has there. 1; 0 when the directory is no
 * longer in the manifest (its own hint, or that of the place where it is now, says the rest). */
static int locate(struct look *l)
{
    const struct hint_key *key = &l->h->key;
    struct record above;
    size_t len;
    int found = manifest_dir_path(l->t, key->dir, l->path, &len, &l->err);
    if (found <= 0)
        return found;
    if (key->name.len) {
        if (len + 1 + key->name.len > PATH_TOTAL_MAX)
            return 0;
        if (len)
            l->path[len++] = '/';
        memcpy(l->path + len, key->name.data, key->name.len);
        len += key->name.len;
    }
    l->path[len] = '\0';
    l->path_len = len;
    l->name = path_name(look_path(l));
    l->dir = 0;
    if (len > 0) {
        found = manifest_lookup(l->t, path_parent(look_path(l)), &above, &l->dir, &l->err);
        if (found <= 0)
            return found;
        l->above_inode = above.validators.inode;
    }
    found = manifest_lookup(l->t, look_path(l), &l->record, &l->dir, &l->err);
    l->known = found > 0;
    l->was_dir = l->known && l->record.entry.type == ENTRY_DIR;
    l->entry = (struct entry){0};
    l->put = false;
    return found < 0 ? -1 : 1;
}

/* Its unit is told that something has changed in it, or that something happened of which it cannot
 * be said yet what it was. */
static void stir_unit(struct look *l, enum examine_outcome outcome)
{
    struct unrest *unrest = l->s->site->unrest;
    bool news = outcome == EXAMINE_LATER && (l->h->flags & HINT_EVENTS) &&
                l->h->last_ms != l->h->stirred_ms;
    if (!news && !l->put)
        return;
    l->h->stirred_ms = l->h->last_ms;
    if (l->put && l->was_dir && l->entry.type != ENTRY_DIR)
        unrest_stir_beneath(unrest, look_path(l), l->h->last_ms);
    if (l->put)
        unrest_note_change(unrest, look_path(l), l->now, l->s->settle.open);
    unrest_stir(unrest, look_path(l), l->was_dir || l->entry.type == ENTRY_DIR, l->h->last_ms);
}

/* The look of one that keeps changing waits for its turn. */
static bool too_hot(struct look *l)
{
    uint64_t pause = unrest_is_hot(l->s->site->unrest, look_path(l))
                         ? unrest_hot_pause(l->s->site->unrest, look_path(l), l->now)
                         : 0;
    if (pause)
        examine_later(l, pause);
    return pause > 0;
}

static enum examine_outcome examine_one(struct look *l)
{
    int located = locate(l);
    if (located < 0)
        return examine_failed(l);
    if (located == 0)
        return EXAMINE_DONE;
    if (l->path_len == 0)
        return examine_root(l);
    if (too_hot(l))
        return EXAMINE_LATER;
    enum examine_outcome outcome = open_above(l);
    if (outcome == EXAMINE_DONE)
        outcome = look_at(l);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    stir_unit(l, outcome);
    return outcome;
}

static enum examine_outcome examine_due(struct look *l)
{
    uint64_t end = io_now_us() + RUN_US;
    enum examine_outcome outcome = EXAMINE_DONE;
    for (unsigned n = 0; n < RUN_MAX && io_now_us() < end && outcome <= EXAMINE_LATER; n++) {
        l->now = io_now_ms();
        l->h = batch_due(l->s->batch, l->now);
        if (!l->h)
            break;
        outcome = examine_one(l);
        if (outcome == EXAMINE_DONE)
            batch_remove(l->s->batch, l->h);
    }
    return outcome;
}

void examine_run(struct scan_site *s)
{
    if (!batch_due(s->batch, io_now_ms()))
        return;
    struct look *l CLEANUP_FREE = mem_alloc(sizeof *l);
    l->s = s;
    l->fd = -1;
    if (manifest_begin(s->site->manifest, true, &l->t, &l->err) < 0) {
        scan_trouble(s, &l->err);
        return;
    }
    enum examine_outcome outcome = examine_due(l);
    if (outcome <= EXAMINE_LATER && manifest_commit(l->t, &l->err) == 0)
        return;
    if (outcome > EXAMINE_LATER)
        manifest_abort(l->t);
    outbox_clear(&s->outbox);
    if (outcome == EXAMINE_HELD)
        scan_hold(s, SCAN_HELD,
            "the root %s is not the directory that it was: nothing is deleted while it is missing, "
            "unmounted or replaced",
            root_path(s->site->root));
    else
        scan_trouble(s, &l->err);
}
