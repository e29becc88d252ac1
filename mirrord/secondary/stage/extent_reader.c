/*
 * Two threads and what they share; see extent_reader.h. A thread takes the next copy that was asked
 * for, or else the next extent, under the lock, does it without, and says so under the lock. When
 * there is neither it waits for copies.
 */
#include "secondary/stage/extent_reader.h"

#include <errno.h>
#include <pthread.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tree/content/digest.h"
#include "tree/content/extents.h"

enum { THREADS = 2 };

struct seen {
    struct msg_extent e;
    bool done, copied;
};

struct copy {
    uint64_t from, to;
    struct digest digest;
    bool done;
    int sys; /* why it failed, as below */
};

struct extent_reader {
    struct gear gear;
    int from, to;
    bool shared; /* `to` has the old content without being written */
    uint64_t size;
    size_t count;
    size_t limit; /* extents from here on are not copied */
    pthread_t threads[THREADS];
    unsigned started;
    size_t taken; /* by extent_reader_take */

    pthread_mutex_t lock;                          /* of what follows */
    pthread_cond_t idle;                           /* an extent or a copy is done */
    pthread_cond_t asked;                          /* for a copy, or to stop */
    struct copy copies[EXTENT_COPIES];             /* a ring */
    unsigned copy_first, copy_count, copy_started; /* of them, from the first on */
    struct seen *seen;
    size_t next; /* the first that no thread has begun */
    size_t ready;
    size_t busy[THREADS]; /* what is being copied: number and 1; 0: nothing */
    bool stop;
    int sys; /* why reading failed, at seen[failed]; −1: the file is shorter */
    size_t failed;
};

struct worker {
    struct extent_reader *r;
    unsigned number;
};

static size_t length_of(const struct extent_reader *r, size_t number)
{
    uint64_t left = r->size - (uint64_t)number * MSG_EXTENT;
    return left < MSG_EXTENT ? (size_t)left : MSG_EXTENT;
}

/* Under the lock: the next copy, or NULL. */
static struct copy *next_copy(struct extent_reader *r)
{
    if (r->copy_started == r->copy_count)
        return NULL;
    return &r->copies[(r->copy_first + r->copy_started++) % EXTENT_COPIES];
}

static bool has_extent(const struct extent_reader *r)
{
    return !r->sys && r->next < r->count;
}

/* What this thread does next: a copy, or (NULL) the next extent; false when it is to end. */
static bool begin(
    struct extent_reader *r, unsigned thread, struct copy **c, size_t *number, bool *copy)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stop && !(*c = next_copy(r)) && !has_extent(r))
        pthread_cond_wait(&r->asked, &r->lock);
    bool more = !r->stop;
    if (more && !*c) {
        *number = r->next++;
        *copy = *number < r->limit;
        r->busy[thread] = *copy && !r->shared ? *number + 1 : 0;
    }
    pthread_mutex_unlock(&r->lock);
    return more;
}

/* sys: 0, an errno, or −1 where the file ended. */
static void end(
    struct extent_reader *r, unsigned thread, size_t number, const struct seen *seen, int sys)
{
    pthread_mutex_lock(&r->lock);
    r->busy[thread] = 0;
    if (sys && (!r->sys || number < r->failed)) {
        r->sys = sys;
        r->failed = number;
    }
    r->seen[number] = *seen;
    r->seen[number].done = !sys;
    while (r->ready < r->count && r->seen[r->ready].done)
        r->ready++;
    pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
}

/* There is no room, most likely: whoever needs the bytes there finds out. */
static void copy_no_more(struct extent_reader *r)
{
    pthread_mutex_lock(&r->lock);
    r->limit = 0;
    pthread_mutex_unlock(&r->lock);
}

static void read_extent(
    struct extent_reader *r, unsigned thread, size_t number, bool copy, uint8_t *bytes)
{
    struct seen seen = {0};
    uint64_t at = (uint64_t)number * MSG_EXTENT;
    size_t n = length_of(r, number);
    ssize_t got = io_pread_full(r->from, bytes, n, at);
    int sys = got < 0 ? errno : (size_t)got < n ? -1 : 0;
    if (!sys) {
        extent_of(&r->gear, bytes, n, &seen.e);
        seen.copied = copy && (r->shared || io_pwrite_sparse(r->to, bytes, n, at) >= 0);
        if (copy && !seen.copied)
            copy_no_more(r);
    }
    end(r, thread, number, &seen, sys);
}

static void carry_out(struct extent_reader *r, struct copy *c, uint8_t *bytes)
{
    ssize_t got = io_pread_full(r->from, bytes, MSG_EXTENT, c->from);
    int sys = got < 0 ? errno : got < MSG_EXTENT ? -1 : 0;
    if (!sys && io_pwrite_sparse(r->to, bytes, MSG_EXTENT, c->to) < 0)
        sys = errno;
    struct digest digest;
    digest_plain(bytes, MSG_EXTENT, &digest);
    pthread_mutex_lock(&r->lock);
    c->digest = digest;
    c->sys = sys;
    c->done = true;
    pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
}

static void *work(void *arg)
{
    struct worker w = *(struct worker *)arg;
    struct extent_reader *r = w.r;
    free(arg);
    uint8_t *bytes CLEANUP_FREE = mem_array(1, MSG_EXTENT);
    struct copy *c;
    size_t number = 0;
    bool copy = false;
    while (begin(r, w.number, &c, &number, &copy)) {
        if (c)
            carry_out(r, c, bytes);
        else
            read_extent(r, w.number, number, copy, bytes);
    }
    return NULL;
}

static void start(struct extent_reader *r)
{
    struct worker *w = mem_alloc(sizeof *w);
    *w = (struct worker){r, r->started};
    int sys = thread_start(&r->threads[r->started], work, w);
    if (sys == 0) {
        r->started++;
        return;
    }
    free(w);
    if (r->started == 0)
        r->sys = sys;
}

struct extent_reader *extent_reader_new(
    int from, int to, bool shared, uint64_t size, uint64_t limit)
{
    struct extent_reader *r = mem_alloc(sizeof *r);
    gear_init(&r->gear);
    r->from = from;
    r->to = to;
    r->shared = shared;
    r->size = size;
    r->count = msg_extent_count(size);
    r->limit = (size_t)((limit < size ? limit : size) / MSG_EXTENT);
    r->seen = mem_array(r->count, sizeof *r->seen);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->idle, NULL);
    pthread_cond_init(&r->asked, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        start(r);
    return r;
}

void extent_reader_free(struct extent_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->asked);
    pthread_mutex_unlock(&r->lock);
    for (unsigned i = 0; i < r->started; i++)
        pthread_join(r->threads[i], NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->idle);
    pthread_cond_destroy(&r->asked);
    free(r->seen);
    free(r);
}

static int failed_with(int sys, const char *doing, struct err *err)
{
    return sys < 0 ? err_set(err, ERR_FAILED, "the old file became shorter")
                   : err_sys(err, sys, "%s", doing);
}

ssize_t extent_reader_ready(struct extent_reader *r, bool *all, struct err *err)
{
    pthread_mutex_lock(&r->lock);
    ssize_t n = (ssize_t)(r->ready - r->taken);
    bool failed = r->sys && (r->started == 0 || r->ready == r->failed);
    *all = r->ready == r->count;
    int sys = r->sys;
    pthread_mutex_unlock(&r->lock);
    if (!failed)
        return n;
    return failed_with(sys, "read the old file", err);
}

struct msg_extent extent_reader_take(struct extent_reader *r)
{
    return r->seen[r->taken++].e; /* done: no thread touches it any more */
}

/* Does a thread copy one of the first n extents? */
static bool is_busy(const struct extent_reader *r, size_t n)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (r->busy[i] && r->busy[i] <= n)
            return true;
    return false;
}

void extent_reader_give_way(struct extent_reader *r, uint64_t end)
{
    size_t n = (size_t)msg_extent_count(end);
    pthread_mutex_lock(&r->lock);
    if (n > r->next && r->limit > r->next && !r->shared)
        r->limit = r->next;
    while (is_busy(r, n))
        pthread_cond_wait(&r->idle, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

bool extent_reader_copied(struct extent_reader *r, uint64_t offset, struct digest *digest)
{
    size_t number = (size_t)(offset / MSG_EXTENT);
    if (offset % MSG_EXTENT != 0 || number >= r->count)
        return false;
    pthread_mutex_lock(&r->lock);
    bool copied = r->seen[number].done && r->seen[number].copied;
    if (copied)
        *digest = r->seen[number].e.digest;
    pthread_mutex_unlock(&r->lock);
    return copied;
}

bool extent_reader_copy(struct extent_reader *r, uint64_t offset, uint64_t to)
{
    pthread_mutex_lock(&r->lock);
    bool room = r->started > 0 && r->copy_count < EXTENT_COPIES;
    if (room) {
        r->copies[(r->copy_first + r->copy_count++) % EXTENT_COPIES] =
            (struct copy){.from = offset, .to = to};
        pthread_cond_signal(&r->asked);
    }
    pthread_mutex_unlock(&r->lock);
    return room;
}

int extent_reader_copy_done(struct extent_reader *r, struct digest *digest, struct err *err)
{
    pthread_mutex_lock(&r->lock);
    const struct copy *c = &r->copies[r->copy_first];
    bool done = r->copy_count > 0 && c->done;
    int sys = c->sys;
    if (done) {
        *digest = c->digest;
        r->copy_first = (r->copy_first + 1) % EXTENT_COPIES;
        r->copy_count--;
        r->copy_started--;
    }
    pthread_mutex_unlock(&r->lock);
    return done && sys ? failed_with(sys, "copy of the old file", err) : done;
}

void extent_reader_copy_wait(struct extent_reader *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->copy_count > 0 && !r->copies[r->copy_first].done)
        pthread_cond_wait(&r->idle, &r->lock);
    pthread_mutex_unlock(&r->lock);
}
