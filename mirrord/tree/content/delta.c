/*
 * Deltas over librsync; see delta.h.
 *
 * Knows librsync's streaming jobs and its header of a signature. librsync ends the process where
 * memory ends and trusts the lengths it is told, so what the far end sends is checked here before
 * the library sees it: the signature's header and total, the ranges a delta copies. Does not know
 * where the bytes come from or go to, nor whether the result is right: that is the digest's part.
 */
#include "tree/content/delta.h"

#include <endian.h>
#include <errno.h>
#include <librsync.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    HEADER = 12,             /* of a signature: magic, block length, strong length */
    WEAK = 4,                /* bytes of a weak sum */
    BLOCK_MIN = 1024,        /* that we make … */
    BLOCK_ACCEPT_MIN = 256,  /* … and that we take */
    BLOCK_MAX = 64 * 1024,   /* both */
    STRONG_ACCEPT_MIN = 8,   /* shorter ones only buy more blocks in the same signature */
    SIGN_READ = 256 * 1024,  /* bytes of the old file read at once */
    SIGN_STEP = 1 << 20,     /* and in one step */
    MAKE_PIECE = 16 * 1024,  /* new content given to librsync at once */
    MAKE_TIMED = 1024,       /* the smallest piece whose time is taken */
    MAKE_GRACE_US = 250000,  /* CPU time that is always granted … */
    MAKE_RATE = 4,           /* … and bytes a microsecond that are expected at least */
    PATCH_PIECE = 64 * 1024, /* new content given to the sink at once */
};

/* Rabin-Karp rolling sums: rsync's cluster on text, so that more places need a strong sum; deltas
 * are made 10 to 25 % faster with these, signatures 13 % slower.
 *
 * 12 of BLAKE2's 32 bytes: the largest pair of files that fits DELTA_SIGNATURE_MAX compares 2^36
 * places with 2^20 blocks, so that even without the weak sum a false match has a chance of 2^-40.
 * One that somebody built on purpose costs a transfer of the whole, since the digest finds it. */
enum { STRONG = 12 };
static const rs_magic_number SUMS = RS_RK_BLAKE2_SIG_MAGIC;

static void trace(rs_loglevel level, const char *text)
{
    (void)level;
    log_debug("librsync: %.*s", (int)strcspn(text, "\n"), text);
}

static void set_trace(void)
{
    rs_trace_to(trace);
}

/* librsync prints to standard error until it is told otherwise. */
static void quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_trace);
}

static int fail(struct err *err, const char *what, rs_result result)
{
    return err_set(err, ERR_FAILED, "%s: %s", what, rs_strerror(result));
}

/* About the square root: with one edit, signature and resent block cost the same. In steps of 128,
 * BLAKE2's own block. */
static size_t block_length(uint64_t size)
{
    size_t length = BLOCK_MIN;
    while (length < BLOCK_MAX && (uint64_t)length * length < size)
        length += 128;
    return length;
}

static uint64_t signature_length(uint64_t size)
{
    uint64_t block = block_length(size);
    return HEADER + (size / block + (size % block != 0)) * (WEAK + STRONG);
}

bool delta_can_sign(uint64_t old_size)
{
    return signature_length(old_size) <= DELTA_SIGNATURE_MAX;
}

/* ---- the signature of an old file ---- */

struct delta_sign {
    rs_job_t *job; /* NULL after a failure */
    int fd;
    uint64_t offset; /* of what is signed */
    uint64_t size;
    uint64_t at;      /* bytes read of it */
    size_t read_size; /* whole blocks, so that librsync need not copy them */
    uint8_t *next;    /* what librsync has not taken yet of in */
    size_t left;
    uint8_t in[SIGN_READ];
};

struct delta_sign *delta_sign_new(int fd, uint64_t size)
{
    quiet();
    struct delta_sign *s = mem_alloc(sizeof *s);
    size_t block = block_length(size);
    s->job = rs_sig_begin(block, STRONG, SUMS);
    s->fd = fd;
    s->size = size;
    s->read_size = SIGN_READ / block * block;
    return s;
}

void delta_sign_from(struct delta_sign *s, uint64_t offset)
{
    s->offset = offset;
}

static int sign_fail(struct delta_sign *s)
{
    rs_job_free(s->job);
    s->job = NULL;
    return -1;
}

static int sign_refill(struct delta_sign *s, struct err *err)
{
    uint64_t rest = s->size - s->at;
    size_t want = rest < s->read_size ? (size_t)rest : s->read_size;
    ssize_t got = io_pread_full(s->fd, s->in, want, s->offset + s->at);
    if (got < 0)
        return err_sys(err, errno, "signature: read");
    if ((size_t)got < want)
        return err_set(err, ERR_FAILED, "signature: the file became shorter");
    s->at += want;
    s->next = s->in;
    s->left = want;
    return 0;
}

int delta_sign_step(struct delta_sign *s, void *out, size_t cap, size_t *n, struct err *err)
{
    if (!s->job)
        return err_set(err, ERR_FAILED, "signature: failed before");
    rs_buffers_t b = {.next_out = out, .avail_out = cap};
    rs_result result = RS_BLOCKED;
    for (uint64_t start = s->at; result == RS_BLOCKED && b.avail_out > 0;) {
        if (s->left == 0 && s->at - start >= SIGN_STEP)
            break;
        if (s->left == 0 && sign_refill(s, err) < 0)
            return sign_fail(s);
        b.next_in = (char *)s->next;
        b.avail_in = s->left;
        b.eof_in = s->at == s->size;
        result = rs_job_iter(s->job, &b);
        s->next = (uint8_t *)b.next_in;
        s->left = b.avail_in;
    }
    if (result != RS_BLOCKED && result != RS_DONE) {
        fail(err, "signature", result);
        return sign_fail(s);
    }
    *n = cap - b.avail_out;
    return result == RS_DONE ? DELTA_DONE : DELTA_MORE;
}

void delta_sign_free(struct delta_sign *s)
{
    if (!s)
        return;
    if (s->job)
        rs_job_free(s->job);
    free(s);
}

/* ---- the delta of a new file ---- */

struct delta_make {
    uint8_t header[HEADER];
    size_t total;   /* bytes of the signature so far */
    size_t entry;   /* bytes of one block's sums */
    rs_job_t *load; /* from the header to the last piece */
    rs_signature_t *sums;
    rs_job_t *make;  /* from the last piece on */
    uint64_t taken;  /* bytes of the new content so far */
    uint64_t cpu_us; /* time spent on them */
    bool failed;
    bool done;
};

struct delta_make *delta_make_new(void)
{
    quiet();
    return mem_alloc(sizeof(struct delta_make));
}

static uint32_t big_endian(const uint8_t *p)
{
    uint32_t n;
    memcpy(&n, p, sizeof n);
    return be32toh(n);
}

static int check_header(struct delta_make *d, struct err *err)
{
    uint32_t magic = big_endian(d->header);
    uint32_t block = big_endian(d->header + 4);
    uint32_t strong = big_endian(d->header + 8);
    if (magic != (uint32_t)SUMS)
        return err_set(err, ERR_FAILED, "signature: unknown kind %#x", magic);
    if (block < BLOCK_ACCEPT_MIN || block > BLOCK_MAX)
        return err_set(err, ERR_FAILED, "signature: bad block length %u", block);
    if (strong < STRONG_ACCEPT_MIN || strong > RS_MAX_STRONG_SUM_LENGTH)
        return err_set(err, ERR_FAILED, "signature: bad sum length %u", strong);
    d->entry = WEAK + strong;
    return 0;
}

static int load(struct delta_make *d, const void *p, size_t n, bool last, struct err *err)
{
    rs_buffers_t b = {.next_in = (char *)p, .avail_in = n, .eof_in = last};
    rs_result result = rs_job_iter(d->load, &b);
    if (result != (last ? RS_DONE : RS_BLOCKED) || b.avail_in > 0)
        return fail(err, "signature", result);
    return 0;
}

/* Takes what belongs to the header from *p; with the last of it, the header is checked and given to
 * librsync. */
static int load_header(struct delta_make *d, const uint8_t **p, size_t *n, struct err *err)
{
    if (d->total >= HEADER)
        return 0;
    size_t piece = *n < HEADER - d->total ? *n : HEADER - d->total;
    if (piece > 0)
        memcpy(d->header + d->total, *p, piece);
    d->total += piece;
    *p += piece;
    *n -= piece;
    if (d->total < HEADER)
        return 0;
    if (check_header(d, err) < 0)
        return -1;
    d->load = rs_loadsig_begin(&d->sums);
    return load(d, d->header, HEADER, false, err);
}

static int load_end(struct delta_make *d, struct err *err)
{
    if (d->total < HEADER || (d->total - HEADER) % d->entry != 0)
        return err_set(err, ERR_FAILED, "signature: cut short");
    if (load(d, NULL, 0, true, err) < 0)
        return -1;
    rs_result result = rs_build_hash_table(d->sums);
    if (result != RS_DONE)
        return fail(err, "signature", result);
    d->make = rs_delta_begin(d->sums);
    return 0;
}

static int take_signature(
    struct delta_make *d, const uint8_t *p, size_t n, bool last, struct err *err)
{
    if (d->failed || d->make)
        return err_set(err, ERR_FAILED, "signature: not expected any more");
    if (n > DELTA_SIGNATURE_MAX - d->total)
        return err_set(err, ERR_FAILED, "signature: over %d bytes", DELTA_SIGNATURE_MAX);
    if (load_header(d, &p, &n, err) < 0)
        return -1;
    if (n > 0 && load(d, p, n, false, err) < 0)
        return -1;
    d->total += n;
    return last ? load_end(d, err) : 0;
}

int delta_make_signature(struct delta_make *d, const void *p, size_t n, bool last, struct err *err)
{
    if (take_signature(d, p, n, last, err) == 0)
        return 0;
    d->failed = true;
    return -1;
}

static uint64_t cpu_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Content can be built so that the rolling sum hits at each byte and a strong sum is computed
 * there: a thousand times slower than any other file. Whoever may write to one site could hold up
 * all. */
static bool too_slow(const struct delta_make *d)
{
    return d->cpu_us > MAKE_GRACE_US + d->taken / MAKE_RATE;
}

/* One turn of librsync. Crumbs are not timed: the clock would cost more than the work. */
static rs_result make_turn(struct delta_make *d, rs_buffers_t *b)
{
    if (b->avail_in < MAKE_TIMED)
        return rs_job_iter(d->make, b);
    uint64_t start = cpu_now_us();
    rs_result result = rs_job_iter(d->make, b);
    d->cpu_us += cpu_now_us() - start;
    return result;
}

/* One piece of input, or as much of it as there is room for its output. */
static rs_result make_piece(struct delta_make *d, rs_buffers_t *b, size_t n, bool eof)
{
    size_t in = n < MAKE_PIECE ? n : MAKE_PIECE;
    size_t out = b->avail_out;
    b->avail_in = in;
    b->eof_in = eof && in == n;
    rs_result result = make_turn(d, b);
    d->taken += in - b->avail_in;
    bool idle = b->avail_in == in && b->avail_out == out;
    return result == RS_BLOCKED && idle && (in > 0 || b->eof_in) ? RS_INTERNAL_ERROR : result;
}

int delta_make_step(struct delta_make *d, const void *p, size_t n, bool eof, size_t *used,
    void *out, size_t cap, size_t *produced, struct err *err)
{
    if (d->failed || d->done || !d->make)
        return err_set(err, ERR_FAILED, "delta: not ready");
    rs_buffers_t b = {.next_in = (char *)p, .next_out = out, .avail_out = cap};
    rs_result result = RS_BLOCKED;
    size_t left = n;
    while (result == RS_BLOCKED && b.avail_out > 0 && (left > 0 || eof) && !too_slow(d)) {
        result = make_piece(d, &b, left, eof);
        left = n - (size_t)(b.next_in - (char *)p);
    }
    if (result != RS_BLOCKED && result != RS_DONE) {
        d->failed = true;
        return fail(err, "delta", result);
    }
    if (result == RS_BLOCKED && too_slow(d)) {
        d->failed = true;
        return err_set(err, ERR_FAILED, "delta: this content takes too long to compare");
    }
    d->done = result == RS_DONE;
    *used = n - left;
    *produced = cap - b.avail_out;
    return d->done ? DELTA_DONE : DELTA_MORE;
}

void delta_make_free(struct delta_make *d)
{
    if (!d)
        return;
    if (d->load)
        rs_job_free(d->load);
    if (d->make)
        rs_job_free(d->make);
    if (d->sums)
        rs_free_sumset(d->sums);
    free(d);
}

void delta_make_counts(const struct delta_make *d, uint64_t *matched, uint64_t *literal)
{
    const rs_stats_t *stats = d->make ? rs_job_statistics(d->make) : NULL;
    *matched = stats ? (uint64_t)stats->copy_bytes : 0;
    *literal = stats ? (uint64_t)stats->lit_bytes : 0;
}

/* ---- the new file from the old one and the delta ---- */

struct delta_patch {
    rs_job_t *job; /* NULL after a failure */
    int fd;
    uint64_t offset, length; /* of the old file in it */
    delta_sink *sink;
    void *ctx;
    size_t limit;
    struct buf in;   /* delta bytes not yet read */
    uint64_t copied; /* bytes taken from the old file */
    bool done;
    struct err *err; /* of the step that runs; filled by copy_old, which sets: */
    bool told;
    uint8_t out[PATCH_PIECE];
};

/* librsync asks for at most the room there is in out, again and again until it has all. */
static rs_result copy_old(void *ctx, rs_long_t at, size_t *len, void **to)
{
    struct delta_patch *p = ctx;
    if (at < 0 || *len == 0 || *len > PATCH_PIECE || at > INT64_MAX - (rs_long_t)*len)
        return RS_CORRUPT;
    uint64_t left = (uint64_t)at < p->length ? p->length - (uint64_t)at : 0;
    size_t want = *len < left ? *len : (size_t)left;
    ssize_t got = io_pread_full(p->fd, *to, want, p->offset + (uint64_t)at);
    if (got < 0) {
        err_sys(p->err, errno, "delta: read the old file");
        p->told = true;
        return RS_IO_ERROR;
    }
    if (got == 0) {
        err_set(p->err, ERR_FAILED, "delta: copies from beyond the old file's end");
        p->told = true;
        return RS_CORRUPT;
    }
    *len = (size_t)got;
    p->copied += (uint64_t)got;
    return RS_DONE;
}

struct delta_patch *delta_patch_new(int old_fd, delta_sink *sink, void *ctx)
{
    quiet();
    struct delta_patch *p = mem_alloc(sizeof *p);
    p->job = rs_patch_begin(copy_old, p);
    p->fd = old_fd;
    p->length = INT64_MAX;
    p->sink = sink;
    p->ctx = ctx;
    return p;
}

void delta_patch_limit(struct delta_patch *p, size_t bytes)
{
    p->limit = bytes;
}

size_t delta_patch_backlog(const struct delta_patch *p)
{
    return buf_len(&p->in);
}

void delta_patch_range(struct delta_patch *p, uint64_t offset, uint64_t length)
{
    p->offset = offset;
    p->length = length;
}

/* The end command came. librsync keeps a copy's length in an int in places: what was copied must be
 * what the commands asked for. */
static int patch_end(struct delta_patch *p, struct err *err)
{
    if (buf_len(&p->in) > 0)
        return err_set(err, ERR_FAILED, "delta: bytes behind its end");
    if ((uint64_t)rs_job_statistics(p->job)->copy_bytes != p->copied)
        return err_set(err, ERR_FAILED, "delta: bad copy length");
    p->done = true;
    return DELTA_DONE;
}

/* Lets librsync fill out once and passes it on. DELTA_BUSY: there is more to do with this input. */
static int patch_piece(struct delta_patch *p, size_t *given, struct err *err)
{
    size_t had = buf_len(&p->in);
    rs_buffers_t b = {.next_in = (char *)buf_bytes(&p->in), .avail_in = had};
    b.next_out = (char *)p->out;
    b.avail_out = sizeof p->out;
    rs_result result = rs_job_iter(p->job, &b);
    buf_drain(&p->in, had - b.avail_in);
    if (result != RS_BLOCKED && result != RS_DONE)
        return p->told ? -1 : fail(err, "delta", result);
    size_t made = sizeof p->out - b.avail_out;
    if (made > 0 && p->sink(p->ctx, p->out, made, err) != 0)
        return -1;
    *given += made;
    if (result == RS_DONE)
        return patch_end(p, err);
    return b.avail_out == 0 ? DELTA_BUSY : DELTA_MORE;
}

static int patch_run(struct delta_patch *p, struct err *err)
{
    size_t given = 0;
    for (;;) {
        int result = patch_piece(p, &given, err);
        if (result != DELTA_BUSY || (p->limit > 0 && given >= p->limit))
            return result;
    }
}

int delta_patch_step(struct delta_patch *p, const void *in, size_t n, struct err *err)
{
    if (!p->job)
        return err_set(err, ERR_FAILED, "delta: failed before");
    buf_append(&p->in, in, n);
    p->err = err;
    int result = p->done ? patch_end(p, err) : patch_run(p, err);
    p->err = NULL;
    if (result < 0) {
        rs_job_free(p->job);
        p->job = NULL;
    }
    return result;
}

void delta_patch_free(struct delta_patch *p)
{
    if (!p)
        return;
    if (p->job)
        rs_job_free(p->job);
    buf_free(&p->in);
    free(p);
}
