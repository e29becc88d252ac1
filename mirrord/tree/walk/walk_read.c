/* Content of a file for its digest, a piece at a time, under the bracket of RULES 1: fstat, writer
 * probe, read, writer probe, fstat. Anything but one quiet state is "changed". */
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/walk/walk_impl.h"
#include "tree/walk/writer.h"

enum { PIECE = 1024 * 1024 };

/* The descriptor is what was expected, and a regular file. */
static bool is_as_expected(const struct walk_reading *r)
{
    struct stat st;
    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    struct validators now = validators_of(&st);
    return validators_equal(&now, &r->validators);
}

/* The bracket's first half. Only regular files have leases, and `validators` are of a stat from
 * before the opening, which the last fstat must find again: a first one would say no more. Where
 * leases do not work the times must do. */
static bool is_quiet(const struct walk_reading *r)
{
    int writer = writer_probe(r->fd);
    return writer == 0 || (writer < 0 && is_as_expected(r));
}

void walk_read_stop(struct walk *w)
{
    if (w->reading.fd >= 0)
        close(w->reading.fd);
    w->reading.fd = -1;
}

bool walk_read_begin(struct walk *w, const char *name, const struct validators *validators)
{
    struct walk_reading *r = &w->reading;
    validators_clock(&r->began);
    r->fd = root_open_name(w->found.fd, name);
    if (r->fd < 0)
        return false;
    r->validators = *validators;
    r->size = validators->size;
    r->offset = 0;
    if (!is_quiet(r)) {
        walk_read_stop(w);
        return false;
    }
    if (!r->stream) {
        r->stream = digest_stream_new();
        r->buf = mem_alloc(PIECE);
    }
    if (r->size > PIECE)
        digest_stream_reset(r->stream);
    return true;
}

/* The bracket's second half. */
static bool stayed_quiet(const struct walk_reading *r)
{
    return r->offset == r->size && writer_probe(r->fd) != 1 && is_as_expected(r);
}

enum walk_read_result walk_read_step(struct walk *w, struct digest *out)
{
    struct walk_reading *r = &w->reading;
    uint64_t left = r->size - r->offset;
    ssize_t n = left ? io_pread_full(r->fd, r->buf, left < PIECE ? left : PIECE, r->offset) : 0;
    bool one_piece = r->size <= PIECE;
    if (n > 0) {
        if (!one_piece)
            digest_stream_add(r->stream, r->buf, (size_t)n);
        r->offset += (uint64_t)n;
        w->counts.hashed += (uint64_t)n;
        w->read_since_write += (uint64_t)n;
        if (r->offset < r->size)
            return READ_MORE;
    }
    bool good = n >= 0 && stayed_quiet(r);
    if (good && one_piece)
        digest_of(r->buf, (size_t)n, out);
    else if (good)
        digest_stream_end(r->stream, out);
    walk_read_stop(w);
    return good ? READ_GOOD : READ_CHANGED;
}
