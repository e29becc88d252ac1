/* Reads many descriptors into memory as fast as they fill; see reader.h. */
#include "primary/scan/reader.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/queue.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    PIECE = 64 * 1024,
    EVENTS_MAX = 64,
    KEPT_MAX = 1024 * 1024, /* larger buffers are given back once they are empty */
};

struct reader_source {
    LIST_ENTRY(reader_source) order;
    uint64_t id; /* of the descriptor: the same for those that share it */
    int fd;
    struct buf pending;
    bool overflowed;
};

struct reader {
    pthread_t thread;
    pthread_mutex_t lock; /* over everything below; never held while waiting */
    LIST_HEAD(, reader_source) sources;
    uint64_t last_id;
    int epoll, stop;
    void (*arrived)(void *ctx);
    void *ctx;
};

static void keep(struct reader_source *s, const uint8_t *piece, size_t n)
{
    s->overflowed |= buf_len(&s->pending) + n > READER_MAX;
    if (!s->overflowed)
        buf_append(&s->pending, piece, n);
}

/* Reads all there is, for every source of this descriptor; `first` is the first of them. */
static bool drain(struct reader_source *first)
{
    uint8_t piece[PIECE];
    bool any = false;
    for (;;) {
        ssize_t n = read(first->fd, piece, sizeof piece);
        if (n <= 0)
            return any;
        any = true;
        for (struct reader_source *s = first; s; s = LIST_NEXT(s, order))
            if (s->id == first->id)
                keep(s, piece, (size_t)n);
    }
}

/* A source may have been removed since epoll named it, so it is looked up by number. */
static bool drain_by_id(struct reader *r, uint64_t id)
{
    struct reader_source *s;
    LIST_FOREACH (s, &r->sources, order)
        if (s->id == id)
            return drain(s);
    return false;
}

static bool drain_ready(struct reader *r, uint64_t id)
{
    pthread_mutex_lock(&r->lock);
    bool any = drain_by_id(r, id);
    pthread_mutex_unlock(&r->lock);
    return any;
}

static bool is_shared(const struct reader *r, const struct reader_source *s)
{
    const struct reader_source *other;
    LIST_FOREACH (other, &r->sources, order)
        if (other != s && other->id == s->id)
            return true;
    return false;
}

static void *read_all(void *arg)
{
    struct reader *r = arg;
    for (;;) {
        FAULT_SLOW();
        struct epoll_event events[EVENTS_MAX];
        bool any = false;
        int n = epoll_wait(r->epoll, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR) {
            log_error("reading inotify: epoll: %s", strerror(errno));
            return NULL;
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == 0)
                return NULL;
            any |= drain_ready(r, events[i].data.u64);
        }
        if (any)
            r->arrived(r->ctx);
    }
}

static int poll_for(struct reader *r, int fd, uint64_t id, struct err *err)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = id};
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : err_sys(err, errno, "epoll");
}

static int open_parts(struct reader *r, struct err *err)
{
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->epoll < 0 || r->stop < 0)
        return err_sys(err, errno, "epoll");
    if (poll_for(r, r->stop, 0, err) < 0)
        return -1;
    int failed = pthread_create(&r->thread, NULL, read_all, r);
    return failed ? err_sys(err, failed, "thread") : 0;
}

static void free_parts(struct reader *r)
{
    while (!LIST_EMPTY(&r->sources))
        reader_remove(r, LIST_FIRST(&r->sources));
    if (r->epoll >= 0)
        close(r->epoll);
    if (r->stop >= 0)
        close(r->stop);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int reader_new(void (*arrived)(void *ctx), void *ctx, struct reader **out, struct err *err)
{
    struct reader *r = mem_alloc(sizeof *r);
    r->arrived = arrived;
    r->ctx = ctx;
    pthread_mutex_init(&r->lock, NULL);
    LIST_INIT(&r->sources);
    if (open_parts(r, err) < 0) {
        free_parts(r);
        return -1;
    }
    *out = r;
    return 0;
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    eventfd_write(r->stop, 1);
    pthread_join(r->thread, NULL);
    free_parts(r);
}

int reader_add(struct reader *r, int fd, struct reader_source **out, struct err *err)
{
    struct reader_source *s = mem_alloc(sizeof *s);
    s->fd = fd;
    pthread_mutex_lock(&r->lock);
    s->id = ++r->last_id;
    LIST_INSERT_HEAD(&r->sources, s, order);
    pthread_mutex_unlock(&r->lock);
    if (poll_for(r, fd, s->id, err) < 0) {
        reader_remove(r, s);
        return -1;
    }
    *out = s;
    return 0;
}

struct reader_source *reader_share(struct reader *r, const struct reader_source *with)
{
    struct reader_source *s = mem_alloc(sizeof *s);
    s->fd = with->fd;
    s->id = with->id;
    pthread_mutex_lock(&r->lock);
    LIST_INSERT_HEAD(&r->sources, s, order);
    pthread_mutex_unlock(&r->lock);
    return s;
}

void reader_remove(struct reader *r, struct reader_source *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&r->lock);
    LIST_REMOVE(s, order);
    if (!is_shared(r, s))
        epoll_ctl(r->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    pthread_mutex_unlock(&r->lock);
    buf_free(&s->pending);
    free(s);
}

bool reader_is_empty(struct reader *r, const struct reader_source *s)
{
    int waiting = 0;
    pthread_mutex_lock(&r->lock);
    bool empty = buf_len(&s->pending) == 0 && !s->overflowed &&
                 ioctl(s->fd, FIONREAD, &waiting) == 0 && waiting == 0;
    pthread_mutex_unlock(&r->lock);
    return empty;
}

bool reader_take(struct reader *r, struct reader_source *s, struct buf *out)
{
    pthread_mutex_lock(&r->lock);
    bool others = drain_by_id(r, s->id) && is_shared(r, s);
    struct buf empty = *out;
    if (empty.cap > KEPT_MAX)
        buf_free(&empty);
    buf_clear(&empty);
    *out = s->pending;
    s->pending = empty;
    bool overflowed = s->overflowed;
    s->overflowed = false;
    pthread_mutex_unlock(&r->lock);
    if (others) /* they have something too, of which the thread will not tell */
        r->arrived(r->ctx);
    return overflowed;
}
