/*
 * A file made anew from its old one by extents: tells the primary what the old file holds, signs
 * the ranges that it asks for, and carries out, in order, what it sends: copies, content, deltas of
 * ranges. What arrives faster than it can be done waits here, so that live changes come between;
 * where much waits, it is done before anything else is read.
 *
 * Content that is copied to the same place has been copied by the reading threads already, if they
 * have come there; its digest is known then, and nothing is left to do. What goes to another place
 * they copy too, as far as it fills whole leaves of the new file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/stage/extent_reader.h"
#include "secondary/stage/transfer_impl.h"

enum {
    FRAME_MIN = 64,            /* extents in an EXTENTS frame, unless … */
    FRAME_MS = 10,             /* … the last one was sent so long ago */
    READER_MS = 1,             /* between looks at what has been read */
    READERS_MAX = 4,           /* old files that are read at once, in a session */
    QUEUE_MS = 10,             /* between looks whether one more may be */
    WAITING_MAX = 1024 * 1024, /* bytes of content and orders that may wait */
    PATCH_LIMIT = 1024 * 1024, /* bytes that a step of a patch makes, about */
    SIGNATURE_STEP = 4 * 1024,
    SIGNATURE_FRAME = 48 * 1024,
};

enum what { COPY, BASE, CONTENT, DELTA, FINISH };

struct order {
    TAILQ_ENTRY(order) next;
    enum what what;
    uint64_t offset, length; /* COPY, BASE: of the old file; FINISH: length is the file's */
    struct digest digest;    /* FINISH */
    uint64_t asked;          /* COPY: bytes done, or the threads' to do */
    size_t len;
    uint64_t done;
    uint8_t bytes[]; /* CONTENT, DELTA */
};

struct rebuild {
    struct transfer *t;
    struct extent_reader *reader; /* NULL: not yet */
    bool reading;                 /* it is one of tools->readers */
    uint64_t size;                /* of the old file */
    bool shared;                  /* the staged file began as a clone of it, and may be too long */
    bool quiet;                   /* the primary knows it */
    bool told;                    /* EXTENTS with `last` is out, or it is not to be */
    uint64_t told_ms;
    TAILQ_HEAD(order_list, order) orders;
    bool stalled;              /* the first of them waits for the threads */
    size_t waiting;            /* bytes that they take */
    struct delta_patch *patch; /* of the range named last; NULL: none, or it is complete */
    struct msg_range wanted[MSG_RANGES_MAX];
    unsigned wanted_first, wanted_count;
    struct delta_sign *sign; /* of the first one wanted */
};

static struct tools *tools_of(const struct rebuild *r)
{
    return r->t->atom->batch->replica->tools;
}

/* --- extents --- */

/* Another one may be read now. What was written by now stays as it is. */
static void start_reading(struct rebuild *r)
{
    struct transfer *t = r->t;
    uint64_t limit = t->written ? 0 : t->atom->step.entry.size;
    tools_of(r)->readers++;
    r->reading = true;
    r->reader = extent_reader_new(t->source, t->fd, r->shared, r->size, limit);
}

static void stop_counting(struct rebuild *r)
{
    if (r->reading)
        tools_of(r)->readers--;
    r->reading = false;
}

static void put_extents(struct rebuild *r, struct bytes items, bool last)
{
    struct outbox *out = &tools_of(r)->out;
    msg_put_extents(&out->writer, &(struct msg_extents){r->t->atom->number, last, r->size, items});
    outbox_put(out);
    r->told = last;
    r->told_ms = io_now_ms();
    if (last)
        stop_counting(r);
}

/* What has been read by now, if it is worth a frame. -1 with err. */
static int tell(struct rebuild *r, struct err *err)
{
    bool all;
    ssize_t n = extent_reader_ready(r->reader, &all, err);
    if (n < 0)
        return -1;
    if (!all && n < FRAME_MIN && (n == 0 || io_now_ms() - r->told_ms < FRAME_MS))
        return 0;
    struct wire_writer items = {0};
    bool last = all && n <= MSG_EXTENTS_FRAME;
    for (ssize_t i = 0; i < n && i < MSG_EXTENTS_FRAME; i++) {
        struct msg_extent e = extent_reader_take(r->reader);
        msg_extent_encode(&items, &e);
    }
    put_extents(r, (struct bytes){items.data, items.len}, last);
    wire_free(&items);
    return 0;
}

/* --- signatures --- */

static void put_signature(struct rebuild *r, struct bytes piece, bool last, bool none)
{
    struct outbox *out = &tools_of(r)->out;
    msg_put_signature(&out->writer, &(struct msg_signature){r->t->atom->number, last, none, piece});
    outbox_put(out);
    if (!last)
        return;
    delta_sign_free(TAKE_PTR(r->sign));
    r->wanted_first = (r->wanted_first + 1) % MSG_RANGES_MAX;
    r->wanted_count--;
}

/* A frame of the signature that was asked for first, or as much as the time allows. */
static void sign(struct rebuild *r, uint64_t deadline)
{
    const struct msg_range *range = &r->wanted[r->wanted_first];
    uint8_t *out = tools_of(r)->chunk;
    struct err why;
    if (!r->sign) {
        r->sign = delta_sign_new(r->t->source, range->length);
        delta_sign_from(r->sign, range->offset);
    }
    size_t got = 0;
    int more = DELTA_MORE;
    while (more == DELTA_MORE && got + SIGNATURE_STEP <= SIGNATURE_FRAME) {
        size_t n = 0;
        more = delta_sign_step(r->sign, out + got, SIGNATURE_STEP, &n, &why);
        got += more < 0 ? 0 : n;
        if (io_now_us() >= deadline)
            break;
    }
    if (more < 0)
        put_signature(r, (struct bytes){0}, true, true);
    else if (more == DELTA_DONE || got > 0)
        put_signature(r, (struct bytes){out, got}, more == DELTA_DONE, false);
}

/* --- orders: 1 there is more to do, 0 done, -1 --- */

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
    uint8_t *chunk = tools_of(r)->chunk;
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
    case COPY:
        return r->patch ? err_set(err, ERR_FAILED, "a delta that does not end") : copy(r, o, err);
    case BASE: return begin_patch(r, o, err);
    case CONTENT: return content(r, o, err);
    case DELTA: return patch(r, o, err);
    case FINISH: return 0;
    }
    return 0;
}

static void drop_first(struct rebuild *r)
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
        put_extents(r, (struct bytes){0}, true);
    t->hole = true; /* or it began as a longer one */
    if (transfer_set_length(t, &why) < 0) {
        transfer_give_up(t->atom, &why);
        return;
    }
    transfer_complete(t, o->length, &digest, !r->patch);
}

/* Carries out what waits. 1 when it is over, with the transfer, else 0. */
static int work(struct rebuild *r, uint64_t deadline)
{
    struct transfer *t = r->t;
    struct order *o;
    struct err why;
    r->stalled = false;
    while ((o = TAILQ_FIRST(&r->orders))) {
        if (o->what == FINISH) {
            finish(r, o);
            return 1;
        }
        int more = carry_out(r, o, &why);
        if (more < 0) {
            transfer_give_up(t->atom, &why);
            return 1;
        }
        if (more == 0)
            drop_first(r);
        if (r->stalled || io_now_us() >= deadline)
            break;
    }
    replica_progress(t->atom->batch->replica, t->written);
    return 0;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct transfer *t = (struct transfer *)((char *)job - offsetof(struct transfer, job));
    struct rebuild *r = t->rebuild;
    struct err why;
    uint64_t now = io_now_us(), end = now + (uint64_t)budget_ms * 1000;
    if (!r->reader && (!r->told || r->quiet) && tools_of(r)->readers < READERS_MAX)
        start_reading(r);
    if (r->reader && !r->told && tell(r, &why) < 0) {
        transfer_give_up(t->atom, &why);
        return;
    }
    if (r->wanted_count)
        sign(r, TAILQ_EMPTY(&r->orders) ? end : now + (end - now) / 2);
    if (work(r, end))
        return;
    if (r->wanted_count || (!TAILQ_EMPTY(&r->orders) && !r->stalled))
        job->not_before = 0;
    else if (r->stalled)
        job->not_before = io_now_ms() + READER_MS;
    else if (r->told && (r->reader || !r->quiet))
        job_stop(job);
    else
        job->not_before = io_now_ms() + (r->reader ? READER_MS : QUEUE_MS);
}

/* --- what comes in --- */

static void wake(struct rebuild *r)
{
    if (!job_running(&r->t->job))
        job_start(&tools_of(r)->jobs, &r->t->job, step);
    r->t->job.not_before = 0;
}

static struct order *add(struct rebuild *r, enum what what, struct bytes content)
{
    struct order *o = mem_alloc(sizeof *o + content.len);
    o->what = what;
    o->len = content.len;
    if (content.len)
        memcpy(o->bytes, content.data, content.len);
    TAILQ_INSERT_TAIL(&r->orders, o, next);
    r->waiting += sizeof *o + o->len;
    wake(r);
    return o;
}

/* Only as far as it must: a few orders can be copies of gigabytes. */
static void keep_up(struct rebuild *r)
{
    while (r->waiting > WAITING_MAX && work(r, 0) == 0)
        if (r->stalled)
            extent_reader_copy_wait(r->reader);
}

int rebuild_range(struct rebuild *r, const struct msg_range *m, struct err *err)
{
    if (m->offset > r->size || m->length > r->size - m->offset)
        return err_set(err, ERR_FAILED, "a range beyond the old file's end");
    if (m->use == RANGE_SIGN) {
        r->wanted[(r->wanted_first + r->wanted_count++) % MSG_RANGES_MAX] = *m;
        wake(r);
        return 0;
    }
    struct order *last = TAILQ_LAST(&r->orders, order_list);
    if (m->use == RANGE_COPY && last && last->what == COPY &&
        last->offset + last->length == m->offset) {
        last->length += m->length; /* as one: whole leaves go on over its borders */
        return 0;
    }
    struct order *o = add(r, m->use == RANGE_COPY ? COPY : BASE, (struct bytes){0});
    o->offset = m->offset;
    o->length = m->length;
    keep_up(r);
    return 0;
}

bool rebuild_is_full(const struct rebuild *r)
{
    return r->wanted_count == MSG_RANGES_MAX;
}

void rebuild_data(struct rebuild *r, uint8_t kind, struct bytes plain)
{
    add(r, kind == DATA_DELTA ? DELTA : CONTENT, plain);
    keep_up(r);
}

void rebuild_finish(struct rebuild *r, const struct msg_finish *m)
{
    struct order *o = add(r, FINISH, (struct bytes){0});
    o->length = m->size;
    o->digest = m->digest;
    r->t->waited_for = true;
    r->t->atom->batch->pending++;
}

/* --- beginning and end --- */

/* Where the filesystem can share extents: a snapshot of the old file, which nobody changes, to be
 * read from now on, and the same for the staged file to begin with. */
static bool share(struct transfer *t)
{
    const struct root *stage = t->atom->batch->replica->stage->root;
    int fd CLEANUP_FD = openat(root_fd(stage), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ioctl(fd, FICLONE, t->source) < 0 || ioctl(t->fd, FICLONE, fd) < 0)
        return false;
    close(t->source);
    t->source = TAKE_FD(fd);
    return true;
}

static struct rebuild *start(struct transfer *t, uint64_t size)
{
    struct rebuild *r = mem_alloc(sizeof *r);
    TAILQ_INIT(&r->orders);
    r->t = t;
    r->size = size;
    r->told_ms = io_now_ms();
    t->rebuild = r;
    r->shared = share(t);
    wake(r);
    return r;
}

void rebuild_start(struct transfer *t, uint64_t size)
{
    start(t, size);
}

void rebuild_start_known(struct transfer *t, uint64_t size)
{
    struct rebuild *r = start(t, size);
    r->quiet = r->told = true;
}

void rebuild_give_way(struct rebuild *r, uint64_t end)
{
    if (r->reader)
        extent_reader_give_way(r->reader, end);
}

void rebuild_abandon(struct rebuild *r)
{
    if (!r)
        return;
    while (r->wanted_count)
        put_signature(r, (struct bytes){0}, true, true);
    if (!r->told)
        put_extents(r, (struct bytes){0}, true);
}

void rebuild_free(struct rebuild *r)
{
    if (!r)
        return;
    stop_counting(r);
    extent_reader_free(r->reader);
    while (!TAILQ_EMPTY(&r->orders))
        drop_first(r);
    delta_patch_free(r->patch);
    delta_sign_free(r->sign);
    free(r);
}
