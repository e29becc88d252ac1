/*
 * Events become hints. Everything here is bookkeeping in memory: no path is looked at, only a
 * renamed directory that the manifest still has under its old name is moved in it at once, in the
 * order of the events, so that chains and exchanges of names stay cheap. Where an event cannot be
 * understood it is a hint all the same, never ignored.
 */
#include <string.h>
#include <sys/inotify.h>

#include "base/io.h"
#include "base/log.h"
#include "primary/scan/scan_impl.h"

enum {
    OPEN_MS = 3,        /* a file that was created or written and not closed: look a moment later */
    DIRECTORY_MS = 200, /* a directory's times wait for what changed in it */
};

struct intake {
    struct scan_site *s;
    uint64_t now;
};

static struct hint *hint(
    struct intake *in, uint64_t dir, struct bytes name, unsigned flags, uint64_t due)
{
    return batch_add(in->s->batch, (struct hint_key){dir, name}, flags, in->now, due);
}

static void hint_directory(struct intake *in, uint64_t dir, uint64_t due)
{
    hint(in, dir, (struct bytes){0}, HINT_META, due);
}

/* Written and not closed: soon, but a file that is known to have a writer keeps its pace. */
static void hint_open(struct intake *in, uint64_t dir, struct bytes name, unsigned flags)
{
    struct hint *h = batch_find(in->s->batch, (struct hint_key){dir, name});
    uint64_t due = h && h->writer ? h->next_push_ms : in->now + OPEN_MS;
    hint(in, dir, name, flags, due);
}

static void set_key(struct hint_key *key, char *store, uint64_t dir, struct bytes name)
{
    memcpy(store, name.data, name.len);
    *key = (struct hint_key){dir, {store, name.len}};
}

static void moved_from(
    struct intake *in, uint64_t dir, struct bytes name, const struct inotify_event *e)
{
    struct scan_site *s = in->s;
    struct rename_pair *p = &s->pairs[s->next_pair++ % SCAN_PAIRS];
    hint(in, dir, name, HINT_LEFT, in->now + SCAN_PAIR_MS);
    hint_directory(in, dir, in->now + DIRECTORY_MS);
    p->cookie = e->cookie;
    p->is_dir = e->mask & IN_ISDIR;
    p->complete = false;
    set_key(&p->from, p->from_name, dir, name);
}

static struct rename_pair *pair_of(struct scan_site *s, uint32_t cookie)
{
    for (unsigned i = 0; i < SCAN_PAIRS; i++)
        if (cookie && s->pairs[i].cookie == cookie && !s->pairs[i].complete)
            return &s->pairs[i];
    return NULL;
}

static void moved_to(
    struct intake *in, uint64_t dir, struct bytes name, const struct inotify_event *e)
{
    struct rename_pair *p = pair_of(in->s, e->cookie);
    struct hint *to = hint(in, dir, name, HINT_MOVED, in->now);
    hint_directory(in, dir, in->now + DIRECTORY_MS);
    if (!p)
        return;
    /* A chain of renames leads back to the name that the manifest knows. */
    struct hint *from = batch_find(in->s->batch, p->from);
    if (from != to)
        batch_set_from(to, from && from->from.dir ? from->from : p->from);
    to->flags |= from ? from->flags & HINT_CONTENT : 0;
    set_key(&p->to, p->to_name, dir, name);
    p->complete = true;
}

static bool same_key(struct hint_key a, struct hint_key b)
{
    return a.dir == b.dir && bytes_equal(a.name, b.name);
}

/* The pair that took this directory away from where the manifest has it: the latest that began
 * there, if it ended in the tree. An older one was of another directory of that name. */
static struct rename_pair *pair_from(struct scan_site *s, struct hint_key place)
{
    for (unsigned i = 1; i <= SCAN_PAIRS; i++) {
        struct rename_pair *p = &s->pairs[(s->next_pair - i) % SCAN_PAIRS];
        if (p->cookie && same_key(p->from, place))
            return p->complete && p->is_dir ? p : NULL;
    }
    return NULL;
}

static int follow_move(
    struct scan_site *s, struct manifest_txn *t, uint64_t number, struct err *err)
{
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct record r;
    uint64_t above = 0;
    int found = manifest_dir_path(t, number, path, &len, err);
    if (found <= 0 || len == 0)
        return found < 0 ? -1 : 0;
    found = manifest_lookup(t, (struct bytes){path, len}, &r, &above, err);
    if (found <= 0)
        return found;
    struct rename_pair *p =
        pair_from(s, (struct hint_key){above, path_name((struct bytes){path, len})});
    if (!p)
        return 0;
    p->cookie = 0;
    return rename_directory(s, t, number, 0, p->to, err);
}

/* The event names the directory that was renamed, just behind the two that name its names: so it
 * is certain what went where, whatever has happened to the names since. */
static void moved_self(struct intake *in, uint64_t dir)
{
    struct scan_site *s = in->s;
    struct manifest_txn *t = NULL;
    struct err err;
    hint_directory(in, dir, in->now);
    if (!scan_is_up(s) || dir == MANIFEST_ROOT)
        return;
    if (manifest_begin(s->site->manifest, true, &t, &err) < 0) {
        scan_trouble(s, &err);
        return;
    }
    int moved = follow_move(s, t, dir, &err);
    if (moved > 0 && manifest_commit(t, &err) == 0)
        return;
    if (moved <= 0)
        manifest_abort(t);
    if (moved != 0)
        scan_trouble(s, &err);
}

static void of_directory_itself(struct intake *in, uint64_t dir, const struct inotify_event *e)
{
    if (e->mask & IN_MOVE_SELF)
        moved_self(in, dir);
    else
        hint_directory(in, dir, in->now);
}

static void of_name(
    struct intake *in, uint64_t dir, struct bytes name, const struct inotify_event *e)
{
    bool is_dir = e->mask & IN_ISDIR;
    if (e->mask & IN_MOVED_FROM) {
        moved_from(in, dir, name, e);
    } else if (e->mask & IN_MOVED_TO) {
        moved_to(in, dir, name, e);
    } else if (e->mask & IN_DELETE) {
        hint(in, dir, name, HINT_GONE, in->now);
        hint_directory(in, dir, in->now + DIRECTORY_MS);
    } else if (e->mask & IN_CREATE) {
        if (is_dir)
            hint(in, dir, name, HINT_CREATE, in->now);
        else
            hint_open(in, dir, name, HINT_CREATE);
        hint_directory(in, dir, in->now + DIRECTORY_MS);
    } else if (e->mask & IN_MODIFY) {
        hint_open(in, dir, name, HINT_MODIFY);
    } else if (e->mask & IN_CLOSE_WRITE) {
        hint(in, dir, name, HINT_CLOSE, in->now);
    } else {
        hint(in, dir, name, HINT_META, in->now);
    }
}

static void take_event(struct intake *in, const struct inotify_event *e)
{
    struct scan_site *s = in->s;
    struct bytes name = {e->name, e->len ? strnlen(e->name, e->len) : 0};
    if (e->mask & IN_Q_OVERFLOW) {
        log_warn("%s: the kernel's event queue overflowed: the whole site is looked through",
            s->site->label);
        s->status.overflows++;
        unrest_stir_all(s->site->unrest, in->now);
        rescan_start(s, false);
        return;
    }
    if (!watch_owns(s->watch, e->wd))
        return;
    uint64_t dir = watch_dir(s->watch, e->wd);
    if (e->mask & IN_IGNORED)
        watch_forget(s->watch, e->wd);
    else if (dir == WATCH_COOKIES)
        barrier_cookie(s, name);
    else if (!dir) /* the directory has left the manifest; found again, it gets a new number */
        watch_drop_wd(s->watch, e->wd);
    else if (name.len == 0)
        of_directory_itself(in, dir, e);
    else if (!path_is_reserved(name))
        of_name(in, dir, name, e);
}

void intake_take(struct scan_site *s)
{
    struct intake in = {s, io_now_ms()};
    s->settle.news = true;
    while (buf_len(&s->events) >= sizeof(struct inotify_event)) {
        /* The kernel keeps the records aligned, and whole within a read. */
        const struct inotify_event *e = (const void *)buf_bytes(&s->events);
        take_event(&in, e);
        buf_drain(&s->events, sizeof *e + e->len);
    }
}

void intake_run(struct scan_site *s)
{
    if (!s->source || reader_is_empty(s->scan->reader, s->source))
        return;
    atomic_store(&s->pending, true); /* before it leaves the reader */
    if (reader_take(s->scan->reader, s->source, &s->events)) {
        log_warn("%s: more events came than can be kept: the whole site is looked through",
            s->site->label);
        s->status.overflows++;
        unrest_stir_all(s->site->unrest, io_now_ms());
        rescan_start(s, false);
    }
    intake_take(s);
}
