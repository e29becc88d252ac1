/*
 * What other threads have for the scanner's: sites that come and go, flushes, and what readers of
 * files report. They are taken in order, between two rounds of work.
 */
#include "base/mem.h"
#include "primary/scan/scan_impl.h"

struct scan_message {
    STAILQ_ENTRY(scan_message) order;
    enum { MESSAGE_ADD, MESSAGE_REMOVE, MESSAGE_ANSWER, MESSAGE_FLUSH } kind;
    struct site *site; /* a reference */
    struct scan_answer *answer;
    struct scan_flush *flush;
    bool *removed;
};

static void post(struct scan *c, const struct scan_message *m)
{
    struct scan_message *copy = mem_alloc(sizeof *copy);
    *copy = *m;
    site_ref(m->site);
    pthread_mutex_lock(&c->lock);
    bool first = STAILQ_EMPTY(&c->mailbox);
    STAILQ_INSERT_TAIL(&c->mailbox, copy, order);
    pthread_mutex_unlock(&c->lock);
    if (first) /* else who posted that has woken it, and all are taken then */
        scan_wake(c);
}

void mailbox_answer(struct scan *c, struct site *s, struct bytes path, const struct record *r)
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

void mailbox_seen(void *ctx, struct site *s, struct bytes path, const struct record *r)
{
    if (r->entry.has_digest)
        mailbox_answer(ctx, s, path, r);
}

void mailbox_look(void *ctx, struct site *s, struct bytes path)
{
    mailbox_answer(ctx, s, path, NULL);
}

void scan_post_flush(struct scan *c, struct scan_flush *f)
{
    post(c, &(struct scan_message){.kind = MESSAGE_FLUSH, .site = f->site, .flush = f});
}

void scan_add(struct scan *c, struct site *s)
{
    unrest_watch(s->unrest, scan_wake, c);
    s->hooks = (struct site_hooks){.seen = mailbox_seen,
        .look = mailbox_look,
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

bool mailbox_has_busy(struct scan *c, const struct site *site)
{
    const struct scan_message *m;
    STAILQ_FOREACH (m, &c->mailbox, order)
        if (m->site == site && m->answer && m->answer->busy)
            return true;
    return false;
}

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
            scan_site_add(c, m->site);
        break;
    case MESSAGE_REMOVE:
        if (s)
            scan_site_remove(s);
        pthread_mutex_lock(&c->lock);
        *m->removed = true;
        pthread_cond_broadcast(&c->removed);
        pthread_mutex_unlock(&c->lock);
        break;
    case MESSAGE_ANSWER:
        if (s && scan_is_up(s))
            answers_add(s, m->answer);
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
bool mailbox_take(struct scan *c)
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

/* What nobody will take any more. */
void mailbox_drop(struct scan *c)
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
