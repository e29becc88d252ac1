/*
 * The sites of the scanner come and go; how each is watched while it is there. There may be fewer
 * instances of inotify than sites: then they share, or a site is looked through at an interval.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/scan/scan_impl.h"
#include "tree/walk/reread.h"

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
    mailbox_answer(s->scan, s->site, path, r);
}

void scan_site_add(struct scan *c, struct site *site)
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

void scan_site_remove(struct scan_site *s)
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
