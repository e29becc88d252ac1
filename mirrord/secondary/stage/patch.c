/*
 * A delta of the whole old file: its signature, in frames, and the delta that comes, patched in
 * steps; see transfer_impl.h. Where extents are worth it the same is rebuild.c's.
 */
#include "base/io.h"
#include "base/log.h"
#include "secondary/stage/transfer_impl.h"

enum {
    SIGNATURE_FRAME = 48 * 1024,
    SIGNATURE_STEP = 4 * 1024,
    PATCH_STEP = 512 * 1024,       /* written between looks at the clock, or at other messages */
    BACKLOG_MAX = 2 * 1024 * 1024, /* of delta: then nothing else is done until it is less */
};

void patch_stop(struct transfer *t)
{
    transfer_replica(t->atom)->tools->patching -= t->patching;
    t->patching = false;
}

void patch_put_signature(struct atom *a, struct bytes piece, bool last, bool none)
{
    struct outbox *out = &transfer_replica(a)->tools->out;
    struct msg_signature m = {.atom = a->number, .last = last, .none = none, .content = piece};
    msg_put_signature(&out->writer, &m);
    outbox_put(out);
}

/* One frame of the old file's signature, or as much as the time allows. */
static void sign_step(struct job *job, unsigned budget_ms)
{
    struct transfer *t = (struct transfer *)((char *)job - offsetof(struct transfer, job));
    struct atom *a = t->atom;
    uint8_t *out = transfer_replica(a)->tools->chunk;
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    size_t got = 0;
    int more = DELTA_MORE;
    while (
        more == DELTA_MORE && got + SIGNATURE_STEP <= SIGNATURE_FRAME && io_now_us() < deadline) {
        size_t n = 0;
        struct err why;
        more = delta_sign_step(t->sign, out + got, SIGNATURE_STEP, &n, &why);
        got += more < 0 ? 0 : n;
        if (more < 0)
            log_warn("signature of %s: %s", QUOTED(a->step.path.data, a->step.path.len), why.text);
    }
    if (more == DELTA_MORE && got == 0)
        return;
    if (more == DELTA_MORE) {
        patch_put_signature(a, (struct bytes){out, got}, false, false);
        return;
    }
    job_stop(job);
    patch_put_signature(a, (struct bytes){out, more < 0 ? 0 : got}, true, more < 0);
}

void patch_begin(struct transfer *t, uint64_t size)
{
    struct atom *a = t->atom;
    t->sign = t->source >= 0 && delta_can_sign(size) ? delta_sign_new(t->source, size) : NULL;
    if (!t->sign)
        patch_put_signature(a, (struct bytes){0}, true, true);
    else
        job_start(&transfer_replica(a)->tools->jobs, &t->job, sign_step);
}

static int sink(void *ctx, const void *p, size_t n, struct err *err)
{
    return transfer_write(ctx, p, n, err);
}

static int patch_some(struct transfer *t, struct bytes delta, struct err *err)
{
    int more = delta_patch_step(t->patch, delta.data, delta.len, err);
    t->patched = more == DELTA_DONE;
    return more;
}

static void patch_step(struct job *job, unsigned budget_ms)
{
    struct transfer *t = (struct transfer *)((char *)job - offsetof(struct transfer, job));
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    struct err why;
    int more = DELTA_BUSY;
    while (more == DELTA_BUSY && io_now_us() < deadline)
        more = patch_some(t, (struct bytes){0}, &why);
    if (more == DELTA_BUSY)
        return;
    job_stop(job);
    patch_stop(t);
    if (more < 0)
        transfer_give_up(t->atom, &why);
    else if (t->waited_for)
        transfer_finished(t, &t->finish);
}

/* Some bytes of a delta may be copies of gigabytes: a part of it now, the rest as a job. */
int patch_take(struct transfer *t, struct bytes delta, struct err *err)
{
    if (t->source < 0)
        return err_set(err, ERR_FAILED, "a delta without a base");
    if (!t->patch) {
        t->patch = delta_patch_new(t->source, sink, t);
        delta_patch_limit(t->patch, PATCH_STEP);
    }
    int more = patch_some(t, delta, err);
    while (more == DELTA_BUSY && delta_patch_backlog(t->patch) > BACKLOG_MAX)
        more = patch_some(t, (struct bytes){0}, err);
    if (more == DELTA_BUSY && !t->patching) {
        t->patching = true;
        transfer_replica(t->atom)->tools->patching++;
        job_start(&transfer_replica(t->atom)->tools->jobs, &t->job, patch_step);
    }
    return more < 0 ? -1 : 0;
}
