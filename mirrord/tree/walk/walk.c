/*
 * The walk's way through the tree; see walk.h and walk_impl.h. A stack of directory numbers instead
 * of recursion, one directory open at a time, each a named state that does a piece of work.
 */
#include "tree/walk/walk.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/walk/walk_impl.h"

enum {
    ROUNDS_MAX = 3,     /* for names that change while they are looked at */
    ITEMS_RUN = 4,      /* between two looks at the clock */
    RETRIES_MAX = 1000, /* for directories that are gone when they are opened */
};

struct walk *walk_new(struct root *root, struct manifest *m, const struct filter *f,
    struct names *names, struct bytes top, const struct walk_options *o, const struct walk_hooks *h)
{
    struct walk *w = mem_alloc(sizeof *w);
    w->root = root;
    w->manifest = m;
    w->filter = f;
    w->names = names;
    w->top = mem_copy_bytes(top.data, top.len);
    w->top_len = top.len;
    if (o)
        w->o = *o;
    if (h)
        w->hooks = *h;
    w->found.fd = w->reading.fd = -1;
    return w;
}

static void close_directory(struct walk *w)
{
    walk_read_stop(w);
    walk_sighting_end(&w->found);
    free(w->job.name);
    w->job = (struct walk_job){0};
}

void walk_free(struct walk *w)
{
    if (!w)
        return;
    close_directory(w);
    while (w->job_count > 0)
        free(w->jobs[--w->job_count].name);
    walk_ahead_free(w->ahead);
    digest_stream_free(w->reading.stream);
    free(w->reading.buf);
    walk_sighting_free(&w->found);
    listing_free(&w->again);
    arena_free(&w->arena);
    free(w->jobs);
    free(w->seen);
    free(w->items);
    free(w->top);
    free(w);
}

const struct walk_counts *walk_counts(const struct walk *w)
{
    return &w->counts;
}

struct bytes walk_path_of(struct walk *w, struct bytes name)
{
    size_t at = w->path_len;
    if (at > 0)
        w->path[at++] = '/';
    memcpy(w->path + at, name.data, name.len);
    w->path[at + name.len] = '\0';
    return (struct bytes){w->path, at + name.len};
}

void walk_unreadable(struct walk *w, struct bytes path, const struct err *why)
{
    w->counts.unreadable++;
    if (w->hooks.unreadable)
        w->hooks.unreadable(w->hooks.ctx, path, why);
}

static void push(struct walk *w, uint64_t dir, const char *name, bool existing, bool deep)
{
    if (w->job_count == w->job_room) {
        w->job_room = w->job_room ? w->job_room * 2 : 64;
        w->jobs = mem_resize(w->jobs, w->job_room, sizeof *w->jobs);
    }
    w->jobs[w->job_count++] = (struct walk_job){
        .dir = dir, .name = mem_copy_string(name), .existing = existing, .deep = deep};
}

void walk_found_dir(struct walk *w, uint64_t dir, bool is_new)
{
    if (is_new)
        push(w, dir, NULL, true, true);
    else if (w->job.existing)
        push(w, dir, NULL, w->job.deep, w->job.deep);
}

/* The path as a job for the one name in the directory above; nothing when that is not known. */
static int push_name(struct walk *w, struct bytes path, bool deep, struct err *err)
{
    struct manifest_txn *t;
    struct record r;
    uint64_t parent = 0;
    if (manifest_begin(w->manifest, false, &t, err) != 0)
        return -1;
    int rc = manifest_lookup(t, path, &r, &parent, err);
    manifest_abort(t);
    if (rc < 0)
        return -1;
    struct bytes last = path_name(path);
    char *name CLEANUP_FREE = mem_copy_bytes(last.data, last.len);
    if (parent != 0)
        push(w, parent, name, true, deep);
    return 0;
}

static int start(struct walk *w, struct err *err)
{
    struct stat st;
    bool deep = !w->o.shallow;
    w->state = STATE_NEXT;
    if (fstat(root_fd(w->root), &st) != 0)
        return err_sys(err, errno, "stat %s", root_path(w->root));
    w->device = st.st_dev;
    if (w->top_len > 0)
        return push_name(w, (struct bytes){w->top, w->top_len}, deep, err);
    if (walk_root_record(w, err) != 0)
        return -1;
    push(w, MANIFEST_ROOT, NULL, deep, deep);
    return 0;
}

static struct bytes directory_path(const struct walk *w)
{
    return (struct bytes){w->path, w->path_len};
}

/* A directory cannot be opened. Where it is gone, or is none any more, its name in the directory
 * above is looked at again; anything else leaves what the manifest has. */
static int open_failed(struct walk *w, int errnum, struct err *err)
{
    struct err why;
    if (w->path_len == 0)
        return err_sys(err, errnum, "open %s", root_path(w->root));
    bool gone = errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP;
    if (gone && w->retries++ < RETRIES_MAX)
        return push_name(w, directory_path(w), w->job.existing, err);
    if (errnum == EXDEV)
        err_set(&why, ERR_FAILED, "is a mount point");
    else
        err_sys(&why, errnum, "open");
    walk_unreadable(w, directory_path(w), &why);
    return 0;
}

static void begin_compare(struct walk *w, bool names_only)
{
    w->names_only = names_only;
    w->next = w->after_len = 0;
    w->state = STATE_COMPARE;
}

/* The directory is open: fills the listing, unless it was `seen` already. */
static int enter(struct walk *w, bool seen, struct err *err)
{
    struct stat st;
    w->rounds = 0;
    listing_clear(&w->again);
    if (fstat(w->found.fd, &st) != 0 || st.st_dev != w->device)
        return open_failed(w, EXDEV, err);
    if (w->job.name) {
        listing_clear(&w->found.listing);
        listing_add(&w->found.listing, w->job.name, strlen(w->job.name), 0);
        listing_seal(&w->found.listing);
        begin_compare(w, true);
        return 0;
    }
    if (w->hooks.enter)
        w->hooks.enter(w->hooks.ctx, w->job.dir, directory_path(w), w->found.fd);
    if (!seen && walk_list(w->found.fd, &w->found.listing) != 0)
        w->found.error = errno;
    if (w->found.error) {
        struct err why;
        err_sys(&why, w->found.error, "list");
        if (w->path_len == 0)
            return err_set(err, why.code, "%s: %s", root_path(w->root), why.text);
        walk_unreadable(w, directory_path(w), &why);
        return 0;
    }
    begin_compare(w, false);
    return 0;
}

static bool goes_ahead(struct walk *w)
{
    if (w->ahead || !w->o.ahead || w->hooks.enter || w->job_count < w->o.ahead)
        return w->ahead;
    w->ahead = walk_ahead_new(w->root, w->filter);
    if (!w->ahead)
        w->o.ahead = 0;
    return w->ahead;
}

/* Lets the second thread begin on what comes next. */
static int offer_next(struct walk *w, struct manifest_txn *t, struct err *err)
{
    if (!goes_ahead(w))
        return 0;
    for (size_t i = w->job_count; i-- > 0 && !w->jobs[i].offered;) {
        struct walk_job *job = &w->jobs[i];
        if (job->name)
            continue;
        int rc = manifest_dir_path(t, job->dir, w->path, &w->path_len, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            continue;
        job->offered = walk_ahead_offer(w->ahead, job->dir, directory_path(w), i);
        if (!job->offered)
            return 0;
    }
    return 0;
}

/* The next job's directory: 1 with its path, 0 when the manifest has it no more, -1. */
static int take_job(struct walk *w, struct err *err)
{
    struct manifest_txn *t;
    w->job = w->jobs[--w->job_count];
    if (manifest_begin(w->manifest, false, &t, err) != 0)
        return -1;
    int rc = offer_next(w, t, err);
    if (rc == 0)
        rc = manifest_dir_path(t, w->job.dir, w->path, &w->path_len, err);
    manifest_abort(t);
    return rc;
}

static int next_directory(struct walk *w, struct err *err)
{
    close_directory(w);
    if (w->job_count == 0)
        return WALK_DONE;
    int rc = take_job(w, err);
    bool seen =
        w->job.offered && walk_ahead_take(w->ahead, w->job.dir, directory_path(w), &w->found);
    if (rc <= 0)
        return rc < 0 ? -1 : WALK_MORE;
    if (!seen && (w->found.fd = root_open_dir(w->root, directory_path(w))) < 0)
        w->found.error = errno;
    rc = w->found.fd < 0 ? open_failed(w, w->found.error, err) : enter(w, seen, err);
    return rc == 0 ? WALK_MORE : -1;
}

static int compare(struct walk *w, struct err *err)
{
    int rc = walk_compare(w, err);
    if (rc < 0)
        return -1;
    w->more_names = rc == 1;
    w->state = STATE_ITEMS;
    return WALK_MORE;
}

/* All of the listing is done: names that moved under the walk have another turn. */
static void end_listing(struct walk *w)
{
    w->state = STATE_NEXT;
    if (w->again.count == 0 || w->rounds++ >= ROUNDS_MAX)
        return;
    struct listing empty = w->found.listing;
    listing_seal(&w->again);
    w->found.listing = w->again;
    w->found.count = 0;
    w->again = empty;
    listing_clear(&w->again);
    begin_compare(w, true);
}

static int write_items(struct walk *w, struct err *err)
{
    if (walk_items_write(w, err) != 0)
        return -1;
    if (!w->reading_turn) {
        w->reading_turn = true;
        w->item_next = 0;
    }
    /* The reading turn comes back here each time it has read enough, and at its end. */
    for (size_t i = w->item_next; i < w->item_count; i++)
        if (w->items[i].action == ACTION_READ) {
            w->state = STATE_ITEMS;
            return WALK_MORE;
        }
    if (w->more_names)
        w->state = STATE_COMPARE;
    else
        end_listing(w);
    return WALK_MORE;
}

/* A few items, but not more than a piece of a large file. */
static int work_items(struct walk *w)
{
    for (int i = 0; i < ITEMS_RUN && w->state == STATE_ITEMS; i++) {
        if (!walk_item_step(w))
            w->state = STATE_WRITE;
        if (w->reading.fd >= 0)
            break;
    }
    return WALK_MORE;
}

static int work(struct walk *w, struct err *err)
{
    switch (w->state) {
    case STATE_START: return start(w, err) == 0 ? WALK_MORE : -1;
    case STATE_NEXT: return next_directory(w, err);
    case STATE_COMPARE: return compare(w, err);
    case STATE_ITEMS: return work_items(w);
    case STATE_WRITE: return write_items(w, err);
    }
    return -1;
}

int walk_step(struct walk *w, unsigned budget_ms, struct err *err)
{
    uint64_t until = io_now_us() + budget_ms * UINT64_C(1000);
    int rc;
    do
        rc = work(w, err);
    while (rc == WALK_MORE && io_now_us() < until);
    return rc;
}
