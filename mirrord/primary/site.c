/* A site as its primary sees it; see site.h. Opening and closing only: who scans it and who pushes
 * it live elsewhere. */
#include "primary/site.h"

#include "primary/sessions.h"

#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/state/epochs.h"
#include "tree/state/rootid.h"

enum { LOCK_WAIT_MS = 3000 };

/* After a power loss the manifest may be damaged in any way. It is a cache: it is built anew. */
static int open_mark(struct site *s, struct err *err)
{
    int verdict = mark_begin(state_fd(s->state), false, &s->mark, err);
    if (verdict < 0)
        return err_prefix(err, "%s", state_path(s->state));
    s->lost = verdict == MARK_LOST && s->mark.since;
    if (s->lost)
        log_warn("%s: the machine went down without a clean end: the manifest is rebuilt",
            root_path(s->root));
    s->mark.since = 0; /* what the tree holds is the truth, whatever was lost of it */
    if (verdict == MARK_LOST && manifest_discard(state_manifest_dir(s->state), err) < 0)
        return -1;
    s->sessions = sessions_new(state_fd(s->state), &s->mark);
    return mark_write(state_fd(s->state), &s->mark, err);
}

/* The next opening may rely on the manifest, whatever happens to the machine until then. */
static void close_mark(struct site *s)
{
    struct err why;
    if (!s->manifest || manifest_sync(s->manifest, &why) < 0)
        return;
    sessions_close(s->sessions);
    s->mark.state = MARK_CLEAN;
    if (mark_write(state_fd(s->state), &s->mark, &why) < 0)
        log_warn("%s: %s", state_path(s->state), why.text);
}

/* The first opening says which directory it is. */
static int keep_root(struct site *s, const struct site_options *o, struct err *err)
{
    struct rootid now, before;
    if (rootid_of(root_fd(s->root), &now, err) < 0)
        return -1;
    int kept = rootid_read(state_fd(s->state), &before, err);
    if (kept < 0 || (kept == 1 && rootid_equal(&now, &before)))
        return kept < 0 ? -1 : 0;
    if (kept == 1 && !o->accept_root)
        return err_set(err, ERR_REFUSED,
            "%s is another directory than the one that was mirrored before: it was replaced, or "
            "its volume is not mounted. Nothing is sent or deleted; if it is meant to be so, use "
            "--force",
            root_path(s->root));
    return o->dry_run ? 0 : rootid_write(state_fd(s->state), &now, err);
}

static int open_root(struct site *s, const struct site_options *o, struct err *err)
{
    struct stat st;
    if (root_open(o->root, &s->root, err) == 0)
        return 0;
    if (o->keep_root && lstat(o->root, &st) < 0 && errno == ENOENT)
        err->code = ERR_REFUSED;
    return -1;
}

/* The stored role stands above the configuration; a clone has another's. */
static int check_role(struct site *s, struct err *err)
{
    struct digest self;
    const struct epoch *e = &s->epoch;
    if (e->role == ROLE_CONFIGURED)
        return 0;
    if (e->role != ROLE_PRIMARY)
        return err_set(err, ERR_REFUSED, "%s is the primary of it (epoch %llu), not this host",
            e->primary, (unsigned long long)e->counter);
    if (state_host_id(s->options.state_dir, &self, err) < 0)
        return -1;
    return digest_equal(&self, &e->id) ? 0
                                       : err_set(err, ERR_REFUSED,
                                             "the state here is another host's: mirrord promote "
                                             "makes this one the primary");
}

static int open_parts(struct site *s, const struct site_options *o, struct err *err)
{
    struct digest owner = {0}, filter;
    if (open_root(s, o, err) < 0)
        return -1;
    int r = state_open(o->state_dir, root_path(s->root), &owner, LOCK_WAIT_MS, &s->state, err);
    if (r != 0)
        return r;
    if (o->keep_root && keep_root(s, o, err) < 0)
        return -1;
    if (open_mark(s, err) < 0)
        return -1;
    if (epoch_of(o->state_dir, root_path(s->root), &s->epoch, err) < 0 || check_role(s, err) < 0)
        return -1;
    s->mounts = mounts_load(state_fd(s->state));
    if (o->accept_root)
        mounts_forget_all(s->mounts);
    filter_digest(s->filter, &filter);
    return manifest_open(state_manifest_dir(s->state), &filter, &s->manifest, &s->fresh, err);
}

int site_open(const struct site_options *o, struct site **out, struct err *err)
{
    struct site *s = mem_alloc(sizeof *s);
    atomic_init(&s->refs, 1);
    loss_init(&s->loss);
    s->name = mem_copy_string(o->name);
    s->filter = filter_copy(o->filter);
    s->options = *o;
    s->options.name = s->name;
    s->options.root = mem_copy_string(o->root);
    s->label = s->name[0] ? s->name : s->options.root;
    s->options.state_dir = mem_copy_string(o->state_dir);
    s->options.filter = s->filter;
    s->options.units = unit_rules_copy(o->units);
    s->unrest = unrest_new(s->options.units);
    int r = open_parts(s, o, err);
    if (r != 0) {
        site_unref(s);
        return r;
    }
    *out = s;
    return 0;
}

bool site_root_is_back(const struct site *s)
{
    struct rootid now, before;
    struct err ignored;
    int fd CLEANUP_FD = open(s->options.root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && !root_in_place(s->root) && rootid_of(fd, &now, &ignored) == 0 &&
           rootid_read(state_fd(s->state), &before, &ignored) == 1 && rootid_equal(&now, &before);
}

static void keep_epoch(struct site *s, const struct msg_site_error *m)
{
    struct err why;
    struct epoch now, e = {.counter = m->epoch, .id = m->epoch_id, .role = ROLE_FENCED};
    snprintf(
        e.primary, sizeof e.primary, "%.*s", (int)m->primary.len, (const char *)m->primary.data);
    int dir CLEANUP_FD = epochs_open(s->options.state_dir, root_path(s->root), true, &why);
    int lock CLEANUP_FD = dir < 0 ? -1 : epoch_lock(dir, &why);
    if (lock < 0 || epoch_read(dir, &now, &why) < 0 ||
        (now.counter < e.counter && epoch_is_near(&now, e.counter) &&
            epoch_write(dir, &e, &why) < 0))
        log_error("%s: %s", s->name, why.text);
}

void site_fence(struct site *s, const struct msg_site_error *m)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&once);
    if (!s->fenced) {
        snprintf(s->fenced_why, sizeof s->fenced_why, "%s", QUOTED(m->text.data, m->text.len));
        log_error("%s: %s: nothing is sent from here any more", s->name, s->fenced_why);
        if (!s->options.dry_run)
            keep_epoch(s, m);
        s->fenced = true;
    }
    pthread_mutex_unlock(&once);
}

struct deletions_limit site_limit(const struct site *s)
{
    return (struct deletions_limit){s->options.max_delete_percent, s->options.max_delete_count};
}

bool site_is_pending(const struct site *s)
{
    return s->hooks.pending && s->hooks.pending(s->hooks.ctx, s);
}

struct site *site_ref(struct site *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void site_unref(struct site *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    close_mark(s);
    mounts_free(s->mounts);
    walked_free(s->walked);
    sessions_free(s->sessions);
    loss_free(&s->loss);
    manifest_close(s->manifest);
    state_close(s->state);
    root_close(s->root);
    filter_free(s->filter);
    unrest_free(s->unrest);
    unit_rules_free((struct unit_rules *)s->options.units);
    free((char *)s->options.root);
    free((char *)s->options.state_dir);
    free(s->name);
    free(s);
}

typedef void part_fn(void *ctx, uint64_t dir, struct bytes path, const struct record *r);

static int each_part(struct site *s, struct manifest_txn *t, struct bytes unit, part_fn *part,
    void *ctx, struct err *err)
{
    char path[PATH_TOTAL_MAX + PATH_NAME_MAX + 2];
    struct bytes parent = unit_rules_parent(s->options.units, unit), name = {0}, key;
    struct record r = {0};
    uint64_t above, dir = MANIFEST_ROOT;
    size_t at = parent.len ? parent.len + 1 : 0;
    int found = manifest_lookup(t, parent, &r, &above, err);
    if (parent.len)
        dir = r.dir;
    memcpy(path, parent.data, parent.len);
    path[parent.len] = '/';
    while (found > 0 && (found = manifest_next(t, dir, name, &name, &r, err)) > 0) {
        memcpy(path + at, name.data, name.len);
        struct bytes whole = {path, at + name.len};
        if (unit_rules_match(s->options.units, whole, true, &key) && bytes_equal(key, unit))
            part(ctx, dir, whole, &r);
    }
    return found < 0 ? -1 : 0;
}

static int the_directory(
    struct manifest_txn *t, struct bytes unit, part_fn *part, void *ctx, struct err *err)
{
    struct record r;
    uint64_t above = 0;
    int found = manifest_lookup(t, unit, &r, &above, err);
    if (found >= 0 && above)
        part(ctx, above, unit, found > 0 ? &r : NULL);
    return found < 0 ? -1 : 0;
}

int site_unit_parts(struct site *s, struct bytes unit, part_fn *part, void *ctx, struct err *err)
{
    struct manifest_txn *t;
    struct bytes key;
    if (manifest_begin(s->manifest, false, &t, err) < 0)
        return -1;
    bool one = unit_rules_match(s->options.units, unit, true, &key) && bytes_equal(key, unit);
    int r = one ? the_directory(t, unit, part, ctx, err) : each_part(s, t, unit, part, ctx, err);
    manifest_abort(t);
    return r;
}
