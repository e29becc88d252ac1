/*
 * Two threads and what they share; see extent_reader.h. A thread takes the next extent under the
 * lock, reads, digests and copies it without, and says so under the lock.
 */
#include "secondary/extent_reader.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/extents.h"

enum { THREADS = 2 };

struct seen {
    struct msg_extent e;
    bool done, copied;
};

struct extent_reader {
    struct gear gear;
    int from, to;
    uint64_t size;
    size_t count;
    size_t limit; /* extents from here on are not copied */
    pthread_t threads[THREADS];
    unsigned started;
    size_t taken; /* by extent_reader_take */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t idle;  /* an extent is done */
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

/* The next extent for this thread; false when there is nothing more to do. */
static bool begin(struct extent_reader *r, unsigned thread, size_t *number, bool *copy)
{
    pthread_mutex_lock(&r->lock);
    bool more = !r->stop && !r->sys && r->next < r->count;
    if (more) {
        *number = r->next++;
        *copy = *number < r->limit;
        r->busy[thread] = *copy && r->to >= 0 ? *number + 1 : 0;
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

static void *work(void *arg)
{
    struct worker w = *(struct worker *)arg;
    struct extent_reader *r = w.r;
    free(arg);
    uint8_t *bytes CLEANUP_FREE = mem_resize(NULL, 1, MSG_EXTENT);
    size_t number;
    bool copy;
    while (begin(r, w.number, &number, &copy)) {
        struct seen seen = {0};
        uint64_t at = (uint64_t)number * MSG_EXTENT;
        size_t n = length_of(r, number);
        ssize_t got = io_pread_full(r->from, bytes, n, at);
        int sys = got < 0 ? errno : (size_t)got < n ? -1 : 0;
        if (!sys) {
            extent_of(&r->gear, bytes, n, &seen.e);
            seen.copied = copy && (r->to < 0 || io_pwrite_full(r->to, bytes, n, at) == 0);
            if (copy && !seen.copied)
                copy_no_more(r);
        }
        end(r, w.number, number, &seen, sys);
    }
    return NULL;
}

static void start(struct extent_reader *r)
{
    struct worker *w = mem_alloc(sizeof *w);
    *w = (struct worker){r, r->started};
    int sys = pthread_create(&r->threads[r->started], NULL, work, w);
    if (sys == 0) {
        r->started++;
        return;
    }
    free(w);
    if (r->started == 0)
        r->sys = sys;
}

struct extent_reader *extent_reader_new(int from, int to, uint64_t size, uint64_t limit)
{
    struct extent_reader *r = mem_alloc(sizeof *r);
    gear_init(&r->gear);
    r->from = from;
    r->to = to;
    r->size = size;
    r->count = msg_extent_count(size);
    r->limit = (size_t)((limit < size ? limit : size) / MSG_EXTENT);
    r->seen = mem_array(r->count, sizeof *r->seen);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->idle, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < THREADS; i++)
        start(r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

void extent_reader_free(struct extent_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_mutex_unlock(&r->lock);
    for (unsigned i = 0; i < r->started; i++)
        pthread_join(r->threads[i], NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->idle);
    free(r->seen);
    free(r);
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
    return sys < 0 ? err_set(err, ERR_FAILED, "the old file became shorter")
                   : err_sys(err, sys, "read the old file");
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
    if (n > r->next && r->limit > r->next && r->to >= 0)
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
