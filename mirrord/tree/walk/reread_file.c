/*
 * One file of a tree is read, no faster than the rate, and held against its record. Nothing of it
 * stays in the page cache that was not there before.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/walk/reread_impl.h"
#include "tree/walk/writer.h"

enum {
    NAP_US = 20000, /* shorter pauses are added up */
    YOUNG_S = 1,    /* since its last change: whoever made that may go on */
};

bool reread_pace(struct reread_tree *t, uint64_t bytes)
{
    struct reread *r = t->owner;
    uint64_t now = io_now_us();
    if (r->next_us < now)
        r->next_us = now;
    r->next_us += bytes * 1000000 / r->rate;
    if (r->next_us > now + NAP_US) {
        struct timespec until = reread_deadline(r->next_us - now);
        pthread_mutex_lock(&r->lock);
        while (!r->stop && !atomic_load(&t->leaving) &&
               pthread_cond_timedwait(&r->wake, &r->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&r->lock);
    }
    return !atomic_load(&t->leaving);
}

/* Reads a piece and leaves the page cache as it was. The bytes, 0 at the end, -1. */
static ssize_t read_piece(int fd, void *p, size_t n, uint64_t offset)
{
    struct iovec v = {p, n};
    ssize_t warm = preadv2(fd, &v, 1, (off_t)offset, RWF_NOWAIT);
    if (warm == (ssize_t)n || warm == 0)
        return warm;
    if (warm < 0 && errno != EAGAIN)
        return pread(fd, p, n, (off_t)offset); /* it cannot tell */
    size_t have = warm > 0 ? (size_t)warm : 0;
    ssize_t cold = pread(fd, (uint8_t *)p + have, n - have, (off_t)(offset + have));
    if (cold > 0)
        posix_fadvise(fd, (off_t)(offset + have), cold, POSIX_FADV_DONTNEED);
    return cold < 0 ? -1 : (ssize_t)have + cold;
}

static bool is_the_file(int fd, const struct target *x)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return false;
    struct validators now = validators_of(&st);
    return validators_equal(&now, &x->validators);
}

/* What is believed from now on nobody may be writing (RULES 1). */
static bool is_at_rest(int fd, const struct target *x)
{
    return x->known ||
           (writer_probe(fd) != 1 && x->validators.ctime + YOUNG_S < (int64_t)reread_now_s());
}

static enum reread_verdict read_content(struct reread_tree *t, struct target *x, int fd)
{
    struct reread *r = t->owner;
    uint64_t offset = 0;
    ssize_t n = 0;
    struct digest d;
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* nothing is read ahead */
    digest_stream_reset(r->stream);
    while (
        offset < x->validators.size && (n = read_piece(fd, r->piece, REREAD_PIECE, offset)) > 0) {
        digest_stream_add(r->stream, r->piece, (size_t)n);
        offset += (uint64_t)n;
        if (!reread_pace(t, (uint64_t)n))
            return GIVEN_UP;
    }
    if (n < 0) {
        log_warn("%s: read %s: %s", root_path(t->root), QUOTED(x->path, x->len), strerror(errno));
        return OTHER_CONTENT; /* a sector that cannot be read is not what was written */
    }
    digest_stream_end(r->stream, &d);
    if (!is_at_rest(fd, x) || !is_the_file(fd, x))
        return NOT_KNOWN; /* it changed under the reading */
    if (x->known)
        return digest_equal(&d, &x->digest) ? AS_RECORDED : OTHER_CONTENT;
    x->digest = d;
    return offset == x->validators.size ? PROVEN : NOT_KNOWN;
}

enum reread_verdict reread_file(struct reread_tree *t, struct target *x)
{
    struct stat st;
    int fd CLEANUP_FD = root_open_file(t->root, (struct bytes){x->path, x->len}, &st);
    if (fd < 0)
        return errno == ENOENT || errno == ENXIO || errno == ELOOP ? OTHER_FILE : NOT_KNOWN;
    if (!is_the_file(fd, x))
        return OTHER_FILE;
    if (!is_at_rest(fd, x))
        return NOT_KNOWN;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NOATIME); /* the owner may */
    return read_content(t, x, fd);
}
