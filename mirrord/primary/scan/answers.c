/*
 * What those report who read files: peers as they send them, and the prover. Content that was read
 * whole gives the manifest its digest; where two readers saw different content under the same
 * validators, everybody is owed the path again.
 */
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "primary/owe.h"
#include "primary/scan/scan_impl.h"
#include "tree/content/digest.h"

enum {
    RUN_MAX = 512, /* answers in one transaction */
    LOOK_MS = 20,  /* after a peer found a path busy; doubled each time */
    LOOK_DOUBLINGS = 8,
    LOOK_FORGET_MS = 30000,
};

struct looks { /* value in the set of paths */
    unsigned count;
    uint64_t last_ms;
};

static void answer_free(struct scan_answer *a)
{
    free((void *)a->path.data);
    free(a);
}

static void forget_look(struct scan_site *s, struct set_item *item)
{
    free(item->value);
    set_remove(s->looks, item);
}

void answers_add(struct scan_site *s, struct scan_answer *a)
{
    STAILQ_INSERT_TAIL(&s->answers, a, order);
    s->answers_in++;
}

static void drop_first(struct scan_site *s)
{
    struct scan_answer *a = STAILQ_FIRST(&s->answers);
    STAILQ_REMOVE_HEAD(&s->answers, order);
    s->answers_done++;
    answer_free(a);
}

void answers_drop(struct scan_site *s)
{
    while (!STAILQ_EMPTY(&s->answers))
        drop_first(s);
    while (set_first(s->looks))
        forget_look(s, set_first(s->looks));
}

/* How long to wait before looking again at a path that peers keep finding busy. */
static uint64_t look_pause(struct scan_site *s, struct bytes path, uint64_t now)
{
    struct set_item *oldest;
    while ((oldest = set_first(s->looks)) &&
           ((struct looks *)oldest->value)->last_ms + LOOK_FORGET_MS < now)
        forget_look(s, oldest);
    struct set_item *item = set_add(s->looks, path.data, path.len);
    if (!item->value)
        item->value = mem_alloc(sizeof(struct looks));
    struct looks *looks = item->value;
    looks->last_ms = now;
    set_requeue(s->looks, item);
    unsigned doublings = looks->count < LOOK_DOUBLINGS ? looks->count++ : LOOK_DOUBLINGS;
    return (uint64_t)LOOK_MS << doublings;
}

static void look_again(struct scan_site *s, struct bytes path, struct hint_key key)
{
    uint64_t now = io_now_ms();
    batch_add(s->batch, key, HINT_LOOK | HINT_OWE, now, now + look_pause(s, path, now));
}

/* Content read under validators that the manifest has. */
static int take_digest(struct scan_site *s, struct manifest_txn *t, const struct scan_answer *a,
    struct hint_key key, struct record *r, struct err *err)
{
    bool known = r->entry.has_digest && !digest_is_doubt(&r->entry.digest);
    bool differs = known && !digest_equal(&r->entry.digest, &a->digest);
    bool racy = a->flags & RECORD_RACY;
    if (racy) {
        uint64_t now = io_now_ms();
        batch_add(s->batch, key, HINT_PROVE, now, now + validators_pause_ms(&a->validators));
    }
    if (known && !differs && (racy || !(r->flags & RECORD_RACY)))
        return 0; /* nothing new */
    r->entry.has_digest = true;
    r->entry.digest = a->digest;
    r->flags = (r->flags & ~(unsigned)RECORD_RACY) | (racy ? RECORD_RACY : 0);
    if (differs) {
        unrest_stir(s->site->unrest, a->path, false, io_now_ms());
        outbox_owe(&s->outbox, a->path, OWE_KNOWN);
    }
    return manifest_put(t, key.dir, key.name, r, err);
}

static int take_answer(
    struct scan_site *s, struct manifest_txn *t, const struct scan_answer *a, struct err *err)
{
    struct record r;
    struct hint_key key = {0, path_name(a->path)};
    int found = a->path.len ? manifest_lookup(t, a->path, &r, &key.dir, err) : 0;
    uint64_t now = io_now_ms();
    if (found < 0)
        return -1;
    if (a->busy && found == 0) {
        /* It may have been renamed since, and would be owed under another name. */
        s->scan->sink.compare(s->scan->sink.ctx, s->site);
        return 0;
    }
    if (!key.dir) /* the directory has gone, or is not known yet: its walk finds the path */
        return 0;
    if (a->busy)
        look_again(s, a->path, key);
    else if (found == 0 || r.entry.type != ENTRY_FILE ||
             !validators_equal(&r.validators, &a->validators))
        batch_add(s->batch, key, HINT_META, now, now); /* it has changed: an event says so too */
    else
        return take_digest(s, t, a, key, &r, err);
    return 0;
}

static int take_answers(struct scan_site *s, struct manifest_txn *t, struct err *err)
{
    struct scan_answer *a;
    for (unsigned n = 0; n < RUN_MAX && (a = STAILQ_FIRST(&s->answers)); n++) {
        int taken = take_answer(s, t, a, err);
        drop_first(s);
        if (taken < 0)
            return -1;
    }
    return 0;
}

void answers_run(struct scan_site *s)
{
    struct manifest_txn *t;
    struct err err;
    if (STAILQ_EMPTY(&s->answers))
        return;
    if (manifest_begin(s->site->manifest, true, &t, &err) < 0) {
        scan_trouble(s, &err);
        return;
    }
    int taken = take_answers(s, t, &err);
    if (taken < 0)
        manifest_abort(t);
    else
        taken = manifest_commit(t, &err);
    if (taken < 0)
        scan_trouble(s, &err);
}
