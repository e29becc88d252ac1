/* One thread, one file at a time, in the order of the manifest; see reread.h. Believes nothing of
 * what it finds: whoever is told looks again under the rules. */
#include "tree/walk/reread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"
#include "tree/walk/writer.h"

enum {
    PIECE = 128 * 1024,
    FILE_COST = 16 * 1024,   /* what a file counts at least: opening it costs, too */
    NAP_US = 20000,          /* shorter pauses are added up */
    LOOK = 256,              /* records in one transaction */
    PROVE_FIRST_MS = 60000,  /* what is new in the manifest may be on its way just now */
    PROVE_AGAIN_MS = 600000, /* between passes: for what was busy, and what came since */
    YOUNG_S = 1,             /* since its last change: whoever made that may go on */
    SAVE_MS = 60000,
    IDLE_S = 3600,
    DAY_S = 86400,
    EVERY_S = 25 * DAY_S, /* and up to a tenth more, so that not all read at once */
    IOPRIO_WHO_THREAD = 1,
    IOPRIO_IDLE = 3 << 13, /* linux/ioprio.h: class idle */
};

#define PLACE "reread" /* what the manifest keeps: began, due, directory, name */

struct reread_tree {
    TAILQ_ENTRY(reread_tree) order;
    struct reread *owner;
    struct root *root;
    struct manifest *manifest;
    struct reread_hooks hooks;
    bool loaded;
    uint64_t began, due; /* CLOCK_REALTIME seconds; began 0: no pass is under way */
    struct manifest_place at;
    uint64_t saved_ms;
    uint64_t prove_due_ms; /* io_now_ms: when to look for files that were never read */
    bool proving;          /* a pass over these is under way */
    struct manifest_place prove_at;
    bool at_work;
    atomic_bool leaving;
};

struct reread {
    uint64_t rate, every_s;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* of all below, and of at_work */
    pthread_cond_t wake, rested;
    TAILQ_HEAD(, reread_tree) trees;
    bool stop;
    uint64_t next_us;             /* when the next byte may be read */
    struct digest_stream *stream; /* the thread's */
    uint8_t *piece;
};

/* A file to be read: a copy of its record. */
struct target {
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct manifest_place at;
    struct validators validators;
    bool known; /* its content, by this: */
    struct digest digest;
};

/* --- the place --- */

static uint64_t now_s(void)
{
    return (uint64_t)time(NULL);
}

static uint64_t some_of(uint64_t n)
{
    uint32_t dice;
    io_random(&dice, sizeof dice);
    return n * dice / UINT32_MAX;
}

static void decode_place(struct reread_tree *t, struct bytes value)
{
    struct wire_reader r = wire_reader_of(value.data, value.len);
    uint64_t began = wire_get_u64(&r), due = wire_get_u64(&r), dir = wire_get_u64(&r);
    struct bytes name = wire_get_short(&r, PATH_NAME_MAX);
    if (!wire_done(&r))
        return;
    t->began = began;
    t->due = due;
    t->at = (struct manifest_place){.dir = dir, .name_len = name.len};
    if (name.len)
        memcpy(t->at.name, name.data, name.len);
}

/* A manifest that says nothing is new: what it knows was read not long ago. */
static int load(struct reread_tree *t, struct err *err)
{
    struct manifest_txn *txn;
    struct bytes value;
    uint64_t every = t->owner->every_s, soonest = now_s() + some_of(every);
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    int found = manifest_kept(txn, PLACE, &value, err);
    if (found == 1)
        decode_place(t, value);
    manifest_abort(txn);
    if (!t->due || t->due > now_s() + every)
        t->due = soonest;
    return found < 0 ? -1 : 0;
}

static void save(struct reread_tree *t)
{
    struct manifest_txn *txn;
    struct wire_writer w = {0};
    struct err why;
    t->saved_ms = io_now_ms();
    wire_u64(&w, t->began);
    wire_u64(&w, t->due);
    wire_u64(&w, t->at.dir);
    wire_short(&w, (struct bytes){t->at.name, t->at.name_len});
    int bad = manifest_begin(t->manifest, true, &txn, &why);
    if (!bad && (bad = manifest_keep(txn, PLACE, (struct bytes){w.data, w.len}, &why)) < 0)
        manifest_abort(txn);
    else if (!bad)
        bad = manifest_commit(txn, &why);
    if (bad)
        log_warn("%s: reading content again: %s", root_path(t->root), why.text);
    wire_free(&w);
}

/* --- waiting --- */

static struct timespec deadline_in(uint64_t us)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t ns = (uint64_t)ts.tv_nsec + us % 1000000 * 1000;
    ts.tv_sec += (time_t)(us / 1000000 + ns / 1000000000);
    ts.tv_nsec = (long)(ns % 1000000000);
    return ts;
}

/* So many bytes were read: waits until the next may be. False when the tree goes. */
static bool pace(struct reread_tree *t, uint64_t bytes)
{
    struct reread *r = t->owner;
    uint64_t now = io_now_us();
    if (r->next_us < now)
        r->next_us = now;
    r->next_us += bytes * 1000000 / r->rate;
    if (r->next_us > now + NAP_US) {
        struct timespec until = deadline_in(r->next_us - now);
        pthread_mutex_lock(&r->lock);
        while (!r->stop && !atomic_load(&t->leaving) &&
               pthread_cond_timedwait(&r->wake, &r->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&r->lock);
    }
    return !atomic_load(&t->leaving);
}

/* --- one file --- */

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

enum verdict { AS_RECORDED, OTHER_CONTENT, OTHER_FILE, NOT_KNOWN, PROVEN, GIVEN_UP };

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
    return x->known || (writer_probe(fd) != 1 && x->validators.ctime + YOUNG_S < (int64_t)now_s());
}

static enum verdict read_content(struct reread_tree *t, struct target *x, int fd)
{
    struct reread *r = t->owner;
    uint64_t offset = 0;
    ssize_t n = 0;
    struct digest d;
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* nothing is read ahead */
    digest_stream_reset(r->stream);
    while (offset < x->validators.size && (n = read_piece(fd, r->piece, PIECE, offset)) > 0) {
        digest_stream_add(r->stream, r->piece, (size_t)n);
        offset += (uint64_t)n;
        if (!pace(t, (uint64_t)n))
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

static enum verdict read_target(struct reread_tree *t, struct target *x)
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

/* --- one tree --- */

static bool is_to_be_read(const struct record *r)
{
    return r->entry.type == ENTRY_FILE && r->entry.has_digest && !(r->flags & RECORD_RACY) &&
           !digest_is_doubt(&r->entry.digest);
}

static bool is_to_be_proven(const struct record *r)
{
    return r->entry.type == ENTRY_FILE && !r->entry.has_digest;
}

/* 1, 0: its directory is gone, or the path too long; -1. */
static int take_target(struct manifest_txn *txn, const struct manifest_place *at,
    const struct record *r, struct target *x, struct err *err)
{
    int rc = manifest_dir_path(txn, at->dir, x->path, &x->len, err);
    if (rc != 1 || x->len + 1 + at->name_len > PATH_TOTAL_MAX)
        return rc < 0 ? -1 : 0;
    if (x->len > 0)
        x->path[x->len++] = '/';
    memcpy(x->path + x->len, at->name, at->name_len);
    x->len += at->name_len;
    x->at = *at;
    x->validators = r->validators;
    x->known = r->entry.has_digest;
    x->digest = r->entry.digest;
    return 1;
}

/* Moves on to the next file that is wanted, or by so many records. 1 with it, 2 not yet, 0 at the
 * end, -1. */
static int find_next(struct reread_tree *t, struct manifest_place *at,
    bool (*wanted)(const struct record *r), struct target *x, struct err *err)
{
    struct manifest_txn *txn;
    struct record r;
    int more = 1, found = 0;
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    for (int n = 0; n < LOOK && more == 1 && found == 0; n++) {
        more = manifest_next_of_all(txn, at, &r, err);
        if (more == 1 && wanted(&r))
            found = take_target(txn, at, &r, x, err);
    }
    manifest_abort(txn);
    if (more < 0 || found < 0)
        return -1;
    return found ? 1 : more ? 2 : 0;
}

/* Does the manifest still say the same? */
static bool is_still_recorded(struct reread_tree *t, const struct target *x)
{
    struct manifest_txn *txn;
    struct record r;
    struct err ignored;
    if (manifest_begin(t->manifest, false, &txn, &ignored) < 0)
        return false;
    bool same = manifest_get(txn, x->at.dir, (struct bytes){x->at.name, x->at.name_len}, &r,
                    &ignored) == 1 &&
                is_to_be_read(&r) && digest_equal(&r.entry.digest, &x->digest) &&
                validators_equal(&r.validators, &x->validators);
    manifest_abort(txn);
    return same;
}

static void tell_proven(struct reread_tree *t, const struct target *x)
{
    struct record r = {.validators = x->validators};
    r.entry.type = ENTRY_FILE;
    r.entry.has_digest = true;
    r.entry.digest = x->digest;
    t->hooks.proven(t->hooks.ctx, (struct bytes){x->path, x->len}, &r);
}

/* False when the tree goes. */
static bool work_on(struct reread_tree *t, struct target *x)
{
    enum verdict v = read_target(t, x);
    if (v == GIVEN_UP)
        return false;
    if (v == PROVEN)
        tell_proven(t, x);
    if (x->known && (v == OTHER_CONTENT || v == OTHER_FILE) && is_still_recorded(t, x))
        t->hooks.differs(t->hooks.ctx, (struct bytes){x->path, x->len}, v == OTHER_CONTENT);
    uint64_t size = x->validators.size;
    return size >= FILE_COST || pace(t, FILE_COST - size);
}

static void end_pass(struct reread_tree *t)
{
    uint64_t every = t->owner->every_s;
    log_debug("%s: all content was read again", root_path(t->root));
    t->due = t->began + every + some_of(every / 10);
    t->began = 0;
    t->at = (struct manifest_place){0};
    save(t);
}

static void put_off(struct reread_tree *t, const struct err *why)
{
    log_warn("%s: reading content again: %s", root_path(t->root), why->text);
    t->began = 0;
    t->due = now_s() + DAY_S;
}

/* Goes on with a pass for some files. */
static void work(struct reread_tree *t)
{
    struct target *x CLEANUP_FREE = mem_alloc(sizeof *x);
    struct err why;
    struct manifest_place before;
    if (!t->began)
        t->began = now_s();
    for (int n = 0; n < LOOK && !atomic_load(&t->leaving); n++) {
        before = t->at;
        int found = find_next(t, &t->at, is_to_be_read, x, &why);
        if (found < 0) {
            put_off(t, &why);
            return;
        }
        if (found == 0) {
            end_pass(t);
            return;
        }
        if (found == 1 && !work_on(t, x)) {
            t->at = before; /* this file once more */
            break;
        }
    }
    if (atomic_load(&t->leaving) || io_now_ms() - t->saved_ms >= SAVE_MS)
        save(t);
}

/* --- what was never read --- */

static uint64_t at_most(const struct reread *r, uint64_t ms)
{
    return r->every_s * 1000 < ms ? r->every_s * 1000 : ms;
}

static void end_proving(struct reread_tree *t)
{
    t->proving = false;
    t->prove_at = (struct manifest_place){0};
    t->prove_due_ms = io_now_ms() + at_most(t->owner, PROVE_AGAIN_MS);
}

/* Is there any? 1, 0, -1. */
static int any_to_prove(struct reread_tree *t, struct err *err)
{
    struct manifest_txn *txn;
    struct msg_sums sums = {0};
    if (manifest_begin(t->manifest, false, &txn, err) < 0)
        return -1;
    int bad = manifest_sums(txn, MANIFEST_ROOT, &sums, err);
    manifest_abort(txn);
    return bad ? -1 : sums.unproven > 0;
}

/* Goes on with a pass over these for some files. */
static void prove(struct reread_tree *t)
{
    struct target *x CLEANUP_FREE = mem_alloc(sizeof *x);
    struct err why;
    int found = t->proving ? 1 : any_to_prove(t, &why);
    t->proving = found == 1;
    for (int n = 0; n < LOOK && found > 0 && !atomic_load(&t->leaving); n++) {
        found = find_next(t, &t->prove_at, is_to_be_proven, x, &why);
        if (found == 1 && !work_on(t, x))
            return; /* it leaves: whoever has the tree next begins anew */
    }
    if (found < 0)
        log_warn("%s: reading content: %s", root_path(t->root), why.text);
    if (found <= 0)
        end_proving(t);
}

/* --- the thread --- */

enum work { WORK_LOAD, WORK_PROVE, WORK_REREAD, WORK_KINDS };

static bool is_due(const struct reread_tree *t, enum work what)
{
    switch (what) {
    case WORK_LOAD: return !t->loaded;
    case WORK_PROVE: return t->hooks.proven && t->prove_due_ms <= io_now_ms();
    default: return t->began || t->due <= now_s();
    }
}

/* Until something of this tree is. */
static uint64_t due_in_s(const struct reread_tree *t)
{
    uint64_t now_ms = io_now_ms(), now = now_s(), s = t->due > now ? t->due - now : 0;
    uint64_t prove = t->prove_due_ms > now_ms ? (t->prove_due_ms - now_ms) / 1000 + 1 : 0;
    return t->hooks.proven && prove < s ? prove : s;
}

/* The tree to go on with, and what with: what was never read one tree after the other, what is read
 * again in turns. Else NULL and how long to wait. */
static struct reread_tree *choose(struct reread *r, enum work *what, uint64_t *wait_s)
{
    struct reread_tree *t;
    for (*what = 0; *what < WORK_KINDS; ++*what)
        TAILQ_FOREACH (t, &r->trees, order) {
            if (atomic_load(&t->leaving) || !is_due(t, *what))
                continue;
            if (*what == WORK_REREAD) {
                TAILQ_REMOVE(&r->trees, t, order);
                TAILQ_INSERT_TAIL(&r->trees, t, order);
            }
            return t;
        }
    *wait_s = IDLE_S;
    TAILQ_FOREACH (t, &r->trees, order)
        if (!atomic_load(&t->leaving) && due_in_s(t) < *wait_s)
            *wait_s = due_in_s(t);
    return NULL;
}

static void begin(struct reread_tree *t)
{
    struct err why;
    t->loaded = true;
    if (load(t, &why) < 0)
        put_off(t, &why);
    else if (!t->began)
        save(t); /* when it is due, so that a process that never lives so long comes to it */
}

static void serve(struct reread_tree *t, enum work what)
{
    if (what == WORK_LOAD)
        begin(t);
    else if (what == WORK_PROVE)
        prove(t);
    else
        work(t);
}

static void *run(void *arg)
{
    struct reread *r = arg;
    enum work what;
    uint64_t wait_s;
    syscall(SYS_ioprio_set, IOPRIO_WHO_THREAD, 0, IOPRIO_IDLE); /* only a wish */
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        struct reread_tree *t = choose(r, &what, &wait_s);
        if (!t) {
            struct timespec until = deadline_in(wait_s * 1000000);
            pthread_cond_timedwait(&r->wake, &r->lock, &until);
            continue;
        }
        t->at_work = true;
        pthread_mutex_unlock(&r->lock);
        serve(t, what);
        pthread_mutex_lock(&r->lock);
        t->at_work = false;
        pthread_cond_broadcast(&r->rested);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct reread *reread_new(uint64_t rate, uint64_t every_s)
{
    struct reread *r = mem_alloc(sizeof *r);
    pthread_condattr_t attr;
    r->rate = rate;
    r->every_s = every_s ? every_s : EVERY_S;
    r->stream = digest_stream_new();
    r->piece = mem_alloc(PIECE);
    TAILQ_INIT(&r->trees);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_cond_init(&r->rested, &attr);
    pthread_condattr_destroy(&attr);
    return r;
}

void reread_free(struct reread *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    digest_stream_free(r->stream);
    free(r->piece);
    pthread_cond_destroy(&r->wake);
    pthread_cond_destroy(&r->rested);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct reread_tree *reread_add(
    struct reread *r, struct root *root, struct manifest *m, const struct reread_hooks *h)
{
    struct reread_tree *t = mem_alloc(sizeof *t);
    t->owner = r;
    t->root = root;
    t->manifest = m;
    t->hooks = *h;
    t->prove_due_ms = io_now_ms() + at_most(r, PROVE_FIRST_MS);
    pthread_mutex_lock(&r->lock);
    TAILQ_INSERT_TAIL(&r->trees, t, order);
    if (!r->started) {
        int failed = pthread_create(&r->thread, NULL, run, r);
        r->started = !failed;
        if (failed)
            log_warn("content is not read again: thread: %s", strerror(failed));
    }
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return t;
}

void reread_remove(struct reread_tree *t)
{
    if (!t)
        return;
    struct reread *r = t->owner;
    pthread_mutex_lock(&r->lock);
    atomic_store(&t->leaving, true);
    pthread_cond_broadcast(&r->wake);
    while (t->at_work)
        pthread_cond_wait(&r->rested, &r->lock);
    TAILQ_REMOVE(&r->trees, t, order);
    pthread_mutex_unlock(&r->lock);
    free(t);
}
