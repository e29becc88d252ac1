/* Content of a file for its digest, a piece at a time, under the bracket of RULES 1: fstat, writer
 * probe, read, writer probe, fstat. Anything but one quiet state is "changed". */
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/digest.h"
#include "tree/walk_impl.h"
#include "tree/writer.h"

enum { PIECE = 1024 * 1024 };

/* Where leases do not work the times must do. */
static bool has_writer(int fd)
{
    return writer_probe(fd) == 1;
}

static bool is_still(const struct walk_reading *r)
{
    struct stat st;
    if (fstat(r->fd, &st) != 0)
        return false;
    struct validators now = validators_of(&st);
    return validators_equal(&now, &r->validators);
}

void walk_read_stop(struct walk *w)
{
    if (w->reading.fd >= 0)
        close(w->reading.fd);
    w->reading.fd = -1;
}

bool walk_read_begin(struct walk *w, struct bytes name, const struct validators *validators)
{
    struct walk_reading *r = &w->reading;
    struct stat st;
    clock_gettime(CLOCK_REALTIME, &r->began);
    r->fd = root_open_file(w->root, walk_path_of(w, name), &st);
    if (r->fd < 0)
        return false;
    r->validators = *validators;
    r->size = validators->size;
    r->offset = 0;
    if (!is_still(r) || has_writer(r->fd)) {
        walk_read_stop(w);
        return false;
    }
    if (!r->stream) {
        r->stream = digest_stream_new();
        r->buf = mem_alloc(PIECE);
    }
    digest_stream_reset(r->stream);
    return true;
}

enum walk_read_result walk_read_step(struct walk *w, struct digest *out)
{
    struct walk_reading *r = &w->reading;
    uint64_t left = r->size - r->offset;
    ssize_t n = left ? io_pread_full(r->fd, r->buf, left < PIECE ? left : PIECE, r->offset) : 0;
    if (n > 0) {
        digest_stream_add(r->stream, r->buf, (size_t)n);
        r->offset += (uint64_t)n;
        w->counts.hashed += (uint64_t)n;
        w->read_since_write += (uint64_t)n;
        if (r->offset < r->size)
            return READ_MORE;
    }
    bool good = n >= 0 && r->offset == r->size && !has_writer(r->fd) && is_still(r);
    if (good)
        digest_stream_end(r->stream, out);
    walk_read_stop(w);
    return good ? READ_GOOD : READ_CHANGED;
}
