/* What the secondary says became of a batch: paths that are there now are owed no more; those that
 * failed are owed again, at once where a repair is known (its content, its parent), else after a
 * pause. */
#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/owe.h"
#include "primary/push/push_impl.h"
#include "tree/content/digest.h"

enum {
    SOON_MS = 50, /* something else has to be there first */
    SOON_TRIES = 5,
    TOLD_MAX = 20, /* paths that a full disk has in the log, until something can be stored again */
};

/* Directories are not counted, but for what is deleted with them. */
void acks_count(struct push_site *ps, enum push_event what, uint8_t type, const struct owed *o)
{
    struct push_counts *c = &ps->counts;
    if (what == PUSH_DELETED)
        c->deleted += o->kind == OWED_DELETE ? o->files : 1;
    else if (what == PUSH_MOVED)
        c->moved++;
    else if (type != ENTRY_DIR)
        ++*(what == PUSH_CREATED ? &c->created : &c->updated);
}

static struct push_batch *find_sent(struct push *p, uint32_t number)
{
    struct push_batch *b;
    TAILQ_FOREACH (b, &p->sent, order)
        if (b->number == number)
            return b;
    return NULL;
}

/* An atom that is not there was aborted meanwhile. */
static void note_failure(struct push_batch *b, const struct msg_failure *f)
{
    struct atom *a;
    b->no_room |= f->errno_value == ENOSPC;
    TAILQ_FOREACH (a, &b->atoms, order) {
        if (a->number != f->atom)
            continue;
        a->reason = f->reason ? f->reason : REASON_INTERNAL;
        a->errnum = f->errno_value;
        free(a->text);
        a->text = mem_copy_bytes(f->text.data, f->text.len);
        return;
    }
}

/* By now the secondary has this content there, or none that is known. */
static void note_base(struct push *p, struct push_batch *b, const struct atom *a)
{
    struct bases *bases = p->o->bases;
    struct bytes path = queue_path(a->owed);
    if (!bases || (a->record.entry.type != ENTRY_FILE && a->what != PUSH_DELETED))
        return;
    struct outline *was = bases_find(bases, b->ps->site, path);
    bool same = was && a->has_record && a->what != PUSH_DELETED &&
                digest_equal(outline_digest(was), &a->record.entry.digest);
    if (!same && (was || a->outline))
        bases_put(bases, b->ps->site, path, a->outline);
}

void acks_tell_read(struct push_site *ps, struct atom *a)
{
    struct site *site = ps->site;
    if (a->has_record && !a->told && site->hooks.seen)
        site->hooks.seen(site->hooks.ctx, site, queue_path(a->owed), &a->record);
    a->told = true;
}

void acks_tell(struct push *p, struct push_batch *b, struct atom *a)
{
    struct site *site = b->ps->site;
    struct bytes path = queue_path(a->owed);
    acks_count(b->ps, a->what, a->record.entry.type, a->owed);
    note_base(p, b, a);
    pthread_mutex_lock(&b->ps->lock);
    drifted_healed(b->ps->drifted, path);
    pthread_mutex_unlock(&b->ps->lock);
    if (a->record.entry.type == ENTRY_FILE && a->what != PUSH_DELETED)
        b->ps->copied_bytes += a->record.entry.size;
    b->ps->counts.done++;
    b->ps->counts.done_bytes += a->owed->bytes;
    acks_tell_read(b->ps, a);
    if (p->o->hooks.item)
        p->o->hooks.item(p->o->hooks.ctx, b->ps, a->what, path, bytes_of(a->owed->source));
    log_debug("%s: %s: committed %s, %llu bytes", p->o->name, site->label,
        QUOTED(path.data, path.len), (unsigned long long)a->owed->bytes);
}

static void committed(struct push *p, struct push_batch *b, struct atom *a, uint64_t now)
{
    struct bytes path = queue_path(a->owed);
    acks_tell(p, b, a);
    if (a->owed->class == OWED_LIVE)
        tally_change(p->o->tally, now - a->owed->since_ms, a->owed->bytes);
    if (a->owed->check && a->record.entry.type == ENTRY_DIR && a->owed->kind != OWED_MOVE)
        compare_start(p, b->ps, path, NULL);
    if (a->owed->kind == OWED_MOVE) {
        /* It went as it was there: what changed in it, and in its own entry, follows. */
        if (a->record.entry.type == ENTRY_DIR)
            compare_start(p, b->ps, path, NULL);
        queue_owe(p->o->queue, b->ps->owed, path, OWE_KNOWN, OWED_META, (struct bytes){0}, 0, 0);
        queue_backdate(p->o->queue, b->ps->owed, path);
        /* What stands at the old name by now may have been sent before and moved along. */
        struct bytes from = bytes_of(a->owed->source);
        if (send_is_recorded(b->ps, from)) {
            queue_owe(
                p->o->queue, b->ps->owed, from, OWE_SUBTREE, OWED_ANY, (struct bytes){0}, 0, 0);
            queue_backdate(p->o->queue, b->ps->owed, from);
        }
    }
    bool failed_before = a->owed->error != NULL;
    if (a->expander)
        expander_answer(p, a->expander, true, NULL);
    else
        queue_done(p->o->queue, a->owed);
    if (!failed_before)
        return;
    b->ps->told = 0;
    queue_hurry(p->o->queue, b->ps->owed); /* what was in its way may be out of others' way */
}

/* A repair that needs no pause, as long as it has not been tried too often. */
static bool retry_soon(struct push *p, struct push_batch *b, struct atom *a)
{
    struct owed *o = a->owed;
    if (o->tries >= SOON_TRIES || a->expander)
        return false;
    if (a->reason == REASON_NEED_CONTENT && a->based) {
        send_unbased(p, b->ps, o);
        return true;
    }
    if (a->reason == REASON_NEED_CONTENT) {
        o->whole = true;
        queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
        return true;
    }
    if (a->reason == REASON_NO_PARENT) {
        queue_owe(p->o->queue, b->ps->owed, path_parent(queue_path(o)), 0, OWED_ANY,
            (struct bytes){0}, 0, 0);
        queue_retry(p->o->queue, o, SOON_MS, LATER_MAX, NULL);
        return true;
    }
    return false;
}

static void tell(struct push *p, struct push_site *ps, struct bytes path, const struct err *why)
{
    if (ps->told < TOLD_MAX)
        push_site_warn(p, ps, path, why);
    else if (ps->told == TOLD_MAX)
        log_warn("%s: %s: more cannot be stored; `mirrord status` says how much", p->o->name,
            ps->site->label);
    if (ps->told <= TOLD_MAX)
        ps->told++;
}

static void refused(struct push *p, struct push_batch *b, struct atom *a)
{
    struct bytes path = queue_path(a->owed);
    if (retry_soon(p, b, a))
        return;
    if (a->reason == REASON_PATH && push_site_lacks(b->ps, path, true)) {
        queue_done(p->o->queue, a->owed); /* gone here, and a directory that stays there */
        return;
    }
    struct err why;
    err_set(&why, ERR_PARTIAL, "%s", QUOTED(a->text, strlen(a->text)));
    why.sys = (int)a->errnum;
    if (!a->owed->error && !p->o->once) /* a one-shot reports it itself */
        tell(p, b->ps, path, &why);
    push_site_error(b->ps, &why, path);
    if (p->o->once)
        p->o->hooks.failed(p->o->hooks.ctx, b->ps, path, &why);
    if (a->expander)
        expander_answer(p, a->expander, p->o->once, why.text);
    else if (p->o->once)
        queue_done(p->o->queue, a->owed);
    else
        queue_retry(p->o->queue, a->owed, LATER_MS, LATER_MAX, why.text);
}

/* Keeps an eye on the room there is where something did not fit. */
static void note_free(struct push *p, struct push_batch *b, uint64_t free_bytes)
{
    struct push_site *ps = b->ps;
    ps->free_bytes = free_bytes;
    push_room_acked(p, ps, free_bytes);
    if (b->no_room) {
        ps->no_room = true;
        ps->free_then = free_bytes;
    } else if (ps->no_room && free_bytes > ps->free_then + PUSH_SOLO_MIN) {
        ps->no_room = false;
        queue_hurry(p->o->queue, ps->owed);
    }
}

int acks_take(struct push *p, const struct msg_ack *m, struct err *err)
{
    struct push_batch *b = find_sent(p, m->batch);
    if (!b && lanes_has_open(p, m->batch))
        return err_set(err, ERR_FAILED, "it acknowledged a batch that is not committed");
    if (!b && m->batch > 0 && m->batch <= p->next_batch)
        return 0; /* of a site that was closed meanwhile */
    if (!b)
        return err_set(err, ERR_FAILED, "it acknowledged a batch that it was not sent");
    for (unsigned i = 0; i < m->count; i++)
        note_failure(b, &m->failures[i]);
    if (!m->last)
        return 0;
    uint64_t now = io_now_ms();
    tally_batch(p->o->tally, b->count);
    TAILQ_REMOVE(&p->sent, b, order);
    b->lane->sent_count--;
    b->lane->sent_bytes -= b->bytes;
    if (b->unit) {
        struct push_site *ps = b->ps;
        unit_push_acked(p, b, m->flags);
        lanes_drop_batch(b);
        push_room_acked(p, ps, m->free_bytes);
        return 0;
    }
    struct atom *a;
    TAILQ_FOREACH (a, &b->atoms, order) {
        if (a->reason == REASON_NONE)
            committed(p, b, a, now);
        else
            refused(p, b, a);
    }
    note_free(p, b, m->free_bytes);
    lanes_drop_batch(b);
    return 0;
}
