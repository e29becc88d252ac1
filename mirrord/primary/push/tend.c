/*
 * The sites of a session, between messages: which of them the far end is to open, for the first
 * time or again, which it is to close, and what it is told of them when all is there.
 */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/push/push_impl.h"
#include "primary/sessions.h"

enum {
    GIVEN_UP_MS = 60000, /* before a site is opened again that this end closed */
    GOOD_MS = 60000,     /* what OPENED said is believed so long */
    HELD_MS = 60000,     /* a site held for safety is looked at again after this */
    TOLD_MS = 300000,    /* between openings that may have paths that drifted in the log again */
};

static void put_rules(const struct filter *f, struct msg_open *m)
{
    for (size_t i = 0; i < filter_count(f) && m->rule_count < MSG_RULES_MAX; i++)
        filter_rule(f, i, &m->rules[m->rule_count++]);
}

static void fill_open(const struct push *p, struct push_site *ps, struct msg_open *m)
{
    const struct site_options *so = &ps->site->options;
    m->site = ps->number;
    m->name = bytes_of(ps->site->name);
    m->root = bytes_of(ps->remote_root);
    m->flags = (so->owner ? OPEN_OWNER : 0) | (so->checksum ? OPEN_CHECKSUM : 0) |
               (so->adopt || ps->adopt ? OPEN_ADOPT : 0) | (so->dry_run ? OPEN_DRY_RUN : 0) |
               (so->force || ps->force ? OPEN_FORCE : 0) |
               (so->special_bits ? OPEN_SPECIAL_BITS : 0) | (so->fsync_batch ? OPEN_FSYNC : 0);
    m->epoch = ps->site->epoch.counter;
    m->epoch_id = ps->site->epoch.id;
    ps->session = so->dry_run ? 0 : sessions_next(ps->site->sessions);
    m->session = ps->session;
    m->known = so->dry_run ? 0 : sessions_known(ps->site->sessions, &p->far_id);
    m->max_delete_percent = (uint8_t)so->max_delete_percent;
    m->max_delete_count = so->max_delete_count;
    m->keep_days = (uint16_t)so->keep_days;
    m->unit_grace = so->unit_grace;
    put_rules(ps->site->filter, m);
    if (ps->without)
        put_rules(ps->without, m);
}

static void put_open(struct push *p, struct push_site *ps)
{
    struct msg_open *m = mem_alloc(sizeof *m);
    ps->number = ++p->next_site;
    pthread_mutex_lock(&ps->lock);
    drifted_opening(ps->drifted);
    ps->hook = (struct push_hook){0}; /* told again where it fails */
    pthread_mutex_unlock(&ps->lock);
    uint64_t now = io_now_ms();
    if (!ps->told_drift_ms || now >= ps->told_drift_ms + TOLD_MS) {
        ps->told_drift = 0;
        ps->told_drift_ms = now;
    }
    ps->tell_sent = ps->tell_done;
    ps->told_owed = false;
    fill_open(p, ps, m);
    msg_put_open(&p->out, m);
    free(m);
    if (!p->out.bad) {
        ps->state = PUSH_OPENING;
        p->opening++;
        return;
    }
    struct err why;
    p->out.bad = false; /* the frame was taken back */
    err_set(&why, ERR_USAGE, "the filter's rules are too long to be sent (64 KiB in all)");
    push_site_error(ps, &why, (struct bytes){0});
    ps->number = 0;
    ps->state = PUSH_FAILED;
}

static void close_site(struct push *p, struct push_site *ps)
{
    if (ps->number)
        msg_put_close(&p->out, &(struct msg_close){.site = ps->number});
    push_site_reset(p, ps);
}

void push_site_give_up(struct push *p, struct push_site *ps, const struct err *why)
{
    if (ps->failures == 0 && !p->o->once)
        push_site_warn(p, ps, (struct bytes){0}, why);
    push_site_error(ps, why, (struct bytes){0});
    close_site(p, ps);
    ps->state = PUSH_FAILED;
    ps->failures++;
    ps->retry_ms = io_now_ms() + GIVEN_UP_MS;
    p->o->hooks.changed(p->o->hooks.ctx);
}

static void part_from(struct push *p, struct push_site *ps)
{
    if (ps->state == PUSH_OPENING)
        p->opening--;
    close_site(p, ps);
    TAILQ_REMOVE(p->o->sites, ps, order);
    p->o->hooks.left(p->o->hooks.ctx, ps);
}

static uint64_t count_entries(const struct site *s)
{
    struct manifest_txn *t;
    struct msg_sums sums = {0};
    if (manifest_begin(s->manifest, false, &t, NULL) < 0)
        return 0;
    manifest_sums(t, MANIFEST_ROOT, &sums, NULL);
    manifest_abort(t);
    return sums.entries;
}

/* A site held for safety is looked at again after a while, and soon when the tree has changed: what
 * was missing may be back. */
static bool tend_held(struct push *p, struct push_site *ps, uint64_t now)
{
    if (p->o->once)
        return false;
    if (!ps->look_ms) {
        ps->held_entries = count_entries(ps->site);
        ps->retry_ms = ps->retry_ms ? ps->retry_ms : now + HELD_MS;
        ps->look_ms = now + TEND_HELD_MS;
    }
    if (now < ps->look_ms)
        return false;
    ps->look_ms = now + TEND_HELD_MS;
    return count_entries(ps->site) != ps->held_entries;
}

/* Everything is there: once for each opening the far end is told. */
static void tell_level(struct push *p, struct push_site *ps)
{
    if (ps->state != PUSH_OPEN || ps->compare || ps->comparing || ps->expander || ps->again ||
        ps->incomplete || ps->site->options.dry_run || ps->site->options.no_delete)
        return;
    if (queue_size(p->o->queue, ps->owed) > 0)
        return;
    pthread_mutex_lock(&ps->lock);
    bool left = drifted_level(ps->drifted) > 0;
    pthread_mutex_unlock(&ps->lock);
    if (left || ps->told_level) /* where drift is left it is not all ours */
        return;
    msg_put_level(&p->out, &(struct msg_level){.site = ps->number});
    ps->told_level = true;
    ps->first_copy = false;
    ps->force = ps->adopt = false;
    if (ps->forgive)
        loss_forgive(&ps->site->loss);
    ps->forgive = false;
}

/* Somebody wants to know when the command after a commit is through. One that is too old says
 * nothing of it. */
static void put_tell(struct push *p, struct push_site *ps)
{
    if (ps->state != PUSH_OPEN || ps->tell <= ps->tell_sent || p->renew)
        return;
    ps->tell_sent = ps->tell;
    if (p->version < MSG_VERSION_NEWS)
        ps->tell_done = ps->tell;
    else
        msg_put_tell(&p->out, &(struct msg_tell){ps->number, ps->tell});
}

/* Refused by one is refused by all. */
static void fence(struct push *p, struct push_site *ps)
{
    struct err why;
    if (ps->state == PUSH_FENCED)
        return;
    if (ps->state == PUSH_OPENING)
        p->opening--;
    close_site(p, ps);
    err_set(&why, ERR_REFUSED, "%s", ps->site->fenced_why);
    push_site_error(ps, &why, (struct bytes){0});
    ps->state = PUSH_FENCED;
    p->o->hooks.changed(p->o->hooks.ctx);
}

/* Does what OPENED said still hold, now that the first scan is done? The far end walked its tree
 * for it, which a second opening would have it do again. A one-shot has the tree for itself. */
static bool is_good(const struct push *p, const struct push_site *ps, uint64_t now)
{
    return ps->opened.len && (p->o->once || now - ps->opened_ms < GOOD_MS);
}

/* Opens what is to be opened (again), closes what goes. */
void tend_sites(struct push *p)
{
    uint64_t now = io_now_ms();
    struct push_site *ps, *next;
    if (p->o->hooks.sites)
        p->o->hooks.sites(p->o->hooks.ctx, p->o->sites);
    for (ps = TAILQ_FIRST(p->o->sites); ps; ps = next) {
        next = TAILQ_NEXT(ps, order);
        if (ps->leaving) {
            part_from(p, ps);
            continue;
        }
        if (ps->site->fenced) {
            fence(p, ps);
            continue;
        }
        bool again = ps->again && ps->state >= PUSH_COMPARING && ps->site->scanned;
        if (ps->state == PUSH_UNSCANNED && ps->site->scanned) {
            if (is_good(p, ps, now))
                inbox_compare_kept(p, ps);
            else
                again = true;
        }
        if (ps->state == PUSH_HELD || ps->state == PUSH_FAILED)
            again |= !p->o->once && ps->retry_ms && now >= ps->retry_ms;
        if (ps->state == PUSH_HELD)
            again |= tend_held(p, ps, now);
        if (again) {
            ps->state = PUSH_CLOSED; /* before it counts as done */
            ps->again = false;
            ps->retry_ms = ps->look_ms = 0;
            close_site(p, ps);
        }
        if (ps->state == PUSH_CLOSED && !p->renew)
            put_open(p, ps);
        put_tell(p, ps);
        push_proof_tend(p, ps);
    }
}

void tend_levels(struct push *p)
{
    struct push_site *ps;
    TAILQ_FOREACH (ps, p->o->sites, order)
        tell_level(p, ps);
}
