/*
 * The scanner's thread: a mailbox from the other threads, then the sites one after the other, each
 * for some milliseconds, so that a burst in one does not delay an upload in another. At most one
 * site at a time is walked whole. See scan_impl.h for the parts.
 */
#include "primary/scan/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/scan/scan_impl.h"
#include "tree/walk/reread.h"

enum {
    RESCAN_MS = 3600 * 1000,
    UNWATCHED_MS = 60 * 1000,
    PUBLISH_MS = 200,     /* how old published status may get */
    BUSY_MS = 30000,      /* a file that does not hold still for so long is shown */
    ROOT_CHECK_MS = 2000, /* a root that is renamed away gives no event in it */
    IDLE_MAX_MS = 60000,
};

struct scan_message {
    STAILQ_ENTRY(scan_message) order;
    enum { MESSAGE_ADD, MESSAGE_REMOVE, MESSAGE_ANSWER, MESSAGE_FLUSH } kind;
    struct site *site; /* a reference */
    struct scan_answer *answer;
    struct scan_flush *flush;
    bool *removed;
};

/* --- any thread --- */

static void wake(void *ctx)
{
    struct scan *c = ctx;
    eventfd_write(c->wake, 1);
}

static void post(struct scan *c, const struct scan_message *m)
{
    struct scan_message *copy = mem_alloc(sizeof *copy);
    *copy = *m;
    site_ref(m->site);
    pthread_mutex_lock(&c->lock);
    STAILQ_INSERT_TAIL(&c->mailbox, copy, order);
    pthread_mutex_unlock(&c->lock);
    wake(c);
}

static void post_answer(struct scan *c, struct site *s, struct bytes path, const struct record *r)
{
    struct scan_answer *a = mem_alloc(sizeof *a);
    a->path = (struct bytes){mem_copy_bytes(path.data, path.len), path.len};
    a->busy = !r;
    if (r) {
        a->flags = r->flags;
        a->validators = r->validators;
        a->digest = r->entry.digest;
    }
    post(c, &(struct scan_message){.kind = MESSAGE_ANSWER, .site = s, .answer = a});
}

static void on_seen(void *ctx, struct site *s, struct bytes path, const struct record *r)
{
    if (r->entry.has_digest)
        post_answer(ctx, s, path, r);
}

static void on_look(void *ctx, struct site *s, struct bytes path)
{
    post_answer(ctx, s, path, NULL);
}

void scan_post_flush(struct scan *c, struct scan_flush *f)
{
    post(c, &(struct scan_message){.kind = MESSAGE_FLUSH, .site = f->site, .flush = f});
}

void scan_add(struct scan *c, struct site *s)
{
    unrest_watch(s->unrest, wake, c);
    s->hooks = (struct site_hooks){.seen = on_seen,
        .look = on_look,
        .check = barrier_check_unit,
        .checked = barrier_unit_checked,
        .check_free = barrier_unit_free,
        .pending = pending_is,
        .ctx = c};
    post(c, &(struct scan_message){.kind = MESSAGE_ADD, .site = s});
}

void scan_remove(struct scan *c, struct site *s)
{
    bool removed = false;
    post(c, &(struct scan_message){.kind = MESSAGE_REMOVE, .site = s, .removed = &removed});
    pthread_mutex_lock(&c->lock);
    while (!removed)
        pthread_cond_wait(&c->removed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

struct scan_site *scan_find(struct scan *c, const struct site *site)
{
    struct scan_site *s;
    TAILQ_FOREACH (s, &c->sites, order)
        if (s->site == site)
            return s;
    return NULL;
}

bool scan_has_mail(struct scan *c, const struct site *site)
{
    const struct scan_message *m;
    STAILQ_FOREACH (m, &c->mailbox, order)
        if (m->site == site && m->answer && m->answer->busy)
            return true;
    return false;
}

bool scan_status(struct scan *c, const struct site *site, struct scan_status *out)
{
    pthread_mutex_lock(&c->lock);
    struct scan_site *s = scan_find(c, site);
    if (s)
        *out = s->published;
    pthread_mutex_unlock(&c->lock);
    return s != NULL;
}

/* --- a site's state --- */

bool scan_is_up(const struct scan_site *s)
{
    return s->status.state == SCAN_OK;
}

bool scan_hint_path(
    struct scan_site *s, const struct hint *h, char path[PATH_TOTAL_MAX + 1], size_t *len)
{
    struct manifest_txn *t;
    size_t n = 0;
    struct bytes name = h->key.name;
    if (manifest_begin(s->site->manifest, false, &t, NULL) < 0)
        return false;
    int found = manifest_dir_path(t, h->key.dir, path, &n, NULL);
    manifest_abort(t);
    if (found <= 0 || n + 1 + name.len > PATH_TOTAL_MAX)
        return false;
    if (n && name.len)
        path[n++] = '/';
    if (name.len)
        memcpy(path + n, name.data, name.len);
    *len = n + name.len;
    return true;
}

static void collect_busy(struct scan_site *s, uint64_t now)
{
    struct scan_status *status = &s->status;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    status->busy_count = 0;
    for (struct hint *h = batch_each(s->batch, NULL); h; h = batch_each(s->batch, h)) {
        if (status->busy_count == SCAN_BUSY_MAX)
            return;
        if (h->writer && now - h->first_ms >= BUSY_MS && scan_hint_path(s, h, path, &len))
            log_name(status->busy[status->busy_count++], SCAN_PATH_MAX, path, len);
    }
}

static void publish(struct scan_site *s)
{
    struct manifest_txn *t;
    struct msg_sums sums;
    uint64_t now = io_now_ms();
    if (now < s->publish_due_ms)
        return;
    s->publish_due_ms = UINT64_MAX;
    if (manifest_begin(s->site->manifest, false, &t, NULL) == 0) {
        if (manifest_sums(t, MANIFEST_ROOT, &sums, NULL) == 0) {
            s->status.entries = sums.entries;
            s->status.bytes = sums.bytes;
            s->status.files = sums.files;
            s->status.unproven = sums.unproven;
            if (scan_is_up(s))
                loss_look(&s->site->loss, sums.entries);
        }
        manifest_abort(t);
    }
    s->status.watches = s->watch ? watch_count(s->watch) : 0;
    collect_busy(s, now);
    unreadable_collect(s);
    pthread_mutex_lock(&s->scan->lock);
    s->published = s->status;
    pthread_mutex_unlock(&s->scan->lock);
}

static void want_publish(struct scan_site *s, uint64_t ms)
{
    uint64_t due = io_now_ms() + ms;
    if (due < s->publish_due_ms)
        s->publish_due_ms = due;
}

void scan_hold(struct scan_site *s, enum scan_state state, const char *fmt, ...)
{
    va_list ap;
    char text[sizeof s->status.error];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (strcmp(text, s->status.error) != 0)
        log_error("%s: %s", s->site->label, text);
    memcpy(s->status.error, text, sizeof text);
    s->status.state = state;
    s->retry_due_ms = io_now_ms() + SCAN_HELD_RETRY_MS;
    s->compare = true;
    batch_clear(s->batch);
    outbox_clear(&s->outbox);
    rescan_drop(s);
    links_free(s);
    barrier_fail_all(s, text);
    unrest_stir_all(s->site->unrest, io_now_ms());
    want_publish(s, 0);
    publish(s);
    s->scan->sink.changed(s->scan->sink.ctx, s->site);
}

bool scan_root_in_place(struct scan_site *s)
{
    s->root_due_ms = io_now_ms() + ROOT_CHECK_MS;
    if (root_in_place(s->site->root))
        return true;
    scan_hold(s, SCAN_HELD,
        "the root %s is not the directory that it was: nothing is sent or deleted while it is "
        "missing, unmounted or replaced",
        root_path(s->site->root));
    return false;
}

void scan_trouble(struct scan_site *s, const struct err *err)
{
    scan_hold(s, SCAN_FAILED, "%s", err->text);
}

static void retry(struct scan_site *s)
{
    s->retry_due_ms = 0;
    if (!root_in_place(s->site->root)) {
        s->retry_due_ms = io_now_ms() + SCAN_HELD_RETRY_MS;
        return;
    }
    log_info("%s: looking through the whole site again", s->site->label);
    s->status.state = SCAN_SCANNING;
    rescan_start(s, true);
    want_publish(s, 0);
}

static void hint_path(struct scan_site *s, struct manifest_txn *t, const struct outbox_item *i)
{
    struct record r;
    struct hint_key key = {0, path_name(i->path)};
    uint64_t now = io_now_ms();
    if (manifest_lookup(t, i->path, &r, &key.dir, NULL) <= 0 || !key.dir)
        return;
    unsigned pause = i->flags & HINT_PROVE ? validators_pause_ms(&r.validators) : 0;
    batch_add(s->batch, key, i->flags, now, now + pause);
}

static void send_hints(struct scan_site *s)
{
    struct manifest_txn *t = NULL;
    for (size_t i = 0; i < s->outbox.count; i++) {
        if (s->outbox.items[i].kind != OUTBOX_HINT)
            continue;
        if (!t && manifest_begin(s->site->manifest, false, &t, NULL) < 0)
            return;
        hint_path(s, t, &s->outbox.items[i]);
    }
    manifest_abort(t);
}

static void send_move(struct scan_site *s, const struct outbox_item *o)
{
    uint64_t now = io_now_ms();
    unrest_stir(s->site->unrest, o->path, true, now);
    unrest_stir(s->site->unrest, o->to, true, now);
    unrest_stir_beneath(s->site->unrest, o->path, now);
    unrest_stir_beneath(s->site->unrest, o->to, now);
    s->scan->sink.move(s->scan->sink.ctx, s->site, o->path, o->to);
}

void scan_send(struct scan_site *s)
{
    const struct scan_sink *sink = &s->scan->sink;
    if (!s->outbox.count)
        return;
    for (size_t i = 0; i < s->outbox.count; i++) {
        const struct outbox_item *o = &s->outbox.items[i];
        if (o->kind == OUTBOX_OWE)
            sink->owe(sink->ctx, s->site, o->path, o->flags);
        else if (o->kind == OUTBOX_MOVE)
            send_move(s, o);
    }
    send_hints(s);
    want_publish(s, PUBLISH_MS);
    outbox_clear(&s->outbox);
}

/* --- sites come and go --- */

static int watch_cookies(struct scan_site *s, struct err *err)
{
    const char *path = state_cookie_dir(s->site->state);
    int fd CLEANUP_FD = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    return watch_add_cookies(s->watch, fd, err) == WATCH_ADDED ? 0 : -1;
}

/* The site whose inotify instance the fewest share, other than this one. */
static struct scan_site *least_shared(struct scan_site *than)
{
    struct scan_site *s, *best = NULL;
    TAILQ_FOREACH (s, &than->scan->sites, order)
        if (s != than && s->watch && s->source &&
            (!best || watch_sharers(s->watch) < watch_sharers(best->watch)))
            best = s;
    return best;
}

/* The one that was there, which is the caller's now. */
static struct reader_source *set_source(struct scan_site *s, struct reader_source *source)
{
    pthread_mutex_lock(&s->scan->lock);
    struct reader_source *old = s->source;
    s->source = source;
    pthread_mutex_unlock(&s->scan->lock);
    return old;
}

/* An instance of its own up to the fair share of all there are, then another site's. */
static int open_watch(struct scan_site *s, struct err *err)
{
    struct scan *c = s->scan;
    struct scan_site *other = least_shared(s);
    struct reader_source *source = NULL;
    int r = WATCH_NO_INSTANCE;
    if (!other || c->instances < watch_instances_fair())
        r = watch_new(&s->watch, err);
    if (r == 0) {
        c->instances++;
        r = reader_add(c->reader, watch_fd(s->watch), &source, err);
        set_source(s, source);
        return r;
    }
    if (r < 0 || !other)
        return -1;
    s->watch = watch_share(other->watch);
    set_source(s, reader_share(c->reader, other->source));
    return 0;
}

static void stop_watching(struct scan_site *s)
{
    reader_remove(s->scan->reader, set_source(s, NULL));
    if (s->watch && watch_sharers(s->watch) == 1)
        s->scan->instances--;
    watch_free(s->watch);
    s->watch = NULL;
}

void scan_watch(struct scan_site *s)
{
    struct err err;
    bool again = s->watchless_told;
    if (s->watch)
        return;
    if (open_watch(s, &err) == 0 && watch_cookies(s, &err) == 0) {
        s->watchless_told = false;
        if (again)
            log_info("%s: it is watched now", s->site->label);
        return;
    }
    stop_watching(s);
    s->watchless_told = true;
    if (!again)
        log_warn("%s: it is not watched, but looked through every %llu s: %s", s->site->label,
            (unsigned long long)s->scan->options.unwatched_ms / 1000, err.text);
}

/* Other content under the validators that it had: read under the rules, it is owed where that is
 * so. Other validators are an event's or a walk's. */
static void on_differs(void *ctx, struct bytes path, bool content)
{
    const struct scan_site *s = ctx;
    if (!content)
        return;
    log_warn("%s: %s is not what it was when it was read last, though its times are: it is read "
             "once more",
        s->site->label, QUOTED(path.data, path.len));
    prover_ask(s->scan->prover, s->site, path);
}

/* In the reading's thread. */
static void on_proven(void *ctx, struct bytes path, const struct record *r)
{
    const struct scan_site *s = ctx;
    post_answer(s->scan, s->site, path, r);
}

static void add_site(struct scan *c, struct site *site)
{
    struct scan_site *s = mem_alloc(sizeof *s);
    s->scan = c;
    s->site = site_ref(site);
    s->batch = batch_new();
    s->looks = set_new();
    s->lost = set_new();
    s->unreadable = set_new();
    s->publish_due_ms = UINT64_MAX;
    s->rescan_due_ms = UINT64_MAX;
    TAILQ_INIT(&s->jobs);
    STAILQ_INIT(&s->answers);
    LIST_INIT(&s->flushes);
    pthread_mutex_lock(&c->lock);
    TAILQ_INSERT_TAIL(&c->sites, s, order);
    pthread_mutex_unlock(&c->lock);
    scan_watch(s);
    rescan_start(s, true);
    const struct reread_hooks hooks = {.differs = on_differs, .proven = on_proven, .ctx = s};
    if (c->reread)
        s->reread = reread_add(c->reread, site->root, site->manifest, &hooks);
}

static void remove_site(struct scan_site *s)
{
    struct scan *c = s->scan;
    pthread_mutex_lock(&c->lock);
    TAILQ_REMOVE(&c->sites, s, order);
    pthread_mutex_unlock(&c->lock);
    reread_remove(s->reread);
    barrier_fail_all(s, "the site is no longer mirrored from here");
    unrest_unwatch(s->site->unrest);
    rescan_drop(s);
    stop_watching(s);
    answers_drop(s);
    links_free(s);
    set_free(s->looks);
    set_free(s->lost);
    set_free(s->unreadable);
    batch_free(s->batch);
    outbox_free(&s->outbox);
    buf_free(&s->events);
    site_unref(s->site);
    free(s);
}

/* --- the thread --- */

static void free_answer(struct scan_answer *a)
{
    if (a)
        free((void *)a->path.data);
    free(a);
}

static void take_message(struct scan *c, struct scan_message *m)
{
    struct scan_site *s = scan_find(c, m->site);
    switch (m->kind) {
    case MESSAGE_ADD:
        if (!s)
            add_site(c, m->site);
        break;
    case MESSAGE_REMOVE:
        if (s)
            remove_site(s);
        pthread_mutex_lock(&c->lock);
        *m->removed = true;
        pthread_cond_broadcast(&c->removed);
        pthread_mutex_unlock(&c->lock);
        break;
    case MESSAGE_ANSWER:
        if (s && scan_is_up(s))
            STAILQ_INSERT_TAIL(&s->answers, m->answer, order);
        else
            free_answer(m->answer);
        break;
    case MESSAGE_FLUSH:
        if (s)
            barrier_begin(s, m->flush);
        else
            barrier_fail(m->flush, "the site is not mirrored from here");
        break;
    }
    site_unref(m->site);
    free(m);
}

/* False: the thread is to end. */
static bool take_mail(struct scan *c)
{
    struct scan_message *m;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        bool stop = c->stop;
        m = stop ? NULL : STAILQ_FIRST(&c->mailbox);
        if (m)
            STAILQ_REMOVE_HEAD(&c->mailbox, order);
        if (m && m->answer)
            pending_answer(scan_find(c, m->site), m->answer);
        pthread_mutex_unlock(&c->lock);
        if (stop || !m)
            return !stop;
        take_message(c, m);
    }
}

static void work_by_the_clock(struct scan_site *s, uint64_t now)
{
    if (s->sweep_due_ms && now >= s->sweep_due_ms)
        rescan_sweep(s);
    if (now < s->rescan_due_ms || s->whole)
        return;
    rescan_start(s, false);
    s->periodic = true;
}

static void work_on(struct scan_site *s)
{
    uint64_t now = io_now_ms();
    if (s->retry_due_ms && now >= s->retry_due_ms)
        retry(s);
    intake_run(s);
    scan_send(s);
    if (scan_is_up(s) && (batch_count(s->batch) > 0 || now >= s->root_due_ms))
        scan_root_in_place(s); /* what is held has nothing left to do below */
    if (scan_is_up(s)) {
        if (!STAILQ_EMPTY(&s->answers)) /* how much is proven by now */
            want_publish(s, PUBLISH_MS);
        answers_run(s);
        scan_send(s);
    }
    if (scan_is_up(s)) {
        examine_run(s);
        scan_send(s);
    }
    if (scan_is_up(s))
        rescan_step(s);
    if (scan_is_up(s))
        links_step(s);
    if (scan_is_up(s))
        work_by_the_clock(s, now);
    barrier_check(s);
    if (scan_is_up(s))
        settle_run(s);
    pending_settle(s);
    publish(s);
}

/* When this site has something to do again. */
static uint64_t next_due(const struct scan_site *s, uint64_t now)
{
    uint64_t due = s->publish_due_ms;
    if (s->retry_due_ms && s->retry_due_ms < due)
        due = s->retry_due_ms;
    if (barrier_is_wanted(s) && barrier_next_ms(s, now) < due)
        due = barrier_next_ms(s, now);
    if (!scan_is_up(s))
        return due;
    if (!STAILQ_EMPTY(&s->answers) || !TAILQ_EMPTY(&s->jobs))
        return now;
    if (batch_next_ms(s->batch) < due)
        due = batch_next_ms(s->batch);
    if (s->sweep_due_ms && s->sweep_due_ms < due)
        due = s->sweep_due_ms;
    if (links_due(s) < due)
        due = links_due(s);
    if (settle_due(s) < due)
        due = settle_due(s);
    if (s->root_due_ms < due)
        due = s->root_due_ms;
    return !s->whole && s->rescan_due_ms < due ? s->rescan_due_ms : due;
}

/* The site whose turn it is to be walked whole: those that somebody waits for before the periodic.
 */
static struct scan_site *next_whole(struct scan *c)
{
    struct scan_site *s, *periodic = NULL;
    if (c->walking)
        return c->walking;
    TAILQ_FOREACH (s, &c->sites, order) {
        if (s->whole && !s->periodic)
            return s;
        if (s->whole && !periodic)
            periodic = s;
    }
    return periodic;
}

static uint64_t work(struct scan *c)
{
    struct scan_site *s;
    TAILQ_FOREACH (s, &c->sites, order)
        work_on(s);
    s = next_whole(c);
    if (s) {
        rescan_whole(s);
        pending_settle(s);
        want_publish(s, PUBLISH_MS);
    }
    uint64_t now = io_now_ms(), due = next_whole(c) ? now : now + IDLE_MAX_MS;
    TAILQ_FOREACH (s, &c->sites, order) {
        uint64_t one = next_due(s, now);
        if (one < due)
            due = one;
    }
    return due > now ? due - now : 0;
}

static void *scan_all(void *arg)
{
    struct scan *c = arg;
    uint64_t pause = 0;
    while (take_mail(c)) {
        FAULT_SLOW();
        pause = work(c);
        struct pollfd p = {.fd = c->wake, .events = POLLIN};
        eventfd_t count;
        if (poll(&p, 1, (int)pause) > 0)
            eventfd_read(c->wake, &count);
    }
    return NULL;
}

/* --- beginning and end --- */

static int open_parts(struct scan *c, struct err *err)
{
    struct prover_answer answer = {.read = on_seen, .busy = on_look, .ctx = c};
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake < 0)
        return err_sys(err, errno, "eventfd");
    if (reader_new(wake, c, &c->reader, err) < 0 || prover_new(&answer, &c->prover, err) < 0)
        return -1;
    int failed = pthread_create(&c->thread, NULL, scan_all, c);
    if (failed)
        return err_sys(err, failed, "thread");
    c->running = true;
    return 0;
}

int scan_new(
    const struct scan_options *o, const struct scan_sink *sink, struct scan **out, struct err *err)
{
    struct scan *c = mem_alloc(sizeof *c);
    c->options = *o;
    c->sink = *sink;
    if (!c->options.rescan_ms)
        c->options.rescan_ms = RESCAN_MS;
    if (!c->options.unwatched_ms)
        c->options.unwatched_ms =
            c->options.rescan_ms < UNWATCHED_MS ? c->options.rescan_ms : UNWATCHED_MS;
    if (o->scan_rate)
        c->reread = reread_new(o->scan_rate, o->reread_every_s);
    c->names = names_new(NULL);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->removed, NULL);
    STAILQ_INIT(&c->mailbox);
    TAILQ_INIT(&c->sites);
    if (open_parts(c, err) < 0) {
        scan_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* What nobody will take any more. */
static void drop_mail(struct scan *c)
{
    struct scan_message *m;
    while ((m = STAILQ_FIRST(&c->mailbox))) {
        STAILQ_REMOVE_HEAD(&c->mailbox, order);
        free_answer(m->answer);
        if (m->flush)
            barrier_fail(m->flush, "the daemon ends");
        site_unref(m->site);
        free(m);
    }
}

void scan_free(struct scan *c)
{
    if (!c)
        return;
    if (c->running) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_mutex_unlock(&c->lock);
        wake(c);
        pthread_join(c->thread, NULL);
    }
    struct scan_site *s;
    TAILQ_FOREACH (s, &c->sites, order)
        reread_remove(TAKE_PTR(s->reread));
    prover_free(c->prover);
    while (!TAILQ_EMPTY(&c->sites))
        remove_site(TAILQ_FIRST(&c->sites));
    reread_free(c->reread);
    drop_mail(c);
    reader_free(c->reader);
    names_free(c->names);
    if (c->wake >= 0)
        close(c->wake);
    pthread_cond_destroy(&c->removed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
