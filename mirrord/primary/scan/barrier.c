/*
 * Flushes on the scanner's side: a cookie file goes through the kernel's queue behind everything
 * that happened before it; when it comes out, the hints that are there then have to be settled.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/scan/scan_impl.h"

#define COOKIE "flush-"

enum {
    LOOK_MS = 10,       /* how often a flush is looked at while nothing else happens */
    WRITER_MS = 500,    /* a file open for longer is named instead of waited for */
    HURRIED_MAX = 4096, /* hints that a flush of a directory goes through to make them due */
    REST_FACTOR = 10,   /* see barrier_check */
};

void barrier_unref(struct scan_flush *f)
{
    if (atomic_fetch_sub(&f->refs, 1) != 1)
        return;
    for (size_t i = 0; i < f->path_count; i++)
        free((void *)f->paths[i].data);
    free(f->paths);
    free((void *)f->unit.data);
    site_unref(f->site);
    free(f);
}

/* Whoever waits is told at once: an upload has a dozen files, one after the other. */
static void finish(struct scan_flush *f, int result, const char *why)
{
    pthread_mutex_lock(&f->scan->lock);
    f->result = result;
    snprintf(f->why, sizeof f->why, "%s", why);
    pthread_mutex_unlock(&f->scan->lock);
    f->state = BARRIER_OVER;
    f->scan->sink.changed(f->scan->sink.ctx, f->site);
}

void barrier_fail(struct scan_flush *f, const char *why)
{
    finish(f, SCAN_FLUSH_FAILED, why);
    barrier_unref(f);
}

static void leave(struct scan_flush *f)
{
    LIST_REMOVE(f, order);
    barrier_unref(f);
}

void barrier_fail_all(struct scan_site *s, const char *why)
{
    struct scan_flush *f;
    while ((f = LIST_FIRST(&s->flushes))) {
        finish(f, SCAN_FLUSH_FAILED, why);
        leave(f);
    }
}

static int drop_cookie(struct scan_site *s, struct scan_flush *f)
{
    uint8_t random[16];
    char *path CLEANUP_FREE = NULL;
    io_random(random, sizeof random);
    strcpy(f->name, COOKIE);
    io_hex(random, sizeof random, f->name + strlen(COOKIE));
    path = mem_format("%s/%s", state_cookie_dir(s->site->state), f->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    close(fd);
    unlink(path);
    return 0;
}

static bool concerns(const struct scan_flush *f, struct bytes path)
{
    struct bytes key;
    if (f->unit.len)
        return unit_rules_match(f->site->options.units, path, true, &key) &&
               bytes_equal(key, f->unit) && !unrest_is_hot(f->site->unrest, path);
    for (size_t i = 0; i < f->path_count; i++)
        if (path_beneath(path, f->paths[i]) || path_beneath(f->paths[i], path))
            return true;
    return f->path_count == 0;
}

static bool hint_concerns(struct scan_site *s, const struct scan_flush *f, const struct hint *h)
{
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    if (f->path_count == 0)
        return true;
    return scan_hint_path(s, h, path, &len) && concerns(f, (struct bytes){path, len});
}

/* Each of the paths is looked at whatever events there were, or the first that is missing above it:
 * so nothing but what is beneath a directory takes a walk to be found. */
static void hint_paths(struct scan_site *s, const struct scan_flush *f, uint64_t now)
{
    struct manifest_txn *t;
    struct record r;
    if (manifest_begin(s->site->manifest, false, &t, NULL) < 0)
        return;
    for (size_t i = 0; i < f->path_count; i++) {
        struct bytes at = f->paths[i];
        uint64_t above = 0;
        while (at.len && manifest_lookup(t, at, &r, &above, NULL) == 0 && !above)
            at = path_parent(at);
        if (above)
            batch_add(s->batch, (struct hint_key){above, path_name(at)}, HINT_META, now, now);
    }
    manifest_abort(t);
}

/* False: enough. */
typedef bool (*hint_visit)(struct scan_site *s, struct scan_flush *f, struct hint *h, uint64_t now);

/* The hints of a path and of the directories above it. A path that is a directory by now makes the
 * flush a wide one. */
static bool visit_path(struct scan_site *s, struct scan_flush *f, struct manifest_txn *t,
    struct bytes path, hint_visit visit, uint64_t now)
{
    for (struct bytes at = path; at.len; at = path_parent(at)) {
        struct record r;
        uint64_t above = 0;
        bool dir = manifest_lookup(t, at, &r, &above, NULL) > 0 && r.entry.type == ENTRY_DIR;
        struct hint *h =
            above ? batch_find(s->batch, (struct hint_key){above, path_name(at)}) : NULL;
        struct hint *itself = dir ? batch_find(s->batch, (struct hint_key){r.dir, {0}}) : NULL;
        f->wide |= dir && at.len == path.len;
        if ((h && !visit(s, f, h, now)) || (itself && !visit(s, f, itself, now)))
            return false;
    }
    return true;
}

/* The hints that a flush of single paths is about, however many others there are. */
static void visit_paths(struct scan_site *s, struct scan_flush *f, hint_visit visit, uint64_t now)
{
    struct manifest_txn *t;
    bool more = true;
    if (manifest_begin(s->site->manifest, false, &t, NULL) < 0)
        return;
    for (size_t i = 0; i < f->path_count && more; i++)
        more = visit_path(s, f, t, f->paths[i], visit, now);
    manifest_abort(t);
}

static bool hurry(struct scan_site *s, struct scan_flush *f, struct hint *h, uint64_t now)
{
    (void)f;
    if (!h->writer && !h->tries)
        h->first_ms = now; /* the patience with a writer begins here */
    h->hurried = true;
    h->writer = false; /* unless it is found so again */
    if (h->due_ms > now)
        batch_postpone(s->batch, h, now);
    return true;
}

/* With paths, not without bound: what is not hurried is waited for all the same. */
static void hurry_all(struct scan_site *s, struct scan_flush *f, uint64_t now)
{
    unsigned n = 0;
    for (struct hint *h = batch_each(s->batch, NULL); h; h = batch_each(s->batch, h)) {
        if (f->path_count && ++n > HURRIED_MAX)
            return;
        if (hint_concerns(s, f, h))
            hurry(s, f, h, now);
    }
}

/* What is there now has to be settled; nothing of it needs to wait for more to come. */
static void pass(struct scan_site *s, struct scan_flush *f)
{
    uint64_t now = io_now_ms();
    f->state = BARRIER_PASSED;
    if (f->unit.len) /* nobody is in a hurry: what is not ready yet stays so */
        settle_look_through(s, f->unit);
    else if (!(f->flags & SCAN_FLUSH_TAKEN))
        hint_paths(s, f, now);
    f->mark = batch_mark(s->batch);
    if (f->wide && !f->unit.len)
        hurry_all(s, f, now);
    else if (!f->unit.len)
        visit_paths(s, f, hurry, now);
}

/* Does it ask for more than single files? */
static bool is_wide(struct scan_site *s, const struct scan_flush *f)
{
    struct manifest_txn *t;
    struct record r;
    uint64_t above;
    bool wide = f->path_count == 0;
    if (wide || manifest_begin(s->site->manifest, false, &t, NULL) < 0)
        return true;
    for (size_t i = 0; i < f->path_count && !wide; i++)
        wide = f->paths[i].len == 0 ||
               (manifest_lookup(t, f->paths[i], &r, &above, NULL) > 0 && r.entry.type == ENTRY_DIR);
    manifest_abort(t);
    return wide;
}

static void set_out(struct scan_site *s, struct scan_flush *f)
{
    bool blind = !s->source || s->status.unwatched;
    if (s->status.state == SCAN_HELD || s->status.state == SCAN_FAILED) {
        finish(f, SCAN_FLUSH_FAILED, s->status.error);
        return;
    }
    if (!scan_is_up(s))
        return;
    f->wide = is_wide(s, f);
    if ((blind && f->wide) || (f->flags & SCAN_FLUSH_RESCAN))
        rescan_start(s, false);
    if (!s->source || (f->flags & SCAN_FLUSH_TAKEN)) {
        pass(s, f);
        return;
    }
    f->state = BARRIER_QUEUED;
    if (drop_cookie(s, f) == 0)
        return;
    char *why CLEANUP_FREE = mem_format(
        "create a cookie file in %s: %s", state_cookie_dir(s->site->state), strerror(errno));
    finish(f, SCAN_FLUSH_FAILED, why);
}

void barrier_begin(struct scan_site *s, struct scan_flush *f)
{
    LIST_INSERT_HEAD(&s->flushes, f, order);
    f->state = BARRIER_NEW;
    f->answers = s->answers_in;
}

void barrier_cookie(struct scan_site *s, struct bytes name)
{
    struct scan_flush *f;
    LIST_FOREACH (f, &s->flushes, order)
        if (f->state == BARRIER_QUEUED && bytes_equal(name, bytes_of(f->name)))
            pass(s, f);
}

/* Has nobody to wait for this hint? Names it when it is a file that is held open. */
static bool let_be(struct scan_site *s, struct scan_flush *f, struct hint *h, uint64_t now)
{
    bool open = h->writer && now - h->first_ms >= WRITER_MS;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    if (h->seq > f->mark)
        return true;
    f->held_up = !open && f->path_count == 0 && !f->unit.len;
    if (f->held_up || !scan_hint_path(s, h, path, &len) || !concerns(f, (struct bytes){path, len}))
        return !f->held_up;
    if (open && f->busy_count < SCAN_BUSY_MAX)
        log_name(f->busy[f->busy_count++], SCAN_PATH_MAX, path, len);
    f->held_up = !open;
    return open;
}

/* Is there a hint that has to be waited for? */
static bool is_held_up(struct scan_site *s, struct scan_flush *f, uint64_t now)
{
    f->busy_count = 0;
    f->held_up = false;
    if (!f->wide)
        visit_paths(s, f, let_be, now);
    if (!f->wide || f->held_up)
        return f->held_up;
    f->busy_count = 0;
    for (struct hint *h = batch_each(s->batch, NULL); h && h->seq <= f->mark;
         h = batch_each(s->batch, h))
        if (!let_be(s, f, h, now))
            return true;
    return false;
}

/* Is anything being looked through in which it may yet be found? */
static bool walks_concern(struct scan_site *s, const struct scan_flush *f)
{
    struct rescan_job *j;
    if (f->unit.len || f->path_count == 0)
        return rescan_is_wanted(s);
    if (f->wide && ((s->whole && !s->periodic) || s->whole_again))
        return true;
    TAILQ_FOREACH (j, &s->jobs, order)
        if (hint_concerns(s, f, &(struct hint){.key = {.dir = j->dir}}))
            return true;
    return false;
}

static void check(struct scan_site *s, struct scan_flush *f)
{
    uint64_t now = io_now_ms();
    if (f->unit.len && f->answers > s->answers_done && scan_is_up(s))
        return; /* whoever wants a unit looked through has said what was read of it */
    if (f->state == BARRIER_NEW)
        set_out(s, f);
    if (f->state != BARRIER_PASSED)
        return;
    bool more = (f->wide && links_is_wanted(s)) || !STAILQ_EMPTY(&s->answers);
    if (walks_concern(s, f) || (more && !f->unit.len)) {
        f->mark = batch_mark(s->batch); /* what they find belongs to it */
        return;
    }
    if (!is_held_up(s, f, now))
        finish(f, SCAN_FLUSH_DONE, "");
}

static uint64_t sites_that_wait(const struct scan *c)
{
    const struct scan_site *s;
    uint64_t n = 0;
    TAILQ_FOREACH (s, &c->sites, order)
        n += barrier_is_wanted(s);
    return n;
}

/* However many flushes there are, of however many sites, and however much they have to look at:
 * they get a REST_FACTORth of the scanner's time. So a site's looks are followed by that many times
 * their length without, for each site that has some. */
void barrier_check(struct scan_site *s)
{
    struct scan_flush *next;
    s->barrier_skipped = false;
    if (!barrier_is_wanted(s))
        return;
    uint64_t began = io_now_us();
    s->barrier_skipped = began < s->barrier_due_us;
    if (s->barrier_skipped)
        return;
    for (struct scan_flush *f = LIST_FIRST(&s->flushes); f; f = next) {
        next = LIST_NEXT(f, order);
        if (!atomic_load(&f->abandoned))
            check(s, f);
        if (atomic_load(&f->abandoned) || f->state == BARRIER_OVER)
            leave(f);
    }
    uint64_t now = io_now_us(), sites = sites_that_wait(s->scan);
    s->barrier_due_us = now + (now - began) * REST_FACTOR * (sites ? sites : 1);
}

bool barrier_is_wanted(const struct scan_site *s)
{
    return !LIST_EMPTY(&s->flushes);
}

uint64_t barrier_next_ms(const struct scan_site *s, uint64_t now)
{
    uint64_t due = s->barrier_due_us / 1000 + 1;
    if (!s->barrier_skipped || due > now + LOOK_MS)
        return now + LOOK_MS;
    return due > now ? due : now;
}

/* --- any thread --- */

static struct scan_flush *flush_new(struct scan *c, struct site *s, unsigned flags)
{
    struct scan_flush *f = mem_alloc(sizeof *f);
    f->scan = c;
    f->site = site_ref(s);
    f->flags = flags;
    atomic_init(&f->refs, 2);
    return f;
}

struct scan_flush *scan_flush_new(
    struct scan *c, struct site *s, const struct bytes *paths, size_t path_count, unsigned flags)
{
    struct scan_flush *f = flush_new(c, s, flags);
    f->paths = mem_array(path_count, sizeof *f->paths);
    f->path_count = path_count;
    for (size_t i = 0; i < path_count; i++)
        f->paths[i] = (struct bytes){mem_copy_bytes(paths[i].data, paths[i].len), paths[i].len};
    scan_post_flush(c, f);
    return f;
}

void scan_flush_free(struct scan_flush *f)
{
    if (!f)
        return;
    atomic_store(&f->abandoned, true);
    barrier_unref(f);
}

int scan_flush_poll(struct scan_flush *f, struct err *err)
{
    pthread_mutex_lock(&f->scan->lock);
    int result = f->result;
    if (result == SCAN_FLUSH_FAILED)
        err_set(err, ERR_BEHIND, "%s", f->why);
    pthread_mutex_unlock(&f->scan->lock);
    return result;
}

size_t scan_flush_busy(struct scan_flush *f, char out[][SCAN_PATH_MAX], size_t max)
{
    pthread_mutex_lock(&f->scan->lock);
    size_t count = f->busy_count < max ? f->busy_count : max;
    memcpy(out, f->busy, count * SCAN_PATH_MAX);
    pthread_mutex_unlock(&f->scan->lock);
    return count;
}

void *barrier_check_unit(void *ctx, struct site *s, struct bytes unit)
{
    struct scan_flush *f = flush_new(ctx, s, 0);
    f->unit = (struct bytes){mem_copy_bytes(unit.data, unit.len), unit.len};
    scan_post_flush(ctx, f);
    return f;
}

/* What was found has raised the unit's generation: whoever asked compares that. */
int barrier_unit_checked(void *check, struct err *err)
{
    int result = scan_flush_poll(check, err);
    return result == SCAN_FLUSH_DONE     ? SITE_UNCHANGED
           : result == SCAN_FLUSH_FAILED ? SITE_FAILED
                                         : SITE_CHECKING;
}

void barrier_unit_free(void *check)
{
    scan_flush_free(check);
}
