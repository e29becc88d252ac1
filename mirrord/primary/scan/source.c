/* Reading a live file under the bracket of RULES 1; see source.h. */
#include "primary/scan/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/walk/writer.h"

enum {
    QUIET_MS = 50,
    SPARSE_MIN = 64 * 1024, /* bytes: of smaller files no holes are looked for */
};

struct source {
    int fd;
    bool open_too; /* a writer does not matter */
    struct stat st;
    struct timespec opened; /* validators_clock before the first byte */
    struct digest_stream *digest;
    bool young;              /* a change now might leave the times as they are, … */
    uint64_t young_to;       /* … as might have one up to when these first bytes were read, */
    struct digest young_is;  /* … which had this digest */
    struct outline *outline; /* NULL: not kept */
    bool sparse;             /* it has fewer blocks than bytes … */
    uint64_t from, to;       /* … and this of it, if anything, is a hole, or (not) data */
    bool hole;
};

int source_has_writer(int fd)
{
    return writer_probe(fd);
}

static int64_t age_ms(const struct timespec *now, const struct timespec *then)
{
    return (now->tv_sec - then->tv_sec) * 1000 + (now->tv_nsec - then->tv_nsec) / 1000000;
}

static bool is_young(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = age_ms(&now, &st->st_ctim);
    return age >= 0 && age < QUIET_MS; /* a ctime in the future tells nothing */
}

bool source_is_busy(int fd, const struct stat *st)
{
    int writer = source_has_writer(fd);
    return writer >= 0 ? writer : is_young(st);
}

static bool is_gone(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ENXIO || errnum == ELOOP;
}

static int start(struct source s, struct source **out)
{
    struct validators seen = validators_of(&s.st);
    s.digest = digest_stream_new();
    s.young = validators_racy(&seen, &s.opened);
    /* What was not looked at, but comes out of the manifest, has no blocks: perhaps it is, then. */
    s.sparse = s.st.st_size >= SPARSE_MIN && s.st.st_blocks * 512 < s.st.st_size;
    *out = mem_alloc(sizeof s);
    **out = s;
    return SOURCE_OK;
}

int source_open(
    struct root *root, struct bytes path, bool open_too, struct source **out, struct err *err)
{
    struct source s = {.fd = -1, .open_too = open_too};
    validators_clock(&s.opened);
    s.fd = root_open_file(root, path, &s.st);
    if (s.fd < 0 && is_gone(errno))
        return SOURCE_GONE;
    if (s.fd < 0)
        return err_sys(err, errno, "open");
    if (!open_too && source_is_busy(s.fd, &s.st)) {
        close(s.fd);
        return SOURCE_BUSY;
    }
    return start(s, out);
}

/* Only regular files have leases, and what `st` says must be found again at the end: a stat now
 * would say no more. Without a lease it is asked. */
static bool is_as_seen(const struct source *s)
{
    struct stat now;
    int writer = s->open_too ? -1 : source_has_writer(s->fd);
    if (writer >= 0)
        return writer == 0;
    if (fstat(s->fd, &now) < 0 || !S_ISREG(now.st_mode))
        return false;
    struct validators seen = validators_of(&s->st), found = validators_of(&now);
    return validators_equal(&seen, &found) && (s->open_too || !is_young(&now));
}

int source_open_at(int dirfd, const char *name, const struct stat *seen, bool open_too,
    struct source **out, struct err *err)
{
    struct source s = {.st = *seen, .open_too = open_too};
    validators_clock(&s.opened);
    s.fd = root_open_name(dirfd, name);
    if (s.fd < 0)
        return is_gone(errno) ? SOURCE_GONE : err_sys(err, errno, "open");
    if (is_as_seen(&s))
        return start(s, out);
    close(s.fd);
    return SOURCE_BUSY;
}

void source_free(struct source *s)
{
    if (!s)
        return;
    close(s->fd);
    digest_stream_free(s->digest);
    outline_unref(s->outline);
    free(s);
}

const struct stat *source_stat(const struct source *s)
{
    return &s->st;
}

/* Finds out what is at `at`: a hole or data, and up to where. */
static void look_for_holes(struct source *s, uint64_t at)
{
    off_t data = lseek(s->fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) /* nothing but a hole, or shorter by now, which will show */
        data = s->st.st_size;
    s->hole = data > (off_t)at;
    off_t to = s->hole ? data : lseek(s->fd, (off_t)at, SEEK_HOLE);
    s->sparse = data >= 0 && to > (off_t)at;
    s->from = at;
    s->to = s->sparse ? (uint64_t)to : at;
}

static void end_youth(struct source *s)
{
    s->young = false;
    s->young_to = digest_stream_length(s->digest);
    digest_stream_end(s->digest, &s->young_is);
}

/* Before something is read: what changes from now on shows, if enough time has passed. */
static void grow_older(struct source *s)
{
    struct timespec now;
    struct validators seen = validators_of(&s->st);
    if (!s->young)
        return;
    validators_clock(&now);
    if (!validators_racy(&seen, &now))
        end_youth(s);
}

/* As io_pread_full, but holes are not read: that would fill the page cache with nothing. */
static ssize_t read_at(struct source *s, uint8_t *p, size_t n, uint64_t at)
{
    if (s->sparse && (at < s->from || at >= s->to))
        look_for_holes(s, at);
    if (!s->sparse || !s->hole || n > s->to - at || at + n > (uint64_t)s->st.st_size)
        return io_pread_full(s->fd, p, n, at);
    memset(p, 0, n);
    return (ssize_t)n;
}

ssize_t source_read(struct source *s, void *p, size_t n, struct err *err)
{
    uint64_t at = digest_stream_length(s->digest);
    uint64_t left = (uint64_t)s->st.st_size - at;
    if (n > left)
        n = left;
    if (n == 0)
        return 0;
    grow_older(s);
    ssize_t got = read_at(s, p, n, at);
    if (got < 0)
        return err_sys(err, errno, "read");
    digest_stream_add(s->digest, p, (size_t)got);
    if (s->outline)
        outline_add(s->outline, p, (size_t)got);
    return got;
}

ssize_t source_read_leaf(
    struct source *s, uint64_t at, void *p, struct digest *leaf, struct err *err)
{
    uint64_t left = (uint64_t)s->st.st_size - at;
    size_t n = left < DIGEST_LEAF ? (size_t)left : DIGEST_LEAF;
    grow_older(s);
    ssize_t got = read_at(s, p, n, at);
    if (got < 0)
        return err_sys(err, errno, "read");
    digest_plain(p, (size_t)got, leaf);
    if (s->outline && at == digest_stream_length(s->digest))
        outline_add_leaf(s->outline, p, (size_t)got, leaf);
    if (at == digest_stream_length(s->digest) && got == DIGEST_LEAF)
        digest_stream_add_leaf(s->digest, leaf);
    else if (at == digest_stream_length(s->digest))
        digest_stream_add(s->digest, p, (size_t)got);
    return got;
}

bool source_all_read(const struct source *s, uint64_t *next)
{
    *next = digest_stream_length(s->digest);
    return *next == (uint64_t)s->st.st_size;
}

ssize_t source_read_again(struct source *s, uint64_t at, void *p, size_t n, struct err *err)
{
    ssize_t got = io_pread_full(s->fd, p, n, at);
    return got < 0 ? err_sys(err, errno, "read") : got;
}

void source_outline(struct source *s)
{
    s->outline = outline_new((uint64_t)s->st.st_size);
}

struct outline *source_take_outline(struct source *s)
{
    return TAKE_PTR(s->outline);
}

/* What was read while a change might not have shown is read once more: part of one state and part
 * of another would not be what is there now. */
static bool is_still_there(struct source *s)
{
    struct digest now;
    struct err ignored;
    if (s->young)
        end_youth(s);
    return s->young_to == 0 || (digest_of_fd(s->fd, s->young_to, &now, &ignored) == 0 &&
                                   digest_equal(&now, &s->young_is));
}

int source_settle(struct source *s, struct record *r)
{
    struct stat now;
    if (digest_stream_length(s->digest) != (uint64_t)s->st.st_size)
        return SOURCE_BUSY;
    if (!is_still_there(s))
        return SOURCE_BUSY;
    if (fstat(s->fd, &now) < 0 || (!s->open_too && source_is_busy(s->fd, &now)))
        return SOURCE_BUSY;
    struct validators before = validators_of(&s->st), after = validators_of(&now);
    if (!validators_equal(&before, &after))
        return SOURCE_BUSY;
    r->validators = after;
    r->flags = s->open_too || validators_racy(&after, &s->opened) ? RECORD_RACY : 0;
    r->entry.has_digest = true;
    digest_stream_end(s->digest, &r->entry.digest);
    if (s->outline && !outline_settle(s->outline, &r->entry.digest))
        outline_unref(TAKE_PTR(s->outline));
    return SOURCE_OK;
}
