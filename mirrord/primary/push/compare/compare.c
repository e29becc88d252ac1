/* Two manifests held against each other: only directories whose digests differ are listed, breadth
 * first, several requests under way at once. What differs is collected, matched for moves, judged
 * (would it delete too much? is this the first contact with somebody else's tree?) and then owed.
 * Nothing is changed here. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/compare/compare_impl.h"
#include "primary/push/compare/moves.h"
#include "primary/push/push_impl.h"
#include "tree/manifest/buckets.h"

enum {
    REQUESTS_MAX = 32, /* under way at once */
    TOLD_MAX = 1024,   /* directories that the far end may tell of in one comparison */
};

/* A path that was asked for just now and is not under way yet serves. */
void compare_want(struct compare *c, struct bytes path)
{
    const struct request *last = TAILQ_LAST(&c->requests, requests);
    if (last && last->number == 0 && bytes_equal(bytes_of(last->path), path))
        return;
    struct request *r = mem_alloc(sizeof *r);
    r->path = mem_copy_bytes(path.data, path.len);
    TAILQ_INSERT_TAIL(&c->requests, r, order);
}

static void request_free(struct compare *c, struct request *r)
{
    TAILQ_REMOVE(&c->requests, r, order);
    free(r->path);
    free(r->last);
    free(r->differ);
    free(r);
}

void compare_free(struct compare *c)
{
    if (!c)
        return;
    if (c->queue)
        queue_remember(c->queue, c->ps->owed, false);
    while (!TAILQ_EMPTY(&c->requests))
        request_free(c, TAILQ_FIRST(&c->requests));
    differences_free(&c->all);
    judge_free(&c->findings);
    set_free(c->told);
    free(c->other_example);
    free(c);
}

/* A far end that lists names without end would be believed, and take all memory. */
static int check_strangers(
    const struct push *p, const struct compare *c, const struct request *r, struct err *err)
{
    size_t limit = p->o->strangers ? p->o->strangers : MSG_STRANGERS_MAX;
    if (c->strangers <= limit)
        return 0;
    return err_set(err, ERR_REFUSED,
        "it lists more than %zu names that are not here, the last ones in /%s: exclude what they "
        "are "
        "in, or remove them there",
        limit, QUOTED(r->path, strlen(r->path)));
}

static void owe(struct push *p, struct compare *c, const struct difference *d)
{
    struct push_site *ps = c->ps;
    unsigned flags =
        OWE_BULK | (d->subtree ? OWE_SUBTREE : 0) | (d->type == ENTRY_DIR ? OWE_DIR : 0);
    if (d->taken ||
        (!d->subtree && d->kind != OWED_MOVE && queue_sent(c->queue, ps->owed, d->path)))
        return;
    ps->counts.owed += d->entries;
    ps->counts.owed_bytes += d->kind == OWED_DELETE ? 0 : d->bytes;
    if (d->kind == OWED_MOVE)
        queue_move(p->o->queue, ps->owed, bytes_of(d->source), d->path);
    else
        queue_owe(p->o->queue, ps->owed, d->path, flags, d->kind, bytes_of(d->source),
            d->subtree ? 0 : d->bytes, d->files);
    queue_backdate(p->o->queue, ps->owed, d->path);
}

static void finish(struct push *p, struct compare *c)
{
    struct push_site *ps = c->ps;
    struct err err;
    c->findings.doomed -= moves_match(ps, &c->all);
    bool held = c->whole && judge_findings(ps, &c->findings, &err) < 0;
    if (held && ps->site->options.dry_run) { /* shown all the same: nothing is changed */
        log_warn(
            "%s: %s: without --dry-run this is refused: %s", p->o->name, ps->site->label, err.text);
        held = false;
    }
    for (size_t i = 0; i < c->all.count && !held; i++)
        if (c->all.found[i].kind != OWED_DELETE)
            owe(p, c, &c->all.found[i]);
    for (size_t i = 0; i < c->all.count && !held; i++)
        if (c->all.found[i].kind == OWED_DELETE)
            owe(p, c, &c->all.found[i]);
    if (c->other && !held && !p->o->once && push_site_may_say(p, ps, "other content"))
        log_warn("%s: %s: %llu file%s had the size and time of ours there, but other content, for "
                 "example %s: sent anew",
            p->o->name, ps->site->label, (unsigned long long)c->other, c->other == 1 ? "" : "s",
            QUOTED(c->other_example, strlen(c->other_example)));
    log_debug("%s: %s: compared, %zu differences%s", p->o->name, ps->site->label, c->all.count,
        held ? ", held" : "");
    ps->state = held ? PUSH_HELD : PUSH_OPEN;
    ps->unjudged = false;
    if (held)
        push_site_error(ps, &err, (struct bytes){0});
    compare_free(c);
    ps->compare = NULL;
    ps->comparing = false;
    if (ps->told_more && !held)
        compare_start(p, ps, (struct bytes){0}, NULL);
    ps->told_more = false;
    p->o->hooks.changed(p->o->hooks.ctx);
}

/* Has the far end exactly what our manifest was before the walk, all content being known at both
 * ends? Then it differs by what the walk changed, and need not be asked. 1: that was taken in; 0,
 * -1. */
static int take_walked(const struct push *p, struct compare *c, const struct msg_opened *m,
    struct manifest_txn *t, struct err *err)
{
    const struct site *site = c->ps->site;
    const struct msg_sums *before = site->walked ? walked_sums(site->walked) : NULL;
    struct walked_change change;
    if (!before || before->unproven || m->sums.unproven || m->state == ROOT_FOREIGN ||
        !difference_same_sums(c->ps, before, &m->sums))
        return 0;
    for (const void *at = NULL; (at = walked_next(site->walked, at, &change));)
        if (merge_walked(c, t, &change, err) < 0)
            return -1;
    log_debug(
        "%s: %s: it has what was here before the walk: nothing is asked", p->o->name, site->label);
    return 1;
}

/* The root itself, and whether anything beneath it has to be looked at. */
static int start_whole(
    struct push *p, struct compare *c, const struct msg_opened *m, struct err *err)
{
    struct push_site *ps = c->ps;
    struct manifest_txn *t;
    struct msg_sums ours;
    struct record root;
    uint64_t parent;
    if (manifest_begin(ps->site->manifest, false, &t, err) < 0)
        return -1;
    int r = manifest_sums(t, MANIFEST_ROOT, &ours, err);
    if (r == 0)
        r = manifest_lookup(t, (struct bytes){0}, &root, &parent, err);
    if (r == 1) {
        ps->counts.examined = ours.entries;
        c->findings.local_entries = ours.entries;
        push_proof_begin(ps, ours.unproven, m->sums.unproven);
        if (difference_of(ps, &root.entry, &m->root) != OWED_ANY &&
            !merge_leaves(c, "", (struct bytes){0}, &root.entry))
            queue_owe(p->o->queue, ps->owed, (struct bytes){0}, OWE_BULK, OWED_META,
                (struct bytes){0}, 0, 0);
        int known = difference_same_sums(ps, &ours, &m->sums) ? 1 : take_walked(p, c, m, t, err);
        if (known == 0)
            compare_want(c, (struct bytes){0});
        r = known < 0 ? -1 : r;
    }
    manifest_abort(t);
    return r == 1 ? 0 : r == 0 ? err_set(err, ERR_FAILED, "the root is not in the manifest") : -1;
}

void compare_start(
    struct push *p, struct push_site *ps, struct bytes top, const struct msg_opened *m)
{
    struct err err;
    if (ps->compare) { /* one at a time: the next looks at everything */
        if (m) {
            compare_free(ps->compare);
            ps->compare = NULL;
        } else {
            queue_remember(p->o->queue, ps->owed, true);
            compare_want(ps->compare, top);
            return;
        }
    }
    struct compare *c = mem_alloc(sizeof *c);
    c->ps = ps;
    c->told = set_new();
    c->queue = p->o->queue;
    queue_remember(c->queue, ps->owed, true);
    TAILQ_INIT(&c->requests);
    ps->compare = c;
    ps->comparing = true;
    if (!m) {
        compare_want(c, top);
        return;
    }
    c->whole = true;
    c->findings.foreign = m->state == ROOT_FOREIGN;
    c->findings.remote_entries = m->sums.entries;
    ps->state = PUSH_COMPARING;
    ps->unjudged = c->findings.foreign;
    if (start_whole(p, c, m, &err) == 0)
        return;
    push_site_error(ps, &err, (struct bytes){0});
    ps->state = PUSH_FAILED;
    compare_free(c);
    ps->compare = NULL;
    ps->comparing = false;
}

void compare_told(struct push *p, struct push_site *ps, struct bytes top)
{
    struct compare *c = ps->compare;
    if (c && (set_count(c->told) >= TOLD_MAX || set_find(c->told, top.data, top.len))) {
        ps->told_more = true;
        return;
    }
    compare_start(p, ps, top, NULL);
    if (ps->compare)
        set_add(ps->compare->told, top.len ? top.data : "", top.len);
}

/* What we have of the directory, in buckets. False: it is to be listed whole. At the first contact
 * every name of the far root is of interest. */
static bool make_buckets(const struct compare *c, const struct request *r, struct buckets *out)
{
    struct manifest *manifest = c->ps->site->manifest;
    struct record dir;
    struct err err;
    if (c->findings.foreign || manifest_peek(manifest, bytes_of(r->path), &dir, &err) != 1 ||
        !dir.dir ||
        buckets_make(
            manifest, dir.dir, difference_owner_matters(c->ps), BUCKETS_BITS_MAX, out, &err) < 0)
        return false;
    buckets_fold(out, buckets_suit(out->entries));
    return out->bits > 0;
}

static void ask(struct push *p, const struct compare *c, struct request *r)
{
    struct msg_list m = {.request = r->number, .site = c->ps->number, .path = bytes_of(r->path)};
    struct buckets *b = mem_alloc(sizeof *b);
    uint8_t *encoded CLEANUP_FREE = NULL;
    if (make_buckets(c, r, b)) {
        r->bits = b->bits;
        encoded = mem_alloc(BUCKETS_BYTES(b->bits));
        buckets_encode(b, encoded);
        m.buckets = (struct bytes){encoded, BUCKETS_BYTES(b->bits)};
    }
    msg_put_list(&p->out, &m);
    free(b);
}

bool compare_step(struct push *p, struct push_site *ps)
{
    struct compare *c = ps->compare;
    if (!c)
        return false;
    if (TAILQ_EMPTY(&c->requests)) {
        finish(p, c);
        return true;
    }
    return compare_ask(p, c);
}

struct compare *compare_unit(struct push_site *ps, const struct owed *unit)
{
    struct compare *c = mem_alloc(sizeof *c);
    c->ps = ps;
    c->unit = unit;
    TAILQ_INIT(&c->requests);
    compare_want(c, unit_rules_parent(ps->site->options.units, queue_path(unit)));
    return c;
}

bool compare_is_over(const struct compare *c)
{
    return TAILQ_EMPTY(&c->requests);
}

bool compare_lacks_parent(const struct compare *c)
{
    return c->lacking;
}

const struct difference *compare_found(const struct compare *c, size_t i)
{
    return i < c->all.count ? &c->all.found[i] : NULL;
}

bool compare_is_asking(const struct compare *c)
{
    return c->asked > 0;
}

bool compare_ask(struct push *p, struct compare *c)
{
    if (c->asked >= REQUESTS_MAX)
        return false;
    struct request *r;
    TAILQ_FOREACH (r, &c->requests, order)
        if (r->number == 0)
            break;
    if (!r)
        return false;
    r->number = ++p->next_request;
    c->asked++;
    ask(p, c, r);
    return true;
}

/* Keeps which buckets differ; false where the answer does not fit the question. */
static bool take_differ(struct request *r, const struct msg_listing *m)
{
    if (m->missing)
        r->bits = 0;
    bool expected = r->bits > 0 && !r->differ;
    if (m->differ.len != (expected ? BUCKETS_DIFFER(r->bits) : 0))
        return false;
    if (expected)
        r->differ = memcpy(mem_alloc(m->differ.len), m->differ.data, m->differ.len);
    return true;
}

static struct request *find_in(struct compare *c, uint32_t number)
{
    struct request *r;
    if (c)
        TAILQ_FOREACH (r, &c->requests, order)
            if (r->number == number)
                return r;
    return NULL;
}

static struct request *find(struct push *p, uint32_t number, struct compare **c)
{
    struct push_site *ps;
    struct request *r;
    TAILQ_FOREACH (ps, p->o->sites, order)
        if ((r = find_in(ps->compare, number))) {
            *c = ps->compare;
            return r;
        }
    for (struct unit_push *u = NULL; (u = unit_push_each(p, u, c));)
        if ((r = find_in(*c, number)))
            return r;
    return NULL;
}

int compare_listing(struct push *p, const struct msg_listing *m, struct err *err)
{
    struct compare *c = NULL;
    struct request *r = m->request ? find(p, m->request, &c) : NULL;
    if (m->request == 0 || m->request > p->next_request)
        return err_set(err, ERR_FAILED, "it answered a LIST that it was not sent");
    if (!r)
        return 0; /* of a comparison that was given up meanwhile */
    if (!take_differ(r, m))
        return err_set(err, ERR_FAILED, "its listing of a directory is malformed");
    if (merge_listing(c, r, m, err) < 0) {
        p->complaint = c->illegal ? REASON_MALFORMED : REASON_INTERNAL;
        return -1;
    }
    if (check_strangers(p, c, r, err) < 0) {
        push_site_give_up(p, c->ps, err); /* and with it this comparison */
        return 0;
    }
    if (!m->last)
        return 0;
    c->lacking |= c->unit && m->missing;
    if (m->missing && r->path[0] && !c->unit && send_is_recorded(c->ps, bytes_of(r->path))) {
        queue_owe(p->o->queue, c->ps->owed, bytes_of(r->path), OWE_BULK | OWE_SUBTREE, OWED_CREATE,
            (struct bytes){0}, 0, 0);
        queue_backdate(p->o->queue, c->ps->owed, bytes_of(r->path));
    }
    c->asked--;
    request_free(c, r);
    return 0;
}
