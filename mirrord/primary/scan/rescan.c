/*
 * Walks: of a whole site at its start, after an overflow, when there is doubt, and by the clock for
 * what events cannot show; of a subtree that is new or was renamed. Every directory is watched
 * before it is listed, so nothing falls between. What a walk finds changed is owed path by path;
 * where that would be too many paths, the subtree or a comparison of manifests says it shorter.
 */
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/owe.h"
#include "primary/scan/scan_impl.h"
#include "tree/content/digest.h"

enum {
    STEP_MS = 4,
    MANY = 2000,      /* changes of one walk that are owed path by path */
    RECENT_S = 5,     /* a file changed so lately may still be written: look before it is owed */
    SWEEP_TXN = 4096, /* numbers asked for in one read transaction */
    UNREADABLE_TOLD = 20,
    LOST_MAX = 1000,
};

static void job_free(struct rescan_job *j)
{
    walk_free(j->walk);
    free(j->top);
    free(j);
}

void rescan_drop(struct scan_site *s)
{
    struct rescan_job *j;
    while ((j = TAILQ_FIRST(&s->jobs))) {
        TAILQ_REMOVE(&s->jobs, j, order);
        job_free(j);
    }
    if (s->whole)
        job_free(s->whole);
    s->whole = NULL;
    s->whole_again = false;
    if (s->scan->walking == s)
        s->scan->walking = NULL;
}

bool rescan_is_wanted(const struct scan_site *s)
{
    return !TAILQ_EMPTY(&s->jobs) || (s->whole && !s->periodic) || s->whole_again;
}

void rescan_start(struct scan_site *s, bool initial)
{
    s->periodic = false;
    if (s->whole) {
        s->whole_again |= s->whole->walk != NULL;
        return;
    }
    s->status.rescans++;
    s->whole = mem_alloc(sizeof *s->whole);
    s->whole->site = s;
    s->whole->dir = MANIFEST_ROOT;
    s->whole->asked_ms = io_now_ms();
    s->whole->initial = initial;
    s->whole->top = mem_copy_string("");
}

void rescan_subtree(struct scan_site *s, uint64_t dir, bool fresh)
{
    struct rescan_job *j;
    TAILQ_FOREACH (j, &s->jobs, order)
        if (j->dir == dir && !j->walk)
            return;
    j = mem_alloc(sizeof *j);
    j->site = s;
    j->dir = dir;
    j->fresh = fresh;
    j->asked_ms = io_now_ms();
    TAILQ_INSERT_TAIL(&s->jobs, j, order);
}

void rescan_note_lost(struct scan_site *s, struct bytes path)
{
    struct bytes key;
    if (unit_rules_match(s->site->options.units, path, true, &key))
        return; /* a unit is always compared */
    struct set_item *item = set_add(s->lost, path.data, path.len);
    set_requeue(s->lost, item);
    if (set_count(s->lost) > LOST_MAX)
        set_remove(s->lost, set_first(s->lost));
}

/* --- what a walk reports --- */

/* A walk comes later than what it finds: a ctime tells when that was. */
static uint64_t ms_of(int64_t sec, int64_t nsec)
{
    uint64_t now = io_now_ms();
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    int64_t age = (clock.tv_sec - sec) * 1000 + (clock.tv_nsec - nsec) / 1000000;
    return age <= 0 ? now : (uint64_t)age < now ? now - (uint64_t)age : 0;
}

static bool changed_lately(const struct rescan_job *j, int fd, uint64_t *when_ms)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_ctim.tv_sec + 1 < j->began)
        return false;
    *when_ms = ms_of(st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    return true;
}

static void on_enter(void *ctx, uint64_t dir, struct bytes path, int fd)
{
    const struct rescan_job *j = ctx;
    struct scan_site *s = j->site;
    struct err err;
    uint64_t before = 0;
    unreadable_forget(s, path);
    if (!s->watch) {
        s->status.unwatched++;
        return;
    }
    int added = watch_add(s->watch, fd, dir, &before, &err);
    if (added == WATCH_FULL && !s->unwatched_told)
        log_warn("%s: %s", s->site->label, err.text);
    if (added < 0)
        log_warn("%s: %s: %s", s->site->label, QUOTED(path.data, path.len), err.text);
    s->unwatched_told |= added == WATCH_FULL;
    s->status.unwatched += added != WATCH_ADDED;
    uint64_t now = io_now_ms(), when;
    /* Maybe after its record was taken, and before it was watched. */
    if (changed_lately(j, fd, &when))
        batch_add(s->batch, (struct hint_key){dir, {0}}, HINT_META, when, now);
    if (before) /* its former number stands for something that is not there any more */
        batch_add(s->batch, (struct hint_key){before, {0}}, HINT_META, now, now);
}

static bool is_recent(const struct record *r)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec - r->validators.ctime <= RECENT_S;
}

static bool differs(const struct record *before, const struct record *after)
{
    if (!before || !after)
        return true;
    if (!entry_meta_equal(&before->entry, &after->entry) ||
        !entry_owner_equal(&before->entry, &after->entry))
        return true;
    if (after->entry.type != ENTRY_FILE)
        return false;
    return !after->entry.has_digest || !before->entry.has_digest ||
           !digest_equal(&before->entry.digest, &after->entry.digest);
}

static void owe_changed(
    struct scan_site *s, struct bytes path, const struct record *before, const struct record *after)
{
    if (!after)
        outbox_owe(&s->outbox, path, before->entry.type == ENTRY_DIR ? OWE_SUBTREE : 0);
    else if (after->entry.type == ENTRY_FILE && is_recent(after))
        outbox_hint(&s->outbox, path, HINT_OWE);
    else
        outbox_owe(&s->outbox, path,
            (before && before->entry.type == ENTRY_FILE ? OWE_KNOWN : 0) |
                (after->entry.type == ENTRY_DIR ? OWE_DIR : 0));
}

static void on_changed(
    void *ctx, struct bytes path, const struct record *before, const struct record *after)
{
    struct rescan_job *j = ctx;
    struct scan_site *s = j->site;
    if (after && (after->flags & RECORD_RACY) && after->entry.has_digest)
        outbox_hint(&s->outbox, path, HINT_PROVE);
    bool was_dir = before && before->entry.type == ENTRY_DIR;
    if (was_dir && (!after || after->entry.type != ENTRY_DIR)) {
        s->sweep_due_ms = s->sweep_due_ms ? s->sweep_due_ms : io_now_ms();
        rescan_note_lost(s, path);
    }
    if (was_dir && after && after->dir && s->watch &&
        before->validators.inode != after->validators.inode)
        watch_drop(s->watch, after->dir); /* another directory has the number now */
    if (!was_dir && after && after->entry.type == ENTRY_DIR)
        j->compare |= set_find(s->lost, path.data, path.len) != NULL;
    if (j->initial || !differs(before, after))
        return;
    unrest_stir(s->site->unrest, path, was_dir || (after && after->entry.type == ENTRY_DIR),
        after ? ms_of(after->validators.ctime, after->validators.ctime_nsec) : j->asked_ms);
    j->many = ++j->changed > MANY;
    if (!j->many)
        owe_changed(s, path, before, after);
}

static void on_unreadable(void *ctx, struct bytes path, const struct err *why)
{
    const struct rescan_job *j = ctx;
    struct scan_site *s = j->site;
    if (unreadable_note(s, path) && set_count(s->unreadable) <= UNREADABLE_TOLD)
        log_warn(
            "%s: %s cannot be read: %s", s->site->label, QUOTED(path.data, path.len), why->text);
}

static void on_skipped(void *ctx, struct bytes path, const char *why)
{
    const struct rescan_job *j = ctx;
    log_debug("%s: %s is not mirrored: %s", j->site->site->label, QUOTED(path.data, path.len), why);
}

/* --- the walks --- */

static void start_walk(struct scan_site *s, struct rescan_job *j)
{
    struct walk_options o = {
        .checksum = j->initial && s->site->options.checksum,
        .keep_special = s->site->options.special_bits,
        .mounts = s->site->mounts,
    };
    struct walk_hooks hooks = {
        .enter = on_enter,
        .changed = on_changed,
        .skipped = on_skipped,
        .unreadable = on_unreadable,
        .ctx = j,
    };
    j->began = time(NULL);
    if (j == s->whole) {
        scan_watch(s);
        s->status.unwatched = 0;
        s->whole_number++;
    }
    j->walk = walk_new(s->site->root, s->site->manifest, s->site->filter, s->scan->names,
        bytes_of(j->top), &o, &hooks);
}

/* The path of a subtree's top by now. 1, 0 it is not in the manifest any more, -1. */
static int find_top(struct scan_site *s, struct rescan_job *j, struct err *err)
{
    struct manifest_txn *t;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    if (manifest_begin(s->site->manifest, false, &t, err) < 0)
        return -1;
    int found = manifest_dir_path(t, j->dir, path, &len, err);
    manifest_abort(t);
    if (found > 0) {
        free(j->top);
        j->top = mem_copy_bytes(path, len);
        j->compare = set_find(s->lost, path, len) != NULL;
    }
    return found;
}

/* What a walk found too much of to say it path by path. */
static void tell_many(struct scan_site *s, struct rescan_job *j)
{
    if (!j->many && !j->compare)
        return;
    struct bytes key;
    bool unit = unit_rules_match(s->site->options.units, bytes_of(j->top), true, &key);
    if (unit || (j->fresh && !j->compare))
        s->scan->sink.owe(s->scan->sink.ctx, s->site, bytes_of(j->top), OWE_SUBTREE);
    else
        s->scan->sink.compare(s->scan->sink.ctx, s->site);
}

/* WALK_MORE, WALK_DONE; -1: the site is held and the job gone. */
static int step(struct scan_site *s, struct rescan_job *j)
{
    struct err err;
    if (!scan_root_in_place(s))
        return -1;
    int more = walk_step(j->walk, STEP_MS, &err);
    if (more < 0) {
        err_prefix(&err, "walk %s", QUOTED(j->top, strlen(j->top)));
        scan_trouble(s, &err);
        return -1;
    }
    scan_send(s);
    return more;
}

bool rescan_step(struct scan_site *s)
{
    struct rescan_job *j = TAILQ_FIRST(&s->jobs);
    struct err err;
    int found = j && !j->walk ? find_top(s, j, &err) : 1;
    if (!j)
        return false;
    if (found < 0) {
        scan_trouble(s, &err);
        return false;
    }
    if (found > 0 && !j->walk)
        start_walk(s, j);
    int more = found > 0 ? step(s, j) : WALK_DONE;
    if (more < 0)
        return false;
    if (more == WALK_DONE) {
        tell_many(s, j);
        TAILQ_REMOVE(&s->jobs, j, order);
        job_free(j);
    }
    return more == WALK_MORE || !TAILQ_EMPTY(&s->jobs);
}

static uint64_t jittered(uint64_t ms)
{
    uint32_t random;
    io_random(&random, sizeof random);
    return ms - ms / 10 + random % (ms / 5 + 1);
}

static void tell_unwatched(struct scan_site *s)
{
    if (!s->status.unwatched || !s->watch)
        return;
    uint64_t have = watch_count(s->watch);
    log_warn("%s: %llu of %llu directories are not watched and looked through every %llu s "
             "instead: raise the sysctl fs.inotify.max_user_watches by at least %llu",
        s->site->label, (unsigned long long)s->status.unwatched,
        (unsigned long long)(have + s->status.unwatched),
        (unsigned long long)s->scan->options.unwatched_ms / 1000,
        (unsigned long long)s->status.unwatched);
}

static void finish_whole(struct scan_site *s)
{
    struct rescan_job *j = s->whole;
    const struct walk_counts *c = walk_counts(j->walk);
    struct scan_options *o = &s->scan->options;
    log_info("%s: looked through %llu entries, %llu of them new or changed", s->site->label,
        (unsigned long long)c->entries, (unsigned long long)j->changed);
    if (j->initial || !s->periodic)
        tell_unwatched(s);
    struct err why;
    if (mounts_store(s->site->mounts, state_fd(s->site->state), &why) < 0)
        log_warn("%s: %s", s->site->label, why.text);
    j->compare |= s->compare;
    s->compare = false;
    s->rescan_due_ms = io_now_ms() + jittered(s->status.unwatched ? o->unwatched_ms : o->rescan_ms);
    s->status.state = SCAN_OK;
    s->status.error[0] = '\0';
    unreadable_settle(s);
    bool first = !atomic_exchange(&s->site->scanned, true);
    tell_many(s, j);
    s->whole = NULL;
    s->scan->walking = NULL;
    job_free(j);
    if (s->whole_again) {
        s->whole_again = false;
        rescan_start(s, false);
    }
    if (first)
        s->scan->sink.changed(s->scan->sink.ctx, s->site);
}

bool rescan_whole(struct scan_site *s)
{
    if (!s->whole)
        return false;
    if (!s->whole->walk)
        start_walk(s, s->whole);
    s->scan->walking = s;
    int more = step(s, s->whole);
    if (more == WALK_DONE)
        finish_whole(s);
    return more == WALK_MORE;
}

/* --- watches of directories that have left the tree --- */

struct sweep {
    struct scan_site *s;
    struct manifest_txn *t;
    unsigned asked;
};

static bool is_known(void *ctx, uint64_t dir)
{
    struct sweep *w = ctx;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    if (w->asked++ % SWEEP_TXN == 0) {
        manifest_abort(w->t);
        w->t = NULL;
        if (manifest_begin(w->s->site->manifest, false, &w->t, NULL) < 0)
            w->t = NULL;
    }
    return !w->t || manifest_dir_path(w->t, dir, path, &len, NULL) != 0;
}

void rescan_sweep(struct scan_site *s)
{
    struct sweep w = {.s = s};
    s->sweep_due_ms = 0;
    if (s->watch)
        watch_sweep(s->watch, is_known, &w);
    manifest_abort(w.t);
}
