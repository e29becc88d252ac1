/*
 * Does the scanner know of something, or could it, that it has not told yet? Who says that a
 * secondary is level asks this first: what is owed there is all that matters only once everything
 * that has happened was told.
 *
 * What happens goes from the kernel's queue to the reader, to the batch of hints, to the sink; what
 * a peer found busy goes back from there to the mailbox. Each place is left only after the next one
 * says so, so whoever looks in that order misses nothing.
 */
#include "base/io.h"
#include "primary/scan/scan_impl.h"

enum { LOOKED_AT = 4096 }; /* hints; where there are more, it is assumed that one matters */

bool pending_is(void *ctx, const struct site *site)
{
    struct scan *c = ctx;
    pthread_mutex_lock(&c->lock);
    struct scan_site *s = scan_find(c, site);
    bool pending = s && ((s->source && !reader_is_empty(c->reader, s->source)) ||
                            mailbox_has_busy(c, site) || atomic_load(&s->pending));
    pthread_mutex_unlock(&c->lock);
    return pending;
}

void pending_answer(struct scan_site *s, const struct scan_answer *a)
{
    if (s && a->busy)
        atomic_store(&s->pending, true);
}

/* A file that is being written is not meant before it is closed; what is only to be read again has
 * been told. */
static bool matters(const struct hint *h, uint64_t now)
{
    bool only_read = !(h->flags & (HINT_EVENTS | HINT_META | HINT_OWE));
    return !only_read && (!h->writer || h->due_ms <= now);
}

static bool has_hint(const struct batch *b)
{
    uint64_t now = io_now_ms();
    unsigned n = 0;
    for (const struct hint *h = batch_each(b, NULL); h; h = batch_each(b, h))
        if (++n > LOOKED_AT || matters(h, now))
            return true;
    return false;
}

static bool has_busy(const struct scan_site *s)
{
    const struct scan_answer *a;
    STAILQ_FOREACH (a, &s->answers, order)
        if (a->busy)
            return true;
    return false;
}

void pending_settle(struct scan_site *s)
{
    atomic_store(&s->pending, s->outbox.count > 0 || rescan_is_wanted(s) || links_is_wanted(s) ||
                                  has_busy(s) || has_hint(s->batch));
}
