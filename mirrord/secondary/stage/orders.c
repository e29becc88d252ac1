/*
 * Carries out, in order, what the primary sent of a file that is made anew: copies from the old
 * one, content, deltas of ranges; see rebuild_impl.h. Each function of a kind says: 1 there is more
 * to do, 0 done, -1 with err.
 *
 * Content that is copied to the same place has been copied by the reading threads already, if they
 * have come there; its digest is known then, and nothing is left to do. What goes to another place
 * they copy too, as far as it fills whole leaves of the new file.
 */
#include <errno.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/stage/rebuild_impl.h"

enum { PATCH_LIMIT = 1024 * 1024 }; /* bytes that a step of a patch makes, about */

/* It has been copied to its place by the way. */
static bool was_copied(struct rebuild *r, struct order *o)
{
    struct transfer *t = r->t;
    struct digest digest;
    uint64_t at = o->offset + o->done;
    if (at != t->written || o->length - o->done < MSG_EXTENT ||
        t->atom->step.entry.size - at < MSG_EXTENT || !r->reader ||
        !extent_reader_copied(r->reader, at, &digest))
        return false;
    digest_stream_add_leaf(t->sum, &digest);
    t->written += MSG_EXTENT;
    o->done += MSG_EXTENT;
    return true;
}

/* Gives whole leaves to the threads, as many as they take. */
static void ask_threads(struct rebuild *r, struct order *o)
{
    struct transfer *t = r->t;
    o->asked = o->asked > o->done ? o->asked : o->done;
    for (;;) {
        uint64_t to = t->written + (o->asked - o->done);
        if (!r->reader || to % MSG_EXTENT != 0 || o->length - o->asked < MSG_EXTENT ||
            t->atom->step.entry.size - to < MSG_EXTENT)
            return;
        extent_reader_give_way(r->reader, to + MSG_EXTENT);
        if (!extent_reader_copy(r->reader, o->offset + o->asked, to))
            return;
        o->asked += MSG_EXTENT;
    }
}

/* Takes what they have done. 1: there is more of it; 0; -1. */
static int hear_threads(struct rebuild *r, struct order *o, struct err *err)
{
    struct transfer *t = r->t;
    struct digest digest;
    int done;
    while (o->asked > o->done && (done = extent_reader_copy_done(r->reader, &digest, err)) != 0) {
        if (done < 0)
            return -1;
        digest_stream_add_leaf(t->sum, &digest);
        t->written += MSG_EXTENT;
        o->done += MSG_EXTENT;
    }
    return o->asked > o->done;
}

static int copy_piece(struct rebuild *r, struct order *o, struct err *err)
{
    struct transfer *t = r->t;
    uint8_t *chunk = rebuild_tools(r)->chunk;
    uint64_t left = o->length - o->done;
    size_t n = MSG_CHUNK_MAX - t->written % MSG_CHUNK_MAX;
    n = left < n ? (size_t)left : n;
    ssize_t got = io_pread_full(t->source, chunk, n, o->offset + o->done);
    if (got < 0)
        return err_sys(err, errno, "read the old file");
    if ((size_t)got < n)
        return err_set(err, ERR_FAILED, "the old file became shorter");
    if (transfer_write(t, chunk, n, err) < 0)
        return -1;
    o->done += n;
    return 0;
}

static int copy(struct rebuild *r, struct order *o, struct err *err)
{
    uint64_t before = o->done;
    if (o->asked > o->done || !was_copied(r, o)) {
        ask_threads(r, o);
        int busy = hear_threads(r, o, err);
        r->stalled = busy > 0 && o->done == before;
        if (busy < 0 || (!busy && o->done == before && copy_piece(r, o, err) < 0))
            return -1;
    }
    return o->done < o->length;
}

static int sink(void *ctx, const void *p, size_t n, struct err *err)
{
    return transfer_write(ctx, p, n, err);
}

static int begin_patch(struct rebuild *r, const struct order *o, struct err *err)
{
    if (r->patch)
        return err_set(err, ERR_FAILED, "a delta that does not end");
    r->patch = delta_patch_new(r->t->source, sink, r->t);
    delta_patch_range(r->patch, o->offset, o->length);
    delta_patch_limit(r->patch, PATCH_LIMIT);
    return 0;
}

static int patch(struct rebuild *r, struct order *o, struct err *err)
{
    if (!r->patch)
        return err_set(err, ERR_FAILED, "a delta without a range");
    int more = delta_patch_step(r->patch, o->bytes + o->done, o->len - o->done, err);
    o->done = o->len;
    if (more == DELTA_DONE)
        delta_patch_free(TAKE_PTR(r->patch));
    return more < 0 ? -1 : more == DELTA_BUSY;
}

static int content(struct rebuild *r, const struct order *o, struct err *err)
{
    if (r->patch)
        return err_set(err, ERR_FAILED, "a delta that does not end");
    return transfer_write(r->t, o->bytes, o->len, err);
}

static int carry_out(struct rebuild *r, struct order *o, struct err *err)
{
    switch (o->what) {
    case ORDER_COPY:
        return r->patch ? err_set(err, ERR_FAILED, "a delta that does not end") : copy(r, o, err);
    case ORDER_BASE: return begin_patch(r, o, err);
    case ORDER_CONTENT: return content(r, o, err);
    case ORDER_DELTA: return patch(r, o, err);
    case ORDER_FINISH: return 0;
    }
    return 0;
}

void orders_drop_first(struct rebuild *r)
{
    struct order *o = TAILQ_FIRST(&r->orders);
    TAILQ_REMOVE(&r->orders, o, next);
    r->waiting -= sizeof *o + o->len;
    free(o);
}

/* All has been done that was asked for; the transfer is over. */
static void finish(struct rebuild *r, const struct order *o)
{
    struct transfer *t = r->t;
    struct digest digest = o->digest;
    struct err why;
    if (!r->told) /* the primary was sure before it had heard all */
        rebuild_put_extents(r, (struct bytes){0}, true);
    t->hole = true; /* or it began as a longer one */
    if (transfer_set_length(t, &why) < 0) {
        transfer_give_up(t->atom, &why);
        return;
    }
    transfer_complete(t, o->length, &digest, !r->patch);
}

int orders_work(struct rebuild *r, uint64_t deadline)
{
    struct transfer *t = r->t;
    struct order *o;
    struct err why;
    r->stalled = false;
    while ((o = TAILQ_FIRST(&r->orders))) {
        if (o->what == ORDER_FINISH) {
            finish(r, o);
            return 1;
        }
        int more = carry_out(r, o, &why);
        if (more < 0) {
            transfer_give_up(t->atom, &why);
            return 1;
        }
        if (more == 0)
            orders_drop_first(r);
        if (r->stalled || io_now_us() >= deadline)
            break;
    }
    replica_progress(t->atom->batch->replica, t->written);
    return 0;
}
