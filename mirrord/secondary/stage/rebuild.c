/*
 * A file made anew from its old one by extents: tells the primary what the old file holds, signs
 * the ranges that it asks for, and takes what it sends as orders (orders.c carries them out):
 * copies, content, deltas of ranges. What arrives faster than it can be done waits here, so that
 * live changes come between; where much waits, it is done before anything else is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/stage/rebuild_impl.h"

enum {
    FRAME_MIN = 64,            /* extents in an EXTENTS frame, unless … */
    FRAME_MS = 10,             /* … the last one was sent so long ago */
    READER_MS = 1,             /* between looks at what has been read */
    READERS_MAX = 4,           /* old files that are read at once, in a session */
    QUEUE_MS = 10,             /* between looks whether one more may be */
    WAITING_MAX = 1024 * 1024, /* bytes of content and orders that may wait */
    SIGNATURE_STEP = 4 * 1024,
    SIGNATURE_FRAME = 48 * 1024,
};

/* --- extents --- */

/* Another one may be read now. What was written by now stays as it is. */
static void start_reading(struct rebuild *r)
{
    struct transfer *t = r->t;
    uint64_t limit = t->written ? 0 : t->atom->step.entry.size;
    rebuild_tools(r)->readers++;
    r->reading = true;
    r->reader = extent_reader_new(t->source, t->fd, r->shared, r->size, limit);
}

static void stop_counting(struct rebuild *r)
{
    if (r->reading)
        rebuild_tools(r)->readers--;
    r->reading = false;
}

void rebuild_put_extents(struct rebuild *r, struct bytes items, bool last)
{
    struct outbox *out = &rebuild_tools(r)->out;
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
    rebuild_put_extents(r, (struct bytes){items.data, items.len}, last);
    wire_free(&items);
    return 0;
}

/* --- signatures --- */

static void put_signature(struct rebuild *r, struct bytes piece, bool last, bool none)
{
    struct outbox *out = &rebuild_tools(r)->out;
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
    uint8_t *out = rebuild_tools(r)->chunk;
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

static void step(struct job *job, unsigned budget_ms)
{
    struct transfer *t = (struct transfer *)((char *)job - offsetof(struct transfer, job));
    struct rebuild *r = t->rebuild;
    struct err why;
    uint64_t now = io_now_us(), end = now + (uint64_t)budget_ms * 1000;
    if (!r->reader && (!r->told || r->quiet) && rebuild_tools(r)->readers < READERS_MAX)
        start_reading(r);
    if (r->reader && !r->told && tell(r, &why) < 0) {
        transfer_give_up(t->atom, &why);
        return;
    }
    if (r->wanted_count)
        sign(r, TAILQ_EMPTY(&r->orders) ? end : now + (end - now) / 2);
    if (orders_work(r, end))
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
        job_start(&rebuild_tools(r)->jobs, &r->t->job, step);
    r->t->job.not_before = 0;
}

static struct order *add(struct rebuild *r, enum order_what what, struct bytes content)
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
    while (r->waiting > WAITING_MAX && orders_work(r, 0) == 0)
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
    if (m->use == RANGE_COPY && last && last->what == ORDER_COPY &&
        last->offset + last->length == m->offset) {
        last->length += m->length; /* as one: whole leaves go on over its borders */
        return 0;
    }
    struct order *o = add(r, m->use == RANGE_COPY ? ORDER_COPY : ORDER_BASE, (struct bytes){0});
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
    add(r, kind == DATA_DELTA ? ORDER_DELTA : ORDER_CONTENT, plain);
    keep_up(r);
}

void rebuild_finish(struct rebuild *r, const struct msg_finish *m)
{
    struct order *o = add(r, ORDER_FINISH, (struct bytes){0});
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
        rebuild_put_extents(r, (struct bytes){0}, true);
}

void rebuild_free(struct rebuild *r)
{
    if (!r)
        return;
    stop_counting(r);
    extent_reader_free(r->reader);
    while (!TAILQ_EMPTY(&r->orders))
        orders_drop_first(r);
    delta_patch_free(r->patch);
    delta_sign_free(r->sign);
    free(r);
}
