/* One resync from its walk to its last acknowledgement; see resync_job.h. The command
 * line is resync_options.c's, what is printed resync_report.c's. */
#include "command/resync/resync_job.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "base/thread.h"
#include "command/resync/resync_room.h"
#include "primary/push/send/bases.h"
#include "tree/manifest/seen.h"

enum {
    WALK_STEP_MS = 50,
    SEEN_STORE = 1024,
    PROGRESS_MS = 200,
    BASES_MEMORY_MAX = 32 * 1024 * 1024, /* of a file of 7 GiB, or of several */
};

/* The walk, on a thread of its own. Until it is over, the result and the progress line are its. */
struct tour {
    pthread_t thread;
    int done; /* an eventfd */
    atomic_bool over, give_up;
    int result;
    struct err err;
};

struct job {
    const struct resync_job *o;
    struct resync_result *out;
    struct site *site;
    struct tour tour;
    struct seen *seen;
    struct push_site *ps;
    struct resync_room no_room;
    struct conn *conn;
    uint64_t started_ms, shown_ms;
    uint64_t tree_bytes;
    struct err trouble; /* of storing what was seen: costs the next run time */
};

static void add_error(struct job *j, struct bytes path, const char *why)
{
    struct resync_result *r = j->out;
    r->errors = mem_resize(r->errors, r->error_count + 1, sizeof *r->errors);
    r->errors[r->error_count++] = (struct resync_error){
        .path = mem_copy_bytes(path.data, path.len), .text = mem_copy_string(why)};
}

static void on_skipped(void *ctx, struct bytes path, const char *why)
{
    struct job *j = ctx;
    if (j->o->name_skipped)
        log_warn("skipped %s: %s", QUOTED(path.data, path.len), why);
}

static void on_unreadable(void *ctx, struct bytes path, const struct err *why)
{
    add_error(ctx, path, why->text);
    log_error("%s: %s", QUOTED(path.data, path.len), why->text);
}

static void on_walked(
    void *ctx, struct bytes path, const struct record *before, const struct record *after)
{
    struct job *j = ctx;
    walked_add(j->site->walked, path, before, after);
}

static void show_walk(struct job *j, const struct walk_counts *c)
{
    uint64_t now = io_now_ms();
    if (!j->o->progress || now - j->shown_ms < PROGRESS_MS)
        return;
    j->shown_ms = now;
    fprintf(j->o->progress, "\r\033[Klooking: %llu entries", (unsigned long long)c->entries);
    fflush(j->o->progress);
}

static bool stopped(const struct job *j)
{
    return j->o->stop && *j->o->stop;
}

static int walk_tree(struct job *j, struct err *err)
{
    const struct walk_options options = {.checksum = j->site->options.checksum,
        .ahead = WALK_AHEAD,
        .find_moves = true,
        .keep_special = j->site->options.special_bits};
    const struct walk_hooks hooks = {
        .changed = on_walked, .skipped = on_skipped, .unreadable = on_unreadable, .ctx = j};
    j->site->walked = walked_begin(j->site->manifest, err);
    if (!j->site->walked)
        return -1;
    struct names *names = names_new(NULL);
    struct walk *w = walk_new(j->site->root, j->site->manifest, j->site->filter, names,
        (struct bytes){0}, &options, &hooks);
    int r = WALK_MORE;
    while (r == WALK_MORE && !stopped(j) && !j->tour.give_up) {
        r = walk_step(w, WALK_STEP_MS, err);
        show_walk(j, walk_counts(w));
    }
    j->out->walk = *walk_counts(w);
    walk_free(w);
    names_free(names);
    if (r == WALK_MORE)
        return err_set(err, ERR_FAILED, "interrupted: what is there stays as it is");
    return r;
}

static void *tour_thread(void *arg)
{
    struct job *j = arg;
    j->tour.result = walk_tree(j, &j->tour.err);
    j->site->scanned = j->tour.result == WALK_DONE;
    j->tour.over = true;
    eventfd_write(j->tour.done, 1);
    return NULL;
}

static int tour_start(struct job *j, struct err *err)
{
    j->tour.done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (j->tour.done < 0)
        return err_sys(err, errno, "eventfd");
    int r = thread_start(&j->tour.thread, tour_thread, j);
    if (r == 0)
        return 0;
    close(j->tour.done);
    return err_sys(err, r, "start a thread");
}

/* -1 when the walk failed, or is given up here. */
static int tour_end(struct job *j, struct err *err)
{
    j->tour.give_up = true;
    pthread_join(j->tour.thread, NULL);
    close(j->tour.done);
    if (j->tour.result < 0)
        *err = j->tour.err;
    return j->tour.result;
}

static void store_seen(struct job *j)
{
    struct err err;
    if (seen_store(j->seen, &err) < 0 && !j->trouble.code) {
        j->trouble = err;
        log_warn("%s (the next run will read more than it needs to)", err.text);
    }
}

static void on_seen(void *ctx, struct site *s, struct bytes path, const struct record *r)
{
    struct job *j = ctx;
    (void)s;
    seen_add(j->seen, path, r);
    if (seen_count(j->seen) >= SEEN_STORE)
        store_seen(j);
}

/* A unit that was sent is walked once more, since nobody watches the tree: the manifest has by then
 * what changed meanwhile, and the unit is sent anew. */
struct second_look {
    struct site *site;
    struct names *names;
    struct set *tops; /* paths still to be walked, the first of them by `walk` */
    struct walk *walk;
    bool changed;
    struct err err;
};

static void second_look_changed(
    void *ctx, struct bytes path, const struct record *before, const struct record *after)
{
    struct second_look *l = ctx;
    (void)path, (void)before, (void)after;
    l->changed = true;
}

static void second_look_part(void *ctx, uint64_t dir, struct bytes path, const struct record *r)
{
    struct second_look *l = ctx;
    (void)dir, (void)r;
    set_add(l->tops, path.data, path.len);
}

static void *second_look(void *ctx, struct site *s, struct bytes unit)
{
    struct second_look *l = mem_alloc(sizeof *l);
    (void)ctx;
    l->site = s;
    l->names = names_new(NULL);
    l->tops = set_new();
    site_unit_parts(s, unit, second_look_part, l, &l->err);
    return l;
}

static void second_look_free(void *check)
{
    struct second_look *l = check;
    walk_free(l->walk);
    names_free(l->names);
    set_free(l->tops);
    free(l);
}

static int second_look_step(void *check, struct err *err)
{
    struct second_look *l = check;
    struct set_item *top = set_first(l->tops);
    const struct walk_options options = {.keep_special = l->site->options.special_bits};
    const struct walk_hooks hooks = {.changed = second_look_changed, .ctx = l};
    if (!top && !l->err.code)
        return l->changed ? SITE_CHANGED : SITE_UNCHANGED;
    if (top && !l->walk)
        l->walk = walk_new(l->site->root, l->site->manifest, l->site->filter, l->names,
            (struct bytes){top->key, top->len}, &options, &hooks);
    int r = top ? walk_step(l->walk, WALK_STEP_MS, &l->err) : -1;
    if (r < 0)
        *err = l->err;
    if (r != WALK_DONE)
        return r < 0 ? SITE_FAILED : SITE_CHECKING;
    walk_free(TAKE_PTR(l->walk));
    set_remove(l->tops, top);
    return SITE_CHECKING;
}

static void on_changed(void *ctx)
{
    (void)ctx;
}

static void on_item(
    void *ctx, struct push_site *ps, enum push_event what, struct bytes path, struct bytes source)
{
    static const char *const words[] = {[PUSH_CREATED] = "create",
        [PUSH_UPDATED] = "update",
        [PUSH_DELETED] = "delete",
        [PUSH_MOVED] = "move"};
    struct job *j = ctx;
    (void)ps;
    j->out->items++;
    if (!j->o->itemize)
        return;
    const char *name = path.len ? QUOTED(path.data, path.len) : ".";
    if (source.len)
        fprintf(j->o->itemize, "%s %s -> %s\n", words[what], QUOTED(source.data, source.len), name);
    else
        fprintf(j->o->itemize, "%s %s\n", words[what], name);
}

/* 0: it is no file, or not known. */
static uint64_t size_of(const struct job *j, struct bytes path)
{
    struct record r;
    bool file = manifest_peek(j->site->manifest, path, &r, NULL) == 1 && r.entry.type == ENTRY_FILE;
    return file ? r.entry.size : 0;
}

static void on_failed(void *ctx, struct push_site *ps, struct bytes path, const struct err *why)
{
    struct job *j = ctx;
    const char *site = j->o->site.name;
    (void)ps;
    add_error(j, path, why->text);
    resync_room_note(&j->no_room, size_of(j, path), why);
    log_error("%s%s%s: %s: %s", site, site[0] ? " " : "", j->o->target->name,
        QUOTED(path.data, path.len), why->text);
}

/* What has left counts as bytes, what is committed there as files. */
static void show_rate(struct job *j, const struct push_counts *c, double seconds)
{
    uint64_t out = c->literal + c->matched;
    uint64_t sent = out > c->done_bytes ? out : c->done_bytes;
    double rate = seconds > 0 ? (double)sent / seconds : 0;
    uint64_t left = c->owed_bytes > sent ? c->owed_bytes - sent : 0;
    if (c->owed == 0) {
        fputs("\r\033[Kcomparing", j->o->progress);
        fflush(j->o->progress);
        return;
    }
    fprintf(j->o->progress, "\r\033[K%llu/%llu files  %.1f/%.1f MB  %.1f MB/s",
        (unsigned long long)c->done, (unsigned long long)c->owed, (double)sent / 1e6,
        (double)c->owed_bytes / 1e6, rate / 1e6);
    if (rate > 0) {
        unsigned long long eta = (unsigned long long)((double)left / rate);
        fprintf(j->o->progress, "  %llu:%02llu left", eta / 60, eta % 60);
    }
    fflush(j->o->progress);
}

static void on_progress(void *ctx)
{
    struct job *j = ctx;
    uint64_t now = io_now_ms();
    if (!j->o->progress || !j->site->scanned || now - j->shown_ms < PROGRESS_MS)
        return;
    j->shown_ms = now;
    show_rate(j, &j->ps->counts, (double)(now - j->started_ms) / 1000);
}

static void no_wake(void *ctx)
{
    (void)ctx; /* one thread: it looks at the queue by itself */
}

/* How the site ended, once its session is over. */
static int verdict(const struct job *j, struct err *err)
{
    if (j->ps->state >= PUSH_HELD) {
        *err = j->ps->error;
        return -1;
    }
    if (resync_room_verdict(
            &j->no_room, j->out->error_count, &j->ps->room, j->o->target->place, err) < 0)
        return -1;
    if (j->out->error_count)
        return err_set(err, ERR_PARTIAL, "%zu path%s could not be mirrored; the rest is equal",
            j->out->error_count, j->out->error_count == 1 ? "" : "s");
    if (stopped(j))
        return err_set(err, ERR_FAILED, "interrupted: run it again to go on");
    return 0;
}

/* Without a whole walk there is nothing to compare. */
static void on_sites(void *ctx, struct push_site_list *list)
{
    struct job *j = ctx;
    (void)list;
    if (j->tour.over && j->tour.result < 0)
        j->ps->leaving = true;
}

static void on_left(void *ctx, struct push_site *ps)
{
    (void)ctx;
    (void)ps;
}

static struct push_options options_of(
    struct job *j, struct queue *queue, struct push_site_list *sites, struct bases *bases)
{
    const struct resync_target *t = j->o->target;
    return (struct push_options){.conn = j->conn,
        .queue = queue,
        .sites = sites,
        .name = t->name,
        .host = j->o->host,
        .host_id = j->o->host_id,
        .compress = t->compress,
        .bwlimit = t->bwlimit,
        .keepalive_ms = t->keepalive_ms,
        .stop = j->o->stop,
        .wake_fd = j->tour.done,
        .bases = bases,
        .once = true,
        .hooks = {.changed = on_changed,
            .item = on_item,
            .failed = on_failed,
            .progress = on_progress,
            .sites = on_sites,
            .left = on_left,
            .ctx = j}};
}

static int push_site(struct job *j, struct err *err)
{
    struct push_site_list sites = TAILQ_HEAD_INITIALIZER(sites);
    struct queue *queue = queue_new(no_wake, NULL);
    struct err unwalked;
    const char *root = j->o->target->remote_root;
    struct bases *bases = bases_new_kept(BASES_MEMORY_MAX, j->site, root ? root : "");
    j->ps = push_site_new(queue, j->site, root, j->o->target->without);
    TAILQ_INSERT_TAIL(&sites, j->ps, order);
    const struct push_options o = options_of(j, queue, &sites, bases);
    int r = push_run(&o, err);
    int walked = tour_end(j, &unwalked);
    j->out->push = j->ps->counts;
    if (r == 0)
        r = verdict(j, err);
    if (r < 0 && (err->code != ERR_PARTIAL || j->no_room.full + j->no_room.quota > 0)) {
        err_prefix(err, "%s", j->o->target->name);
    } else if (walked < 0) {
        *err = unwalked;
        r = -1;
    }
    push_site_free(queue, j->ps);
    queue_free(queue);
    bases_free(bases);
    return r;
}

/* The link is opened, and the far end looks at its tree, while the tree is walked here. */
static int connect_and_push(struct job *j, struct err *err)
{
    struct conn_options link = j->o->target->link;
    struct err unwalked;
    link.stop = j->o->stop;
    if (tour_start(j, err) < 0)
        return -1;
    if (conn_open(&link, &j->conn, err) == 0)
        return push_site(j, err);
    tour_end(j, &unwalked);
    return strstr(err->text, j->o->target->name) ? -1 : err_prefix(err, "%s", j->o->target->name);
}

static void finish(struct job *j)
{
    store_seen(j);
    if (j->conn) {
        conn_counts(j->conn, &j->out->bytes_sent, &j->out->bytes_received);
        j->out->kind = mem_copy_string(conn_kind(j->conn));
    }
    conn_close(j->conn);
    if (j->o->progress) {
        fprintf(j->o->progress, "\r\033[K");
        fflush(j->o->progress);
    }
    j->out->seconds = (double)(io_now_ms() - j->started_ms) / 1000;
}

int resync_job_run(const struct resync_job *o, struct resync_result *out, struct err *err)
{
    struct job j = {.o = o, .out = out, .started_ms = io_now_ms()};
    if (site_open(&o->site, &j.site, err) != 0)
        return -1;
    j.site->hooks.seen = on_seen;
    j.site->hooks.check = second_look;
    j.site->hooks.checked = second_look_step;
    j.site->hooks.check_free = second_look_free;
    j.site->cleared = true;
    if (o->epoch.counter)
        j.site->epoch = o->epoch;
    j.site->hooks.ctx = &j;
    j.seen = seen_new(j.site->manifest);
    int r = connect_and_push(&j, err);
    finish(&j);
    seen_free(j.seen);
    site_unref(j.site);
    return r;
}

void resync_result_free(struct resync_result *r)
{
    for (size_t i = 0; i < r->error_count; i++) {
        free(r->errors[i].path);
        free(r->errors[i].text);
    }
    free(r->errors);
    free(r->kind);
}
