/*
 * A list of pieces and one thread; see packer.h. The thread takes pieces in the order of the list
 * and marks each done; the pusher sends from the front as far as they are. A piece is the thread's
 * from when it is given until it is done, which the lock says.
 */
#include "primary/packer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/mem.h"
#include "primary/stream_impl.h"
#include "tree/zip.h"

/* To wake the thread for each run costs more than a tenth of what it does: it sleeps until so many
 * bytes wait for it, or nothing else can be sent. */
enum { WAKE_AT = 192 * 1024 };

enum piece_kind { PIECE_FRAMES, PIECE_RUN, PIECE_DATA };

struct piece {
    STAILQ_ENTRY(piece) next;
    enum piece_kind kind;
    bool done;              /* `out` is complete */
    uint32_t atom;          /* of DATA, as is … */
    uint8_t data_kind;      /* … this */
    uint8_t *plain;         /* what was given, until it is done */
    size_t given;           /* its length */
    struct wire_writer out; /* frames */
    size_t drained;         /* bytes of them */
};

struct packer {
    struct zip *zip; /* the thread's, as is … */
    uint8_t *room;   /* … its scratch */
    pthread_t thread;
    bool started;
    int fd;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    STAILQ_HEAD(, piece) pieces;
    struct piece *next; /* the first that is not done */
    size_t waiting, unpacked;
    bool awaited; /* the pusher found nothing ready */
    bool stop;
};

void packer_pack(struct zip *zip, const void *entries, size_t n, void *room, struct wire_writer *w)
{
    size_t packed = zip_pack(zip, entries, n, room, MSG_PACK_MAX);
    wire_reset(w);
    if (packed)
        msg_put_pack(w, &(struct msg_pack){{room, packed}});
    if (w->len >= n)
        wire_reset(w);
}

static void put_data(struct packer *k, struct piece *c)
{
    struct msg_data m = {.atom = c->atom, .kind = c->data_kind};
    stream_put_packed(&c->out, k->zip, k->room, &m, (struct bytes){c->plain, c->given});
    if (c->out.bad)
        abort(); /* no memory; the policy of mem.h */
}

/* Without the lock. */
static void pack_piece(struct packer *k, struct piece *c)
{
    if (c->kind == PIECE_DATA)
        put_data(k, c);
    else
        packer_pack(k->zip, c->plain, c->given, k->room, &c->out);
    if (c->out.len == 0) { /* shorter as it is */
        wire_free(&c->out);
        c->out = (struct wire_writer){.data = TAKE_PTR(c->plain), .len = c->given, .cap = c->given};
    }
    free(TAKE_PTR(c->plain));
}

/* The next one that is to be packed; those that need not be are passed. Under the lock. */
static struct piece *next_to_pack(struct packer *k)
{
    while (k->next && k->next->done)
        k->next = STAILQ_NEXT(k->next, next);
    return k->next;
}

static void *work(void *arg)
{
    struct packer *k = arg;
    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        struct piece *c = next_to_pack(k);
        if (!c) {
            pthread_cond_wait(&k->more, &k->lock);
            continue;
        }
        pthread_mutex_unlock(&k->lock);
        pack_piece(k, c);
        pthread_mutex_lock(&k->lock);
        c->done = true;
        k->waiting -= c->given - c->out.len;
        k->unpacked -= c->given;
        uint64_t one = 1;
        if (k->awaited && c == STAILQ_FIRST(&k->pieces))
            (void)!write(k->fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

static bool start(struct packer *k)
{
    sigset_t all, before;
    if (k->started)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    k->started = pthread_create(&k->thread, NULL, work, k) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return k->started;
}

struct packer *packer_new(int level)
{
    struct packer *k = mem_alloc(sizeof *k);
    k->zip = zip_new(level);
    k->room = mem_resize(NULL, 1, MSG_PACK_MAX);
    k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* −1 is not polled, and all is done at once */
    STAILQ_INIT(&k->pieces);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->more, NULL);
    return k;
}

static void drop_first(struct packer *k)
{
    struct piece *c = STAILQ_FIRST(&k->pieces);
    STAILQ_REMOVE_HEAD(&k->pieces, next);
    wire_free(&c->out);
    free(c->plain);
    free(c);
}

void packer_free(struct packer *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->more);
    pthread_mutex_unlock(&k->lock);
    if (k->started)
        pthread_join(k->thread, NULL);
    while (!STAILQ_EMPTY(&k->pieces))
        drop_first(k);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->more);
    if (k->fd >= 0)
        close(k->fd);
    zip_free(k->zip);
    free(k->room);
    free(k);
}

static void add(struct packer *k, struct piece *c)
{
    if (!c->done && (k->fd < 0 || !start(k))) {
        pack_piece(k, c);
        c->done = true;
    }
    pthread_mutex_lock(&k->lock);
    STAILQ_INSERT_TAIL(&k->pieces, c, next);
    k->waiting += c->done ? c->out.len : c->given;
    if (!k->next)
        k->next = c;
    k->unpacked += c->done ? 0 : c->given;
    if (k->unpacked >= WAKE_AT)
        pthread_cond_signal(&k->more);
    pthread_mutex_unlock(&k->lock);
}

static struct piece *piece_new(enum piece_kind kind, const void *bytes, size_t n)
{
    struct piece *c = mem_alloc(sizeof *c);
    c->kind = kind;
    c->given = n;
    c->plain = mem_resize(NULL, 1, n);
    memcpy(c->plain, bytes, n);
    return c;
}

void packer_frames(struct packer *k, const void *frames, size_t n)
{
    if (n == 0)
        return;
    struct piece *c = piece_new(PIECE_FRAMES, frames, n);
    c->out = (struct wire_writer){.data = TAKE_PTR(c->plain), .len = n, .cap = n};
    c->done = true;
    add(k, c);
}

void packer_run(struct packer *k, const void *entries, size_t n)
{
    add(k, piece_new(PIECE_RUN, entries, n));
}

void packer_data(struct packer *k, const struct msg_data *m, const void *plain, size_t n)
{
    struct piece *c = piece_new(PIECE_DATA, plain, n);
    c->atom = m->atom;
    c->data_kind = m->kind;
    add(k, c);
}

bool packer_is_empty(const struct packer *k)
{
    return STAILQ_EMPTY(&k->pieces); /* only the pusher adds and drains */
}

size_t packer_waiting(struct packer *k)
{
    pthread_mutex_lock(&k->lock);
    size_t n = k->waiting;
    pthread_mutex_unlock(&k->lock);
    return n;
}

struct bytes packer_ready(struct packer *k)
{
    struct bytes ready = {0};
    uint64_t count;
    pthread_mutex_lock(&k->lock);
    const struct piece *c = STAILQ_FIRST(&k->pieces);
    k->awaited = c && !c->done;
    if (c && c->done)
        ready = (struct bytes){c->out.data + c->drained, c->out.len - c->drained};
    if (k->awaited) {
        (void)!read(k->fd, &count, sizeof count);
        pthread_cond_signal(&k->more);
    }
    pthread_mutex_unlock(&k->lock);
    return ready;
}

void packer_drain(struct packer *k, size_t n)
{
    pthread_mutex_lock(&k->lock);
    struct piece *c = STAILQ_FIRST(&k->pieces);
    k->waiting -= n;
    c->drained += n;
    if (c->drained == c->out.len) {
        if (k->next == c)
            k->next = STAILQ_NEXT(c, next);
        drop_first(k);
    }
    pthread_mutex_unlock(&k->lock);
}

int packer_fd(const struct packer *k)
{
    return k->fd;
}
