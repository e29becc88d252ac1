/* A thread that closes descriptors, started with the first, and that ends with the bin when it has
 * closed the last; see bin.h. Knows nothing of files. */
#include "secondary/stage/bin.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"

enum { WAITING_MAX = 64 }; /* descriptors; more are closed by whoever has them */

struct bin {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool started, ending;
    int waiting[WAITING_MAX]; /* the first is at work */
    size_t count, freed;
};

struct bin *bin_new(void)
{
    struct bin *b = mem_alloc(sizeof *b);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    return b;
}

static void destroy(struct bin *b)
{
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static void *work(void *arg)
{
    struct bin *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->count && !b->ending)
            pthread_cond_wait(&b->changed, &b->lock);
        if (!b->count)
            break;
        int fd = b->waiting[0];
        pthread_mutex_unlock(&b->lock);
        close(fd);
        pthread_mutex_lock(&b->lock);
        b->waiting[0] = b->waiting[--b->count];
        b->freed++;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    destroy(b);
    return NULL;
}

static bool start(struct bin *b)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, b) != 0)
        return false;
    pthread_detach(thread);
    return true;
}

void bin_free(struct bin *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    bool started = b->started;
    b->ending = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (!started)
        destroy(b);
}

int bin_hold(int dirfd, const char *name, uint64_t size)
{
    return size < BIN_MIN ? -1 : openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* False: there is no room, or no thread. */
static bool take(struct bin *b, int fd)
{
    pthread_mutex_lock(&b->lock);
    if (!b->started)
        b->started = start(b);
    bool taken = b->started && b->count < WAITING_MAX;
    if (taken)
        b->waiting[b->count++] = fd;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return taken;
}

void bin_put(struct bin *b, int fd)
{
    int before = errno;
    if (fd >= 0 && !take(b, fd))
        close(fd);
    errno = before;
}

size_t bin_wait(struct bin *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->count)
        pthread_cond_wait(&b->changed, &b->lock);
    size_t freed = b->freed;
    pthread_mutex_unlock(&b->lock);
    return freed;
}
