/*
 * How one secondary is, and how each of its sites is there: for status, metrics, health and a
 * flush. Looks, under the locks, and changes nothing.
 */
#include "primary/push/peer/peer_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"

uint64_t peer_mark(struct peer *p)
{
    return queue_mark(p->queue);
}

const struct tally *peer_tally(const struct peer *p)
{
    return &p->tally;
}

void peer_status(struct peer *p, struct peer_status *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->status;
    uint64_t now = io_now_ms();
    out->retry_ms = out->state == PEER_DOWN && p->retry_at_ms > now ? p->retry_at_ms - now : 0;
    out->down_ms = out->state == PEER_UP ? 0 : now - p->down_at_ms;
    pthread_mutex_unlock(&p->lock);
}

/* It is asked for and not begun: what was refused before says nothing of it. */
static bool is_asked_again(const struct membership *m)
{
    return m->asked || m->ps->again;
}

static void describe_state(const struct peer *p, const struct membership *m,
    const struct queue_counts *c, struct peer_site_status *s)
{
    switch (p->status.state == PEER_UP ? m->ps->state : PUSH_CLOSED) {
    case PUSH_CLOSED:
    case PUSH_OPENING:
    case PUSH_UNSCANNED: s->state = PEER_SITE_WAITING; break;
    case PUSH_COMPARING: s->state = PEER_SITE_COMPARING; break;
    case PUSH_OPEN:
        s->state = m->ps->comparing                ? PEER_SITE_COMPARING
                   : c->paths || is_asked_again(m) ? PEER_SITE_PUSHING
                                                   : PEER_SITE_LEVEL;
        break;
    case PUSH_HELD: s->state = is_asked_again(m) ? PEER_SITE_WAITING : PEER_SITE_HELD; break;
    case PUSH_FAILED: s->state = is_asked_again(m) ? PEER_SITE_WAITING : PEER_SITE_FAILED; break;
    case PUSH_FENCED: s->state = PEER_SITE_FENCED; break;
    }
    if ((p->paused || m->site->paused) && s->state < PEER_SITE_HELD)
        s->state = PEER_SITE_PAUSED;
}

bool peer_site_is_level(const struct peer_site_status *at)
{
    return at->state == PEER_SITE_LEVEL && at->failing == 0 && at->drift.count == 0 &&
           at->hook.failures == 0;
}

/* What the secondary has told of the site. An error is worth a word while something fails. */
static void copy_told(struct push_site *ps, bool failing, struct peer_site_status *out)
{
    pthread_mutex_lock(&ps->lock);
    out->room = ps->room;
    out->keep = ps->keep;
    out->low = ps->low;
    memcpy(out->no_room_path, ps->waits_path, sizeof out->no_room_path);
    out->trash_foreign = ps->trash.foreign;
    out->trash_foreign_bytes = ps->trash.foreign_bytes;
    out->trash_kept = ps->trash.kept;
    drifted_status(ps->drifted, &out->drift);
    out->hook = ps->hook;
    if (ps->error.code && (failing || out->state >= PEER_SITE_HELD)) {
        snprintf(out->error, sizeof out->error, "%.*s", (int)sizeof out->error - 1, ps->error.text);
        memcpy(out->error_path, ps->error_path, sizeof out->error_path);
        out->error_time = ps->error_time;
    }
    pthread_mutex_unlock(&ps->lock);
}

static bool describe(struct peer *p, const struct site *s, struct peer_site_status *out)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    if (m) {
        struct queue_counts c;
        /* In this order: what a comparison found is owed before it is over. */
        bool comparing = m->ps->state != PUSH_OPEN || m->ps->comparing;
        queue_count(p->queue, m->ps->owed, &c);
        *out = (struct peer_site_status){.owed_paths = c.paths,
            .owed_bytes = c.bytes,
            .behind_ms = c.oldest_ms,
            .failing = c.failing,
            .first_copy = m->ps->first_copy,
            .copied_bytes = m->ps->copied_bytes,
            .unproven = m->ps->unproven,
            .no_room = c.no_room};
        describe_state(p, m, &c, out);
        if (out->state == PEER_SITE_LEVEL && comparing)
            out->state = PEER_SITE_COMPARING;
        out->answered = p->status.state == PEER_UP && m->ps->state >= PUSH_UNSCANNED;
        copy_told(m->ps, c.failing > 0, out);
    }
    pthread_mutex_unlock(&p->lock);
    return m != NULL;
}

/* Asked before and behind: what the scanner tells of is owed by then, and what a peer found busy
 * the scanner has by then. */
bool peer_site_status(struct peer *p, const struct site *s, struct peer_site_status *out)
{
    bool pending = site_is_pending(s), found = describe(p, s, out);
    if (!found || out->state != PEER_SITE_LEVEL)
        return found;
    out->pending = pending || site_is_pending(s);
    if (out->pending)
        out->state = PEER_SITE_PUSHING;
    return true;
}

size_t peer_left(struct peer *p, const struct site *s, char (*out)[LOG_NAME_MAX], size_t max)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    size_t n = m ? push_site_left(m->ps, out, max) : 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

size_t peer_piecemeal(struct peer *p, const struct site *s, struct piecemeal_unit *out, size_t max)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    size_t n = m ? push_site_piecemeal_units(m->ps, out, max) : 0;
    pthread_mutex_unlock(&p->lock);
    return n;
}

int peer_reached(struct peer *p, const struct site *s, uint64_t mark, const struct bytes *paths,
    size_t path_count)
{
    int r = -1;
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    if (m && p->status.state == PEER_UP && m->ps->state < PUSH_HELD)
        r = m->ps->state == PUSH_OPEN && !is_asked_again(m) && !m->ps->comparing &&
            !queue_owes(p->queue, m->ps->owed, mark, paths, path_count);
    pthread_mutex_unlock(&p->lock);
    return r;
}
