/*
 * What goes out for one path, once it is clear that it does: its ENTRY, with small content in it,
 * or with the transfer of a larger one begun, or with the word that the secondary has the content
 * already; a DELETE; a MOVE.
 */
#include <string.h>

#include "base/mem.h"
#include "primary/push/pack/shelf.h"
#include "primary/push/send/send_impl.h"
#include "tree/content/delta.h"
#include "tree/content/digest.h"

enum { READ_FIRST_MAX = 8 * 1024 * 1024 }; /* read to learn whether it need be sent at all */

enum push_event send_event_of(const struct owed *o)
{
    return o->kind == OWED_CREATE ? PUSH_CREATED : PUSH_UPDATED;
}

static void remember(struct atom *a, const struct sight *s)
{
    a->record.entry = (struct entry){.type = s->entry.type, .size = s->entry.size};
    a->record.validators = validators_of(&s->st);
}

static void put_entry(struct push *p, struct atom *a, struct msg_entry *m)
{
    m->batch = a->batch->number;
    m->atom = a->number;
    m->path = queue_path(a->owed);
    size_t start = p->out.len;
    msg_put_entry(&p->out, m);
    if (m->how != HOW_DATA && m->how != HOW_DELTA && m->how != HOW_BASED &&
        !zip_is_packed(m->content.data, m->content.len))
        bundle_add(p, start, m->path);
}

void send_plain(struct push *p, struct push_batch *b, struct owed *o, const struct sight *s)
{
    struct atom *a = lanes_atom(p, b, o);
    a->what = send_event_of(o);
    a->record.entry.type = s->entry.type;
    put_entry(p, a, &(struct msg_entry){.how = HOW_META, .entry = s->entry});
    if (s->entry.type == ENTRY_DIR && o->subtree)
        a->expander = expander_start(b->ps, o);
}

void send_delete(struct push *p, struct push_batch *b, struct owed *o)
{
    struct atom *a = lanes_atom(p, b, o);
    a->what = PUSH_DELETED;
    msg_put_delete(&p->out,
        &(struct msg_delete){.batch = b->number, .atom = a->number, .path = queue_path(o)});
}

void send_move(struct push *p, struct push_batch *b, struct owed *o, const struct sight *s)
{
    struct atom *a = lanes_atom(p, b, o);
    a->what = PUSH_MOVED;
    a->record.entry.type = s->entry.type;
    msg_put_move(&p->out, &(struct msg_move){.batch = b->number,
                              .atom = a->number,
                              .from = {o->source, strlen(o->source)},
                              .to = queue_path(o)});
}

/* The digest that the manifest has for exactly this state of the file. */
static bool recorded_digest(
    struct push_site *ps, struct bytes path, const struct sight *s, struct digest *out)
{
    struct record r;
    struct err err;
    struct validators now = validators_of(&s->st);
    bool known = manifest_peek(ps->site->manifest, path, &r, &err) == 1 &&
                 r.entry.type == ENTRY_FILE && r.entry.has_digest && !(r.flags & RECORD_RACY) &&
                 validators_equal(&r.validators, &now);
    if (known)
        *out = r.entry.digest;
    return known;
}

/* The same by reading the file, where that costs less than sending it: 1, or 0 where it cannot be
 * had now. */
static bool read_digest(struct push *p, const struct sight *s, struct record *r)
{
    struct source *src = NULL;
    struct err err;
    if (s->entry.size > READ_FIRST_MAX ||
        source_open_at(s->dir, s->name, &s->st, false, &src, &err) != SOURCE_OK)
        return false;
    ssize_t n = 1;
    while (n > 0)
        n = source_read(src, p->block, MSG_CHUNK_MAX, &err);
    bool had = n == 0 && source_settle(src, r) == SOURCE_OK;
    source_free(src);
    return had;
}

/* Content that the secondary has already, there or elsewhere. */
bool send_known(struct push *p, struct push_batch *b, struct owed *o, struct sight *s)
{
    bool copy = o->kind == OWED_CREATE && o->source;
    struct record r = {.validators = validators_of(&s->st)};
    if (o->whole || (!copy && !o->has_theirs && o->kind != OWED_META))
        return false;
    if (!recorded_digest(b->ps, queue_path(o), s, &r.entry.digest) && !read_digest(p, s, &r))
        return false;
    if (o->has_theirs && !digest_equal(&r.entry.digest, &o->theirs))
        return false;
    struct atom *a = lanes_atom(p, b, o);
    a->what = copy ? PUSH_MOVED : PUSH_UPDATED;
    remember(a, s);
    a->record.flags = r.flags;
    a->record.entry.has_digest = s->entry.has_digest = true;
    a->record.entry.digest = s->entry.digest = r.entry.digest;
    a->has_record = true;
    struct msg_entry m = {.how = copy ? HOW_COPY : HOW_META, .entry = s->entry};
    if (copy)
        m.source = bytes_of(o->source);
    put_entry(p, a, &m);
    return true;
}

/* Small content, which is in p->block, in its entry. */
static struct atom *put_inline(struct push *p, struct push_batch *b, struct owed *o,
    struct sight *s, const struct digest *digest)
{
    struct atom *a = lanes_atom(p, b, o);
    a->what = send_event_of(o);
    a->content = true;
    remember(a, s);
    a->record.entry.has_digest = s->entry.has_digest = true;
    a->record.entry.digest = s->entry.digest = *digest;
    struct msg_entry m = {
        .how = HOW_INLINE, .entry = s->entry, .content = {p->block, s->entry.size}};
    put_entry(p, a, &m);
    b->ps->counts.literal += s->entry.size;
    return a;
}

/* What another session read, and nobody changed since it did. */
static bool send_shelved(struct push *p, struct push_batch *b, struct owed *o, struct sight *s)
{
    struct validators v = validators_of(&s->st);
    struct digest digest;
    if (o->open || s->entry.size > PUSH_INLINE_MAX ||
        shelf_content(p->o->shelf, b->ps->site, queue_path(o), &v, p->block, &digest) < 0)
        return false;
    struct atom *a = put_inline(p, b, o, s, &digest);
    a->has_record = true;
    a->told = !o->unit; /* who read it tells the manifest, but a unit is looked through before */
    return true;
}

/* SOURCE_OK, SOURCE_BUSY, -1. */
static int send_inline(struct push *p, struct push_batch *b, struct owed *o, struct sight *s,
    struct source *src, struct err *err)
{
    ssize_t n = source_read(src, p->block, PUSH_INLINE_MAX, err);
    if (n < 0)
        return -1;
    struct record r = {0};
    if (source_settle(src, &r) != SOURCE_OK)
        return SOURCE_BUSY;
    if (!(r.flags & RECORD_RACY))
        shelf_put_content(p->o->shelf, b->ps->site, queue_path(o), &r.validators,
            (struct bytes){p->block, (size_t)n}, &r.entry.digest);
    struct atom *a = put_inline(p, b, o, s, &r.entry.digest);
    a->record.flags = r.flags;
    a->has_record = true;
    return SOURCE_OK;
}

/* What the far end has of this file as far as is known; NULL: it is to be asked. A unit is not
 * tried twice for a guess, and a part of the file is known to the far end alone. */
static struct outline *base_of(
    struct push *p, struct push_site *ps, const struct owed *o, const struct sight *s)
{
    if (!p->o->bases || p->version < MSG_VERSION_BASED || o->whole || o->unit ||
        (ps->caps & CAP_PARTS) || s->entry.size < OUTLINE_MIN_SIZE)
        return NULL;
    return bases_recall(p->o->bases, ps->site, queue_path(o));
}

static void send_transfer(
    struct push *p, struct push_batch *b, struct owed *o, struct sight *s, struct source *src)
{
    struct outline *base = base_of(p, b->ps, o, s);
    bool old = o->known || o->kind == OWED_UPDATE;
    bool part = (b->ps->caps & CAP_PARTS) && s->entry.size >= PUSH_SOLO_MIN;
    bool delta = !o->whole && (old || part) && s->entry.size >= DELTA_MIN_SIZE;
    struct atom *a = lanes_atom(p, b, o);
    a->what = send_event_of(o);
    a->content = true;
    remember(a, s);
    a->stream = stream_new(a, src, delta, base);
    a->based = base != NULL;
    if (p->o->bases && bases_wants(p->o->bases, s->entry.size))
        source_outline(src);
    a->reserved = b->lane == &p->lanes[LANE_BULK] ? s->entry.size : 0;
    b->ps->bulk_flying += a->reserved;
    struct msg_entry m = {.how = delta ? HOW_DELTA : HOW_DATA, .entry = s->entry};
    if (base) {
        m.how = HOW_BASED;
        m.content = (struct bytes){outline_digest(base)->b, sizeof outline_digest(base)->b};
    }
    put_entry(p, a, &m);
    TAILQ_INSERT_TAIL(&b->lane->sending, a, sending);
    b->lane->transfers++;
    b->transfers++;
}

/* A regular file's content. SOURCE_OK, SOURCE_BUSY, SOURCE_GONE, -1. */
int send_content(
    struct push *p, struct push_batch *b, struct owed *o, struct sight *s, struct err *err)
{
    struct source *src = NULL;
    if (send_shelved(p, b, o, s))
        return SOURCE_OK;
    int r = source_open_at(s->dir, s->name, &s->st, o->open, &src, err);
    if (r == SOURCE_OK && s->entry.size > PUSH_INLINE_MAX)
        send_transfer(p, b, o, s, TAKE_PTR(src));
    else if (r == SOURCE_OK)
        r = send_inline(p, b, o, s, src, err);
    source_free(src);
    return r;
}
