/*
 * The sites of one secondary: which it has, what becomes owed of them, and what is asked for them
 * by any thread. The push, in the peer's thread, hears of it between messages; here is nothing of
 * how it is done.
 */
#include "primary/push/peer/peer_impl.h"

#include "base/mem.h"

enum { OWED_AWAY_MAX = 65536 }; /* paths noted for one that is away: comparing finds the rest */

static void member_free(struct peer *p, struct membership *m)
{
    TAILQ_REMOVE(&p->members, m, order);
    push_site_free(p->queue, m->ps);
    free(m);
}

struct membership *peer_member(struct peer *p, const struct site *s)
{
    struct membership *m;
    TAILQ_FOREACH (m, &p->members, order)
        if (m->site == s && !m->leaving)
            return m;
    return NULL;
}

void peer_drop_members(struct peer *p)
{
    while (!TAILQ_EMPTY(&p->members))
        member_free(p, TAILQ_FIRST(&p->members));
}

void peer_add_site(
    struct peer *p, struct site *s, const char *remote_root, const struct filter *without)
{
    struct membership *m = mem_alloc(sizeof *m);
    m->site = s;
    m->ps = push_site_new(p->queue, s, remote_root, without);
    pthread_mutex_lock(&p->lock);
    TAILQ_INSERT_TAIL(&p->members, m, order);
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

void peer_remove_site(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    if (m)
        m->leaving = true;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

/* Is it to be opened anew? The comparison that follows an opening takes what the manifest has then.
 */
static bool asks_again(const struct membership *m)
{
    return (m->asked & ~(unsigned)ASK_NEWS) != 0 ||
           ((m->asked & ASK_NEWS) && m->ps->state >= PUSH_COMPARING);
}

void peer_pass_on(struct peer *p, struct push_site_list *list)
{
    struct membership *m;
    pthread_mutex_lock(&p->lock);
    TAILQ_FOREACH (m, &p->members, order) {
        if (!m->listed && !m->leaving) {
            m->listed = true;
            m->ps->state = PUSH_CLOSED;
            TAILQ_INSERT_TAIL(list, m->ps, order);
        }
        m->ps->leaving = m->leaving;
        m->ps->again |= asks_again(m);
        m->ps->tell = m->tell;
        if (m->asked & ASK_FORCE)
            m->ps->force = m->ps->forgive = true;
        m->ps->adopt |= (m->asked & ASK_ADOPT) != 0;
        if (m->asked & (ASK_FORCE | ASK_ADOPT))
            m->ps->retry_ms = 1; /* at once */
        m->asked = 0;
    }
    pthread_mutex_unlock(&p->lock);
}

void peer_let_go(struct peer *p, struct push_site *ps)
{
    struct membership *m;
    pthread_mutex_lock(&p->lock);
    TAILQ_FOREACH (m, &p->members, order)
        if (m->ps == ps)
            break;
    if (m)
        member_free(p, m);
    pthread_mutex_unlock(&p->lock);
}

void peer_tend_members(struct peer *p)
{
    struct membership *m, *next;
    pthread_mutex_lock(&p->lock);
    for (m = TAILQ_FIRST(&p->members); m; m = next) {
        next = TAILQ_NEXT(m, order);
        if (!m->leaving)
            continue;
        if (m->listed)
            TAILQ_REMOVE(&p->sites, m->ps, order);
        member_free(p, m);
    }
    pthread_mutex_unlock(&p->lock);
}

void peer_owe(struct peer *p, struct site *s, struct bytes path, unsigned flags)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    bool found_later =
        m && p->status.state != PEER_UP && queue_size(p->queue, m->ps->owed) >= OWED_AWAY_MAX;
    if (m && !found_later)
        queue_owe(p->queue, m->ps->owed, path, flags, OWED_ANY, (struct bytes){0}, 0, 0);
    pthread_mutex_unlock(&p->lock);
}

void peer_move(struct peer *p, struct site *s, struct bytes from, struct bytes to)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    if (m && push_site_may_move(m->ps, from, to))
        queue_move(p->queue, m->ps->owed, from, to);
    else if (m)
        queue_owe_both(p->queue, m->ps->owed, from, to);
    pthread_mutex_unlock(&p->lock);
}

/* Passed on with the next look at the list of sites. */
static void ask(struct peer *p, struct site *s, unsigned what)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    if (m)
        m->asked |= what;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
}

void peer_compare(struct peer *p, struct site *s)
{
    ask(p, s, ASK_COMPARE);
}

void peer_compare_news(struct peer *p, struct site *s)
{
    ask(p, s, ASK_NEWS);
}

void peer_force(struct peer *p, struct site *s)
{
    ask(p, s, ASK_FORCE);
}

void peer_adopt(struct peer *p, struct site *s)
{
    ask(p, s, ASK_ADOPT);
}

uint64_t peer_tell(struct peer *p, struct site *s)
{
    pthread_mutex_lock(&p->lock);
    struct membership *m = peer_member(p, s);
    uint64_t number = m ? ++m->tell : 0;
    pthread_mutex_unlock(&p->lock);
    peer_wake(p);
    return number;
}

bool peer_told(struct peer *p, const struct site *s, uint64_t number)
{
    pthread_mutex_lock(&p->lock);
    const struct membership *m = peer_member(p, s);
    bool told = m && m->ps->tell_done >= number;
    pthread_mutex_unlock(&p->lock);
    return told;
}
