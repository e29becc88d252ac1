/*
 * Content that is on this disk already: copied into the stage from another file of the replica, or
 * verified where it is. Jobs in steps, whose result is trusted only when its digest is right.
 */
#include "secondary/stage/copy.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/stage/transfer_impl.h"

static void need_content(struct atom *a, const char *text)
{
    step_fail_text(&a->step, REASON_NEED_CONTENT, "stage", text);
}

/* All of the source went through the digest. */
static void finish(struct transfer *t)
{
    struct atom *a = t->atom;
    struct digest digest;
    struct err why;
    digest_stream_end(t->sum, &digest);
    if (transfer_set_length(t, &why) < 0)
        step_fail(&a->step, REASON_IO, "stage", &why);
    else if (digest_stream_length(t->sum) != a->step.entry.size ||
             !digest_equal(&digest, &a->step.entry.digest))
        need_content(a, "the file here has other content");
    else if (t->fd >= 0)
        transfer_seal(a, TAKE_FD(t->fd));
    else {
        a->step.verified = true;
        a->step.seen = t->seen;
    }
    transfer_end(a);
}

/* One piece of the source: 1 there may be more, 0 the end, -1. */
static int piece(struct transfer *t, struct err *err)
{
    uint8_t *chunk = t->atom->batch->replica->tools->chunk;
    uint64_t at = digest_stream_length(t->sum);
    ssize_t n = io_pread_full(t->source, chunk, MSG_CHUNK_MAX, at);
    if (n < 0)
        return err_sys(err, errno, "read");
    if (n > 0 && t->fd >= 0 && !t->cloned)
        return transfer_write(t, chunk, (size_t)n, err) < 0 ? -1 : 1;
    digest_stream_add(t->sum, chunk, (size_t)n);
    return n > 0 && at + (uint64_t)n <= t->atom->step.entry.size;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct transfer *t = (struct transfer *)((char *)job - offsetof(struct transfer, job));
    struct atom *a = t->atom;
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    struct err why;
    int more = 1;
    while (more > 0 && io_now_us() < deadline)
        more = piece(t, &why);
    replica_progress(a->batch->replica, digest_stream_length(t->sum));
    if (more < 0) {
        step_fail(&a->step, why.sys ? REASON_IO : REASON_NEED_CONTENT, "stage", &why);
        transfer_end(a);
    } else if (more == 0)
        finish(t);
}

static void start(struct transfer *t)
{
    t->waited_for = true;
    t->atom->batch->pending++;
    job_start(&t->atom->batch->replica->tools->jobs, &t->job, step);
}

void copy_start(struct atom *a, struct bytes source)
{
    struct stat st;
    int from CLEANUP_FD = root_open_file(a->batch->replica->root, source, &st);
    if (from < 0 || (uint64_t)st.st_size != a->step.entry.size) {
        need_content(a, "the file to copy is not here");
        return;
    }
    int fd = transfer_create(a);
    if (fd < 0)
        return;
    struct transfer *t = transfer_new(a);
    t->fd = fd;
    t->source = TAKE_FD(from);
    t->cloned = ioctl(t->fd, FICLONE, t->source) == 0;
    if (t->cloned) {
        close(t->source);
        t->source = dup(t->fd);
    }
    start(t);
}

void copy_verify(struct atom *a)
{
    struct stat st;
    int from CLEANUP_FD = root_open_file(a->batch->replica->root, a->step.path, &st);
    if (from < 0 || (uint64_t)st.st_size != a->step.entry.size) {
        need_content(a, "the file here has another size");
        return;
    }
    struct transfer *t = transfer_new(a);
    t->source = TAKE_FD(from);
    t->seen = validators_of(&st);
    start(t);
}
