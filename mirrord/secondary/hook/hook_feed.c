/* Records of what a commit changed, in packets, and the primary's HOOK; see hook_feed.h. */
#include "secondary/hook/hook_feed.h"

#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "secondary/confine/asks.h"
#include "secondary/hook/hook.h"
#include "tree/content/digest.h"

enum { LOOK_MS = 400 };

struct feed {
    const struct replica *r;
    bool held; /* for who holds the readers, instead of the command after the commit */
    uint8_t records[ASK_RECORDS_MAX];
    size_t len;
};

static void flush(struct feed *f)
{
    const struct outside *o = f->r->tools->outside;
    struct bytes records = {f->records, f->len};
    if (f->len && f->held)
        o->let_go(o->ctx, &f->r->asked, records, false);
    else if (f->len)
        o->hook(o->ctx, &f->r->asked, records);
    f->len = 0;
}

static void put(struct feed *f, enum hook_mark mark, struct bytes path, bool dir)
{
    if (path.len > HOOK_PATH_MAX) {
        mark = HOOK_ALL;
        path.len = 0;
    }
    if (f->len + path.len + 3 > sizeof f->records)
        flush(f);
    f->records[f->len++] = (uint8_t)mark;
    if (path.len) {
        memcpy(f->records + f->len, path.data, path.len);
        f->len += path.len;
        if (dir)
            f->records[f->len++] = '/';
    }
    f->records[f->len++] = '\0';
}

/* Times, owners and modes are no change of a file. */
static bool same_content(const struct step *s)
{
    return s->old.known && s->old.type == ENTRY_FILE && s->old.has_digest &&
           digest_equal(&s->old.digest, &s->entry.digest);
}

/* Of what was no file nobody knows how its time looked. */
static enum hook_mark mark_of_file(const struct step *s)
{
    const struct step_old *old = &s->old;
    if (!old->known || old->type == ENTRY_DIR)
        return HOOK_NEW;
    return old->type != ENTRY_FILE || old->validators.mtime == s->entry.mtime ? HOOK_SAME_SECOND
                                                                              : HOOK_CHANGED;
}

static void put_entry(struct feed *f, const struct step *s)
{
    bool was_dir = s->old.known && s->old.type == ENTRY_DIR, dir = s->entry.type == ENTRY_DIR;
    if ((dir && was_dir) || (s->entry.type == ENTRY_FILE && same_content(s)))
        return;
    if (s->old.known && was_dir != dir)
        put(f, HOOK_GONE, s->path, was_dir);
    if (dir)
        put(f, HOOK_NEW, s->path, true);
    else
        put(f, s->entry.type == ENTRY_LINK ? HOOK_LINK : mark_of_file(s), s->path, false);
}

/* The times of what came are those that it had: what was at its place may be of the same second. */
static void put_move(struct feed *f, const struct step *s)
{
    bool dir = !s->source.known || s->source.type == ENTRY_DIR;
    bool link = s->source.known && s->source.type == ENTRY_LINK;
    put(f, HOOK_GONE, s->from, dir);
    if (s->old.known && s->old.type == ENTRY_DIR)
        put(f, HOOK_GONE, s->path, true);
    put(f, link ? HOOK_LINK : s->old.known && !dir ? HOOK_SAME_SECOND : HOOK_NEW, s->path, dir);
}

/* Readers see it. With a unit it is live before its step is done. */
static bool is_visible(const struct step *s)
{
    bool unit = s->unit || s->kind == STEP_UNIT_GONE;
    return s->state == STEP_DONE || (unit && s->published && s->state != STEP_FAILED);
}

static void put_step(struct feed *f, const struct step *s)
{
    bool was_dir = s->old.known && s->old.type == ENTRY_DIR;
    if (!is_visible(s) || s->path.len == 0)
        return;
    switch ((enum step_kind)s->kind) {
    case STEP_ENTRY: put_entry(f, s); break;
    case STEP_MOVE: put_move(f, s); break;
    case STEP_DELETE: put(f, HOOK_GONE, s->path, was_dir || !s->old.known); break;
    case STEP_UNIT_GONE: put(f, HOOK_GONE, s->path, true); break;
    case STEP_UNIT: break; /* its files are steps of their own */
    }
}

void hook_feed_commit(const struct commit *c)
{
    struct feed f = {.r = c->r};
    if (!c->r->policy.hook || c->recovering)
        return;
    for (size_t i = 0; i < c->n; i++)
        put_step(&f, c->steps[i]);
    flush(&f);
    c->r->hook_looks = true;
}

void hook_feed_switched(const struct commit *c)
{
    const struct outside *o = c->r->tools->outside;
    struct feed f = {.r = c->r, .held = true};
    if (!c->r->held)
        return;
    for (size_t i = 0; i < c->n; i++)
        put_step(&f, c->steps[i]);
    flush(&f);
    o->let_go(o->ctx, &c->r->asked, (struct bytes){0}, true);
    c->r->held = false;
    c->r->hook_looks = true;
}

/* --- how it went --- */

static void tell(struct replica *r, const struct hook_failing *f)
{
    struct msg_hook m = {r->site, f->count, (uint64_t)f->since, bytes_of(f->text)};
    if (r->tools->version < MSG_VERSION_NEWS)
        return;
    msg_put_hook(&r->tools->out.writer, &m);
    outbox_put(&r->tools->out);
}

static void look(struct replica *r, bool opened)
{
    const struct outside *o = r->tools->outside;
    struct hook_state now;
    if (o->hook_state(o->ctx, &r->asked, opened, &now) < 0)
        return;
    r->hook_looks = now.pending || now.failing.count;
    if (now.failing.count == r->hook_told)
        return;
    r->hook_told = now.failing.count;
    tell(r, &now.failing);
}

void hook_feed_opened(struct replica *r)
{
    if (r->policy.hook && !(r->flags & OPEN_DRY_RUN))
        look(r, true);
}

void hook_feed_look(struct tools *tools)
{
    uint64_t now = io_now_ms();
    if (now < tools->hooks_due)
        return;
    tools->hooks_due = now + LOOK_MS;
    for (struct set_item *i = set_first(tools->replicas); i; i = i->next) {
        struct replica *r = i->value;
        if (r->state == REPLICA_OPEN && r->hook_looks)
            look(r, false);
    }
}
