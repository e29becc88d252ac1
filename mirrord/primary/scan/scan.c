/*
 * The scanner's thread: the mailbox of the other threads (mailbox.c), then the sites one after the
 * other, each for some milliseconds, so that a burst in one does not delay an upload in another. At
 * most one site at a time is walked whole. See scan_impl.h for the parts.
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "primary/scan/scan_impl.h"
#include "tree/walk/reread.h"

enum {
    RESCAN_MS = 3600 * 1000,
    UNWATCHED_MS = 60 * 1000,
    IDLE_MAX_MS = 60000,
};

void scan_wake(void *ctx)
{
    struct scan *c = ctx;
    eventfd_write(c->wake, 1);
}

struct scan_site *scan_find(struct scan *c, const struct site *site)
{
    struct scan_site *s;
    TAILQ_FOREACH (s, &c->sites, order)
        if (s->site == site)
            return s;
    return NULL;
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
        scan_retry(s);
    intake_run(s);
    scan_send(s);
    if (scan_is_up(s) && (batch_count(s->batch) > 0 || now >= s->root_due_ms))
        scan_root_in_place(s); /* what is held has nothing left to do below */
    if (scan_is_up(s)) {
        if (!STAILQ_EMPTY(&s->answers)) /* how much is proven by now */
            scan_want_publish(s, SCAN_PUBLISH_MS);
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
    scan_publish(s);
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
        scan_want_publish(s, SCAN_PUBLISH_MS);
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
    while (mailbox_take(c)) {
        FAULT_SLOW();
        pause = work(c);
        struct pollfd p = {.fd = c->wake, .events = POLLIN};
        eventfd_t count;
        if (poll(&p, 1, (int)pause) > 0)
            eventfd_read(c->wake, &count);
    }
    return NULL;
}

static int open_parts(struct scan *c, struct err *err)
{
    struct prover_answer answer = {.read = mailbox_seen, .busy = mailbox_look, .ctx = c};
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake < 0)
        return err_sys(err, errno, "eventfd");
    if (reader_new(scan_wake, c, &c->reader, err) < 0 || prover_new(&answer, &c->prover, err) < 0)
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

void scan_free(struct scan *c)
{
    if (!c)
        return;
    if (c->running) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_mutex_unlock(&c->lock);
        scan_wake(c);
        pthread_join(c->thread, NULL);
    }
    struct scan_site *s;
    TAILQ_FOREACH (s, &c->sites, order)
        reread_remove(TAKE_PTR(s->reread));
    prover_free(c->prover);
    while (!TAILQ_EMPTY(&c->sites))
        scan_site_remove(TAILQ_FIRST(&c->sites));
    reread_free(c->reread);
    mailbox_drop(c);
    reader_free(c->reader);
    names_free(c->names);
    if (c->wake >= 0)
        close(c->wake);
    pthread_cond_destroy(&c->removed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
