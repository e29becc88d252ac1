/* One owed path into a batch. The state sent is the disk's at this moment (sight.c), whatever made
 * the path owed: an entry with its content, a deletion, a move (send_entry.c). Here it is decided
 * whether that is sent now, and by which lane; what cannot be goes back to the queue with a pause.
 */

#include "base/log.h"
#include "base/mem.h"
#include "primary/push/send/send_impl.h"

enum {
    BUSY_DELAY_MS = 20, /* a file that is being written is tried again after this, growing */
    BUSY_DELAY_MAX = 2000,
    BUSY_TRIES = 12, /* once: then it is reported */
};

/* The path goes back to the queue, to be tried when its writer is through. */
void send_busy(struct push *p, struct push_site *ps, struct owed *o)
{
    if (p->o->once && o->tries >= BUSY_TRIES) {
        struct err why;
        err_set(&why, ERR_PARTIAL,
            "it was being written all the time: run resync again when its writer is done");
        p->o->hooks.failed(p->o->hooks.ctx, ps, queue_path(o), &why);
        ps->incomplete = true;
        queue_done(p->o->queue, o);
        return;
    }
    queue_retry(p->o->queue, o, BUSY_DELAY_MS, BUSY_DELAY_MAX, NULL);
}

void send_unbased(struct push *p, struct push_site *ps, struct owed *o)
{
    struct bytes path = queue_path(o);
    log_debug("%s: %s: a delta of %s does not fit what is there: asked for that", p->o->name,
        ps->site->label, QUOTED(path.data, path.len));
    bases_put(p->o->bases, ps->site, path, NULL);
    queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
}

/* It cannot be sent: owed until it can, or (once) reported. */
static void send_failed(struct push *p, struct push_site *ps, struct owed *o, const struct err *err)
{
    push_site_error(ps, err, queue_path(o));
    if (p->o->once) {
        p->o->hooks.failed(p->o->hooks.ctx, ps, queue_path(o), err);
        queue_done(p->o->queue, o);
    } else {
        queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, err->text);
    }
}

/* This side could not read it. */
void send_unreadable(struct push *p, struct push_site *ps, struct owed *o, struct err *err)
{
    err_prefix(err, "read %s", QUOTED(queue_path(o).data, queue_path(o).len));
    send_failed(p, ps, o, err);
}

static void send_file(struct push *p, struct push_batch *b, struct owed *o, struct sight *s)
{
    struct err err;
    int r = send_content(p, b, o, s, &err);
    if (r < 0)
        send_unreadable(p, b->ps, o, &err);
    else if (r != SOURCE_OK)
        send_busy(p, b->ps, o);
}

/* A directory whose file has just been left to the lane of large ones changed with that: it goes
 * behind it, into the same batch, or the file would wait for the commit of its directory's time. */
static bool goes_behind(struct lane *large, const struct push_site *ps, struct bytes path)
{
    const struct pending *w = TAILQ_LAST(&large->pending, pending_list);
    return w && w->ps == ps && bytes_equal(path_parent(queue_path(w->owed)), path);
}

/* Where what is there belongs when this lane found it. */
static struct lane *lane_for(struct push *p, struct lane *found, const struct push_site *ps,
    struct bytes path, const struct sight *s)
{
    struct lane *large = &p->lanes[LANE_LARGE];
    if (found != &p->lanes[LANE_LIVE])
        return found;
    if (s->entry.type == ENTRY_DIR)
        return goes_behind(large, ps, path) ? large : found;
    if (s->entry.type != ENTRY_FILE || s->entry.size <= PUSH_INLINE_MAX)
        return found;
    return s->entry.size > PUSH_LIVE_MAX ? &p->lanes[LANE_BULK] : large;
}

/* The daemon sums deletions; a one-shot has judged them all at once. */
static bool loss_is_fine(struct push *p, struct push_site *ps, struct owed *o)
{
    struct err err;
    struct deletions_limit limit = site_limit(ps->site);
    if (loss_check(&ps->site->loss, ps->site->manifest, &limit, &err) == 0)
        return true;
    log_error("%s: %s: held: %s", p->o->name, ps->site->label, err.text);
    push_site_error(ps, &err, (struct bytes){0});
    queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, NULL);
    ps->state = PUSH_HELD;
    ps->look_ms = ps->retry_ms = 0;
    return false;
}

/* A deletion is believed only while the root is the directory that was opened. */
static bool may_delete(struct push *p, struct push_site *ps, struct owed *o)
{
    if (ps->site->options.no_delete) {
        queue_done(p->o->queue, o);
        return false;
    }
    if (switches_hold(p, ps, o))
        return false;
    struct err err;
    if (root_in_place(ps->site->root))
        return p->o->once || ps->force || loss_is_fine(p, ps, o);
    err_set(&err, ERR_REFUSED,
        "the root %s is no longer the directory it was: nothing is deleted until it is back",
        root_path(ps->site->root));
    send_failed(p, ps, o, &err);
    return false;
}

/* More than max-size: it is left alone here and there, and listed. */
static bool too_large(
    struct push *p, struct push_site *ps, struct bytes path, const struct sight *s)
{
    uint64_t max = ps->site->options.max_size;
    bool is = max && s->entry.type == ENTRY_FILE && s->entry.size > max;
    if (push_site_leave(ps, path, is))
        log_warn("%s: %s: %s has %llu bytes, more than max-size: it is left alone", p->o->name,
            ps->site->label, QUOTED(path.data, path.len), (unsigned long long)s->entry.size);
    return is;
}

/* Two paths of many KiB in one message: the frame was taken back; the content goes instead. */
static void too_long(struct push *p, struct push_batch *b, struct owed *o)
{
    p->out.bad = false;
    o->whole = true;
    lanes_drop_atom(TAILQ_LAST(&b->atoms, atom_list));
    queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
}

/* It did not fit before and would not now: not worth sending it all again. */
static bool will_not_fit(struct push *p, struct push_site *ps, struct owed *o, uint64_t size)
{
    if (!ps->no_room || !o->error || size <= ps->free_bytes)
        return false;
    char *error CLEANUP_FREE = mem_copy_string(o->error);
    queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, error);
    return true;
}

/* Else its content is there, under this name or another. */
static bool takes_room(const struct owed *o)
{
    return o->kind != OWED_MOVE && (o->whole || (o->kind != OWED_META && !o->source));
}

static void send_there(
    struct push *p, struct lane *lane, struct push_site *ps, struct owed *o, struct sight *s)
{
    bool file = s->entry.type == ENTRY_FILE;
    bool solo = file && s->entry.size >= PUSH_SOLO_MIN;
    if (s->entry.type == ENTRY_LINK && switches_await(p, ps, o, &s->entry))
        return;
    if (solo && will_not_fit(p, ps, o, s->entry.size))
        return;
    if (file && lane == &p->lanes[LANE_BULK] && takes_room(o) &&
        !push_room_for(p, ps, o, s->entry.size, o->kind == OWED_CREATE))
        return;
    struct push_batch *b = lanes_batch(p, lane, ps, solo);
    uint64_t before = bundle_made(p);
    if (o->kind == OWED_MOVE)
        send_move(p, b, o, s);
    else if (!file)
        send_plain(p, b, o, s);
    else if (!send_known(p, b, o, s))
        send_file(p, b, o, s);
    if (p->out.bad)
        too_long(p, b, o);
    b->bytes += bundle_made(p) - before;
    if (solo && b->transfers == 0)
        lanes_commit(p, b);
}

/* A dry run: what would be sent is counted and reported. */
static void rehearse(struct push *p, struct push_site *ps, struct owed *o, uint8_t type)
{
    enum push_event what = o->kind == OWED_DELETE              ? PUSH_DELETED
                           : o->kind == OWED_MOVE || o->source ? PUSH_MOVED
                                                               : send_event_of(o);
    if (what != PUSH_DELETED || !ps->site->options.no_delete) {
        acks_count(ps, what, type, o);
        if (p->o->hooks.item)
            p->o->hooks.item(p->o->hooks.ctx, ps, what, queue_path(o), bytes_of(o->source));
    }
    if (o->subtree && o->kind != OWED_MOVE && o->kind != OWED_DELETE)
        expander_answer(p, expander_start(ps, o), true, NULL);
    else
        queue_done(p->o->queue, o);
}

bool send_is_recorded(struct push_site *ps, struct bytes path)
{
    struct record r;
    struct err err;
    return manifest_peek(ps->site->manifest, path, &r, &err) == 1;
}

/* Owners travel by name, never as a number, which elsewhere may be another tenant's. */
static bool nameless(const struct push_site *ps, const struct sight *s, struct err *err)
{
    if (!ps->site->options.owner || !(ps->caps & CAP_SET_OWNER))
        return false;
    if (s->entry.owner.len && s->entry.group.len)
        return false;
    bool user = s->entry.owner.len == 0;
    err_set(err, ERR_PARTIAL, "its %s %u has no name on this host: give it one, or chown the file",
        user ? "owner" : "group", user ? s->st.st_uid : s->st.st_gid);
    return true;
}

/* A root that was moved away is not what its path says any more, though it is still open. */
bool send_root_in_place(struct push_site *ps)
{
    if (root_in_place(ps->site->root))
        return true;
    struct err err;
    err_set(&err, ERR_REFUSED,
        "the root %s is not the directory that it was: nothing is sent or deleted while it is "
        "missing, unmounted or replaced",
        root_path(ps->site->root));
    push_site_error(ps, &err, (struct bytes){0});
    ps->state = PUSH_HELD;
    ps->look_ms = ps->retry_ms = 0;
    return false;
}

/* A whole unit counts as one deletion, which the secondary sums; but a root in which nothing is
 * left is believed by nobody. */
static int send_part_gone(struct push *p, struct push_batch *b, struct owed *o, struct err *err)
{
    struct site *site = b->ps->site;
    struct deletions_limit limit = site_limit(site);
    limit.count = UINT64_MAX;
    if (!p->o->once && !b->ps->force && loss_check(&site->loss, site->manifest, &limit, err) < 0)
        return -1;
    if (!root_in_place(site->root))
        return err_set(err, ERR_REFUSED, "the root is no longer the directory it was");
    send_delete(p, b, o);
    return SOURCE_OK;
}

static int send_part_there(
    struct push *p, struct push_batch *b, struct owed *o, struct sight *s, struct err *err)
{
    bool file = s->entry.type == ENTRY_FILE;
    if (nameless(b->ps, s, err))
        return -1;
    if (too_large(p, b->ps, queue_path(o), s))
        return SOURCE_OK;
    o->bytes = s->entry.size;
    if (file)
        return send_known(p, b, o, s) ? SOURCE_OK : send_content(p, b, o, s, err);
    send_plain(p, b, o, s);
    return SOURCE_OK;
}

int send_part(struct push *p, struct push_batch *b, struct owed *o, struct err *err)
{
    struct sight s;
    uint64_t before = bundle_made(p);
    bool gone = o->kind == OWED_DELETE;
    int r = sight_look(p, b->ps, queue_path(o), &s, err);
    if (r < 0)
        return -1;
    if (r != (gone ? SIGHT_GONE : SIGHT_THERE))
        return SOURCE_BUSY;
    r = gone ? send_part_gone(p, b, o, err) : send_part_there(p, b, o, &s, err);
    b->bytes += bundle_made(p) - before;
    return r == SOURCE_OK || r < 0 ? r : SOURCE_BUSY;
}

/* It is there: sent, or left to the lane that it belongs to. */
static void send_found(struct push *p, struct lane *lane, struct push_site *ps, struct owed *o,
    struct sight *s, bool recorded)
{
    if (!recorded) {
        /* Not ready in the eyes of who scans (an empty file, say), who would not miss it either if
         * it went again: sent now, its deletion would be owed by nobody. */
        send_busy(p, ps, o);
        return;
    }
    if (too_large(p, ps, queue_path(o), s)) {
        queue_done(p->o->queue, o);
        return;
    }
    o->bytes = s->entry.size;
    struct lane *other = lane_for(p, lane, ps, queue_path(o), s);
    if (other == lane) {
        send_there(p, lane, ps, o, s);
        return;
    }
    struct pending *w = mem_alloc(sizeof *w);
    *w = (struct pending){.ps = ps, .owed = o};
    TAILQ_INSERT_TAIL(&other->pending, w, order);
}

/* It is not there: deleted, unless it is more likely to have been renamed. */
static void send_gone(
    struct push *p, struct lane *lane, struct push_site *ps, struct owed *o, bool recorded)
{
    if (o->kind == OWED_MOVE) {
        o->whole = true; /* moved, and gone since: both names are looked at */
        queue_retry(p->o->queue, o, 0, LATER_MAX, NULL);
    } else if (!p->o->once && recorded) {
        send_busy(p, ps, o); /* perhaps renamed: who scans will know in a moment */
    } else {
        push_site_leave(ps, queue_path(o), false);
        if (may_delete(p, ps, o))
            send_delete(p, lanes_batch(p, lane, ps, false), o);
    }
}

/* Mirrored, but not there. What is gone may have been a file or a directory: the far end knows,
 * unless neither would be there. What comparing found to be deleted there, is there. */
static bool is_lacked(
    const struct push_site *ps, const struct owed *o, int r, const struct sight *s)
{
    bool is_dir = r == SIGHT_THERE && s->entry.type == ENTRY_DIR;
    return ps->without && o->kind != OWED_DELETE && push_site_lacks(ps, queue_path(o), is_dir);
}

/* Sends the newest state of one path. */
void send_owed(struct push *p, struct lane *lane, struct push_site *ps, struct owed *o)
{
    const struct foreseen *f = p->foreseen_of == o ? p->foreseen : NULL;
    p->foreseen_of = NULL;                           /* it lives until the next path is listed */
    if (!lane->filling && !send_root_in_place(ps)) { /* looked at once a batch */
        queue_retry(p->o->queue, o, LATER_MS, LATER_MAX, NULL);
        return;
    }
    struct sight s;
    struct err err;
    bool foreseen = f && sight_is_foreseen(p, ps, queue_path(o), f, &s);
    int r = foreseen ? SIGHT_THERE : sight_look(p, ps, queue_path(o), &s, &err);
    if (is_lacked(ps, o, r, &s)) {
        queue_done(p->o->queue, o);
        return;
    }
    if (ps->site->options.dry_run) {
        rehearse(p, ps, o, r == SIGHT_THERE ? s.entry.type : ENTRY_NONE);
        return;
    }
    if (r == SIGHT_THERE && nameless(ps, &s, &err))
        r = -1;
    bool recorded =
        foreseen || p->o->once || !queue_path(o).len || send_is_recorded(ps, queue_path(o));
    switch (r) {
    case SIGHT_THERE: send_found(p, lane, ps, o, &s, recorded); break;
    case SIGHT_GONE: send_gone(p, lane, ps, o, recorded); break;
    case SIGHT_CHANGED: send_busy(p, ps, o); break;
    default: send_unreadable(p, ps, o, &err);
    }
}
