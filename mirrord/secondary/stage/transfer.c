/*
 * Staging the content of files; see transfer.h. The staged file stays open while content arrives;
 * it is closed when its digest, size and metadata are right. Copies and verifications are in
 * copy.c, deltas in patch.c and rebuild.c.
 */
#include "secondary/stage/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/stage/bin.h"
#include "secondary/stage/parts.h"
#include "secondary/stage/place.h"
#include "secondary/stage/transfer_impl.h"

/* Where there is no room, what might be of use later is the first to go. */
static void make_room(struct atom *a, int errnum)
{
    if (errnum != ENOSPC && errnum != EDQUOT)
        return;
    parts_drop(transfer_replica(a)->stage, (struct bytes){0});
    bin_wait(transfer_replica(a)->stage->bin);
}

int transfer_create(struct atom *a)
{
    char name[PATH_NAME_MAX + 1];
    int dir = place_new(a, name);
    int fd = dir < 0 ? -1
                     : openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                           a->step.entry.mode & 0777);
    gid_t group = fd < 0 ? (gid_t)-1 : place_group(a);
    if (fd < 0) {
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "create");
        make_room(a, (int)a->step.sys);
    } else if (group != (gid_t)-1 && fchown(fd, (uid_t)-1, group) < 0)
        log_debug(
            "no group of the directory above for %s", QUOTED(a->step.path.data, a->step.path.len));
    if (fd >= 0)
        label_place(&transfer_replica(a)->label, transfer_replica(a)->root, a->step.path, fd);
    return fd;
}

/* Gives the staged file its metadata and remembers which inode it is. */
static void seal(struct atom *a, int fd)
{
    struct err why;
    struct stat st;
    if (meta_apply_new(&transfer_replica(a)->rules, fd, &a->step.entry, &st, &why) < 0)
        step_fail(&a->step, why.code == ERR_PARTIAL ? REASON_OWNER : REASON_IO, "stage", &why);
    else {
        a->step.after = validators_of(&st);
        a->step.inode = st.st_ino;
    }
}

void transfer_seal(struct atom *a, int fd)
{
    seal(a, fd);
    if (close(fd) < 0)
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "close");
}

static bool content_is(struct atom *a, uint64_t size, const struct digest *digest)
{
    const struct entry *e = &a->step.entry;
    if (size == e->size && (!e->has_digest || digest_equal(digest, &e->digest)))
        return true;
    step_fail_text(&a->step, REASON_NEED_CONTENT, "stage",
        size == e->size ? "the content arrived with another digest"
                        : "the content arrived with another size");
    return false;
}

/* The plain bytes of a piece of content: as they came, or unpacked into the session's chunk. */
static int unpack(struct atom *a, uint8_t encoding, struct bytes content, struct bytes *out)
{
    struct tools *tools = transfer_replica(a)->tools;
    struct err why;
    size_t n = 0;
    *out = content;
    if (encoding == ENCODING_RAW)
        return 0;
    if (zip_unpack(tools->zip, content.data, content.len, tools->chunk, MSG_CHUNK_MAX, &n, &why) <
        0) {
        step_fail(&a->step, REASON_NEED_CONTENT, "stage", &why);
        return -1;
    }
    *out = (struct bytes){tools->chunk, n};
    return 0;
}

void transfer_inline(struct atom *a, const struct msg_entry *m)
{
    struct bytes plain;
    struct digest digest;
    if (unpack(a, m->encoding, m->content, &plain) < 0)
        return;
    digest_of(plain.data, plain.len, &digest);
    if (!content_is(a, plain.len, &digest))
        return;
    int fd CLEANUP_FD = transfer_create(a);
    if (fd < 0)
        return;
    if (io_write_full(fd, plain.data, plain.len) < 0) {
        step_fail_errno(&a->step, REASON_IO, errno, "stage", "write");
        make_room(a, (int)a->step.sys);
        return;
    }
    transfer_seal(a, TAKE_FD(fd));
}

struct transfer *transfer_new(struct atom *a)
{
    struct transfer *t = mem_alloc(sizeof *t);
    t->atom = a;
    t->fd = t->source = -1;
    t->data_kind = -1;
    t->sum = digest_stream_new();
    a->transfer = t;
    return t;
}

/* Ends the transfer, whatever became of it; the staged file is left as it is. */
void transfer_end(struct atom *a)
{
    struct transfer *t = a->transfer;
    if (!t)
        return;
    a->transfer = NULL;
    patch_stop(t);
    a->keeping = a->part || t->data_kind == DATA_CONTENT ||
                 (t->data_kind == DATA_DELTA && t->literal >= t->written / 2);
    job_stop(&t->job);
    rebuild_free(t->rebuild);
    if (t->fd >= 0)
        close(t->fd);
    if (t->source >= 0)
        close(t->source);
    digest_stream_free(t->sum);
    delta_sign_free(t->sign);
    delta_patch_free(t->patch);
    if (t->waited_for) {
        a->batch->pending--;
        batch_job_done(a->batch);
    }
    free(t);
}

bool transfer_is_job(const struct atom *a)
{
    return a->transfer && a->transfer->waited_for;
}

void transfer_drop(struct atom *a)
{
    struct transfer *t = a->transfer;
    if (t && t->waited_for) {
        t->waited_for = false;
        a->batch->pending--;
    }
    transfer_end(a);
}

/* What a delta is made against: what came of this content in an earlier session, else the live
 * file. Content that neither serves can be gone on with later, under a part's name. */
static int open_base(struct atom *a, bool delta, struct stat *st)
{
    int base = delta ? parts_open(transfer_replica(a)->stage, a->step.path, st) : -1;
    a->part = base >= 0;
    if (delta && base < 0)
        base = root_open_file(transfer_replica(a)->root, a->step.path, st);
    a->part |= base < 0 && a->step.entry.size >= PARTS_MIN_SIZE;
    return base;
}

void transfer_begin(struct atom *a, bool delta)
{
    struct stat st = {0};
    int base CLEANUP_FD = open_base(a, delta, &st);
    int fd = transfer_create(a);
    if (fd < 0) {
        if (delta)
            patch_put_signature(a, (struct bytes){0}, true, true);
        return;
    }
    struct transfer *t = transfer_new(a);
    t->fd = fd;
    t->source = TAKE_FD(base);
    uint64_t size = (uint64_t)st.st_size;
    if (delta && t->source >= 0 && extents_pay(size, a->step.entry.size))
        rebuild_start(t, size);
    else if (delta)
        patch_begin(t, size);
}

/* The live file, if it is known to have this content; else -1. */
static int open_known(struct atom *a, const struct digest *content, struct stat *st)
{
    struct replica *r = transfer_replica(a);
    struct manifest_txn *t;
    struct record record;
    uint64_t parent;
    struct err why;
    int fd CLEANUP_FD = root_open_file(r->root, a->step.path, st);
    if (fd < 0 || manifest_begin(r->manifest, false, &t, &why) < 0)
        return -1;
    struct validators now = validators_of(st);
    bool known = manifest_lookup(t, a->step.path, &record, &parent, &why) == 1 &&
                 record.entry.type == ENTRY_FILE && record.entry.has_digest &&
                 !(record.flags & RECORD_RACY) && validators_equal(&record.validators, &now) &&
                 digest_equal(&record.entry.digest, content);
    manifest_abort(t);
    return known ? TAKE_FD(fd) : -1;
}

void transfer_begin_based(struct atom *a, const struct digest *base)
{
    struct stat st;
    struct outbox *out = &transfer_replica(a)->tools->out;
    int source CLEANUP_FD = open_known(a, base, &st);
    if (source < 0) {
        msg_put_extents(&out->writer, &(struct msg_extents){.atom = a->number, .last = true});
        outbox_put(out);
        step_fail_text(&a->step, REASON_NEED_CONTENT, "stage",
            "the file here is not the one that the delta was made against");
        return;
    }
    a->part = false;
    int fd = transfer_create(a);
    if (fd < 0)
        return;
    struct transfer *t = transfer_new(a);
    t->fd = fd;
    t->source = TAKE_FD(source);
    rebuild_start_known(t, (uint64_t)st.st_size);
}

int transfer_write(struct transfer *t, const void *p, size_t n, struct err *err)
{
    if (n > t->atom->step.entry.size - t->written)
        return err_set(err, ERR_FAILED, "more content than was announced");
    if (t->rebuild)
        rebuild_give_way(t->rebuild, t->written + n);
    int how = io_pwrite_sparse(t->fd, p, n, t->written);
    if (how < 0)
        return err_sys(err, errno, "write");
    t->hole = how == 1;
    digest_stream_add(t->sum, p, n);
    t->written += n;
    replica_progress(transfer_replica(t->atom), t->written);
    return 0;
}

int transfer_set_length(struct transfer *t, struct err *err)
{
    if (t->hole && ftruncate(t->fd, (off_t)t->written) < 0)
        return err_sys(err, errno, "truncate");
    return 0;
}

void transfer_give_up(struct atom *a, const struct err *why)
{
    struct transfer *t = a->transfer;
    step_fail(&a->step, why->sys ? REASON_IO : REASON_NEED_CONTENT, "stage", why);
    rebuild_abandon(t->rebuild);
    rebuild_free(TAKE_PTR(t->rebuild));
    if (t->fd >= 0) /* its room is free again before anybody asks how much there is */
        close(TAKE_FD(t->fd));
    if (!a->step.above)
        stage_drop(transfer_replica(a)->stage, a->step.staged);
    make_room(a, why->sys);
    transfer_end(a); /* and with it the batch may */
}

static void out_of_order(struct atom *a)
{
    struct err why;
    err_set(&why, ERR_FAILED, "content came out of order");
    if (a->transfer)
        transfer_give_up(a, &why);
    else
        step_fail(&a->step, REASON_NEED_CONTENT, "stage", &why);
}

void transfer_data(struct atom *a, const struct msg_data *m)
{
    struct transfer *t = a->transfer;
    struct bytes plain;
    struct err why;
    if (a->step.state == STEP_FAILED)
        return;
    if (!t || t->waited_for || (!t->rebuild && t->data_kind >= 0 && t->data_kind != m->kind)) {
        out_of_order(a);
        return;
    }
    t->data_kind = t->rebuild ? DATA_DELTA : m->kind;
    if (!t->rebuild && !t->patching)
        job_stop(&t->job); /* of a signature: the primary has decided without the rest */
    if (unpack(a, m->encoding, m->content, &plain) < 0) {
        rebuild_abandon(t->rebuild);
        transfer_end(a);
        return;
    }
    t->literal += plain.len;
    if (t->rebuild) {
        rebuild_data(t->rebuild, m->kind, plain);
        return;
    }
    int bad = m->kind == DATA_DELTA ? patch_take(t, plain, &why)
                                    : transfer_write(t, plain.data, plain.len, &why);
    if (bad)
        transfer_give_up(a, &why);
}

int transfer_range(struct atom *a, const struct msg_range *m, struct err *err)
{
    struct transfer *t = a->transfer;
    struct err why;
    bool ready = a->step.state != STEP_FAILED && t && t->rebuild && !t->waited_for;
    if (!ready && m->use == RANGE_SIGN)
        patch_put_signature(a, (struct bytes){0}, true, true); /* an answer is waited for */
    if (!ready) {
        if (a->step.state != STEP_FAILED)
            out_of_order(a);
        return 0;
    }
    if (m->use == RANGE_SIGN && rebuild_is_full(t->rebuild))
        return err_set(err, ERR_FAILED, "over %d signatures asked for at once", MSG_RANGES_MAX);
    if (rebuild_range(t->rebuild, m, &why) < 0) {
        if (m->use == RANGE_SIGN)
            patch_put_signature(a, (struct bytes){0}, true, true);
        transfer_give_up(a, &why);
    }
    return 0;
}

void transfer_complete(struct transfer *t, uint64_t size, const struct digest *expected, bool whole)
{
    struct atom *a = t->atom;
    struct digest digest;
    struct err why;
    digest_stream_end(t->sum, &digest);
    if (transfer_set_length(t, &why) < 0)
        step_fail(&a->step, REASON_IO, "stage", &why);
    else if (!whole || t->written != size || !digest_equal(&digest, expected))
        step_fail_text(&a->step, REASON_NEED_CONTENT, "stage",
            "the content does not match its announced size and digest");
    else if (content_is(a, t->written, &digest)) {
        a->step.entry.has_digest = true;
        a->step.entry.digest = digest;
        transfer_seal(a, TAKE_FD(t->fd));
        parts_drop(transfer_replica(a)->stage, a->step.path);
    }
    transfer_end(a);
}

void transfer_finished(struct transfer *t, const struct msg_finish *m)
{
    transfer_complete(t, m->size, &m->digest, t->data_kind != DATA_DELTA || t->patched);
}

void transfer_finish(struct atom *a, const struct msg_finish *m)
{
    struct transfer *t = a->transfer;
    if (a->step.state == STEP_FAILED)
        return;
    if (!t || t->waited_for) {
        step_fail_text(&a->step, REASON_NEED_CONTENT, "stage", "FINISH came without content");
        return;
    }
    if (t->rebuild) {
        rebuild_finish(t->rebuild, m);
        return;
    }
    if (!t->patching) {
        transfer_finished(t, m);
        return;
    }
    t->finish = *m;
    t->waited_for = true;
    a->batch->pending++;
}
