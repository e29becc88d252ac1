/*
 * A list of pieces and one thread; see packer.h. The thread takes pieces in the order of the list
 * and marks each done; the pusher sends from the front as far as they are. A piece is the thread's
 * from when it is given until it is done, which the lock says.
 */
#include "primary/push/pack/packer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "primary/push/pack/shelf.h"
#include "primary/push/send/stream_impl.h"
#include "tree/content/zip.h"

/* To wake the thread for each run costs more than a tenth of what it does: it sleeps until so many
 * bytes wait for it, or nothing else can be sent. */
enum { WAKE_AT = 192 * 1024 };

enum piece_kind { PIECE_FRAMES, PIECE_PACK, PIECE_BUNDLE, PIECE_DATA };

struct piece {
    STAILQ_ENTRY(piece) next;
    enum piece_kind kind;
    bool done;                 /* what is to be sent is complete */
    uint32_t atom;             /* of DATA, as is … */
    uint8_t data_kind;         /* … this */
    struct wire_writer plain;  /* what was given */
    struct wire_writer packed; /* frames to be sent instead; empty: none */
    size_t drained;            /* bytes of what is sent */
};

STAILQ_HEAD(pieces, piece);

struct packer {
    struct packing packing; /* the thread's */
    pthread_t thread;
    bool started;
    int fd;
    struct pieces spare; /* the pusher's: to be used again */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t more;
    struct pieces pieces;
    struct piece *next; /* the first that is not done */
    size_t waiting, unpacked;
    bool awaited; /* the pusher found nothing ready */
    bool stop;
};

/* Takes from the numbers of these ENTRYs, or (back) gives them back. */
static void renumber(uint8_t *entries, size_t n, uint32_t batch, uint32_t atom, bool back)
{
    struct frame f;
    for (size_t at = 0; at < n;) {
        uint32_t b, a;
        int length = frame_next(entries + at, n - at, &f);
        uint8_t *payload = (uint8_t *)f.payload.data;
        if (length <= 0)
            abort(); /* they were made here */
        msg_entry_numbers(payload, &b, &a);
        msg_entry_renumber(payload, back ? b + batch : b - batch, back ? a + atom : a - atom);
        at += (size_t)length;
    }
}

size_t packer_shrink(const struct packing *p, struct bytes plain, size_t most)
{
    size_t n = shelf_packed(p->shelf, plain, p->room, most);
    if (n)
        return n;
    n = zip_pack(p->zip, plain.data, plain.len, p->room, most);
    if (n)
        shelf_put_packed(p->shelf, plain, (struct bytes){p->room, n});
    return n;
}

/* Counted from the first ENTRY's numbers, the same ENTRYs are the same bytes in every session. */
static void put_bundle(const struct packing *p, uint8_t *entries, size_t n, struct wire_writer *w)
{
    struct msg_bundle m;
    msg_entry_numbers(entries + FRAME_HEADER, &m.batch, &m.atom);
    renumber(entries, n, m.batch, m.atom, false);
    m.content =
        (struct bytes){p->room, packer_shrink(p, (struct bytes){entries, n}, MSG_BUNDLE_MAX)};
    renumber(entries, n, m.batch, m.atom, true);
    if (m.content.len)
        msg_put_bundle(w, &m);
}

void packer_pack(
    const struct packing *p, uint8_t *entries, size_t n, bool bundle, struct wire_writer *w)
{
    wire_reset(w);
    if (bundle) {
        put_bundle(p, entries, n, w);
    } else {
        size_t packed = zip_pack(p->zip, entries, n, p->room, MSG_PACK_MAX);
        if (packed)
            msg_put_pack(w, &(struct msg_pack){{p->room, packed}});
    }
    if (w->len >= n)
        wire_reset(w);
}

static const struct wire_writer *to_send(const struct piece *c)
{
    return c->packed.len ? &c->packed : &c->plain;
}

/* Without the lock. */
static void pack_piece(struct packer *k, struct piece *c)
{
    struct msg_data m = {.atom = c->atom, .kind = c->data_kind};
    struct bytes plain = {c->plain.data, c->plain.len};
    if (c->kind == PIECE_DATA)
        stream_put_packed(&c->packed, &k->packing, &m, plain);
    else
        packer_pack(&k->packing, c->plain.data, c->plain.len, c->kind == PIECE_BUNDLE, &c->packed);
    if (c->packed.bad)
        abort(); /* no memory; the policy of mem.h */
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
        k->waiting -= c->plain.len - to_send(c)->len;
        k->unpacked -= c->plain.len;
        uint64_t one = 1;
        if (k->awaited && c == STAILQ_FIRST(&k->pieces))
            (void)!write(k->fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

static bool start(struct packer *k)
{
    k->started = k->started || thread_start(&k->thread, work, k) == 0;
    return k->started;
}

struct packer *packer_new(int level, struct shelf *shelf)
{
    struct packer *k = mem_alloc(sizeof *k);
    k->packing = (struct packing){
        .zip = zip_new(level), .shelf = shelf, .room = mem_resize(NULL, 1, MSG_PACK_MAX)};
    k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* −1 is not polled, and all is done at once */
    STAILQ_INIT(&k->pieces);
    STAILQ_INIT(&k->spare);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->more, NULL);
    return k;
}

static void free_all(struct pieces *list)
{
    while (!STAILQ_EMPTY(list)) {
        struct piece *c = STAILQ_FIRST(list);
        STAILQ_REMOVE_HEAD(list, next);
        wire_free(&c->plain);
        wire_free(&c->packed);
        free(c);
    }
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
    free_all(&k->pieces);
    free_all(&k->spare);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->more);
    if (k->fd >= 0)
        close(k->fd);
    zip_free(k->packing.zip);
    free(k->packing.room);
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
    k->waiting += c->done ? to_send(c)->len : c->plain.len;
    if (!k->next)
        k->next = c;
    k->unpacked += c->done ? 0 : c->plain.len;
    if (k->unpacked >= WAKE_AT)
        pthread_cond_signal(&k->more);
    pthread_mutex_unlock(&k->lock);
}

static struct piece *piece_of(struct packer *k, enum piece_kind kind, const void *bytes, size_t n)
{
    struct piece *c = STAILQ_FIRST(&k->spare);
    if (c)
        STAILQ_REMOVE_HEAD(&k->spare, next);
    else
        c = mem_alloc(sizeof *c);
    c->kind = kind;
    c->done = kind == PIECE_FRAMES;
    c->drained = 0;
    wire_reset(&c->plain);
    wire_reset(&c->packed);
    wire_raw(&c->plain, bytes, n);
    if (c->plain.bad)
        abort();
    return c;
}

void packer_frames(struct packer *k, const void *frames, size_t n)
{
    if (n)
        add(k, piece_of(k, PIECE_FRAMES, frames, n));
}

void packer_run(struct packer *k, const void *entries, size_t n, bool bundle)
{
    add(k, piece_of(k, bundle ? PIECE_BUNDLE : PIECE_PACK, entries, n));
}

void packer_data(struct packer *k, const struct msg_data *m, const void *plain, size_t n)
{
    struct piece *c = piece_of(k, PIECE_DATA, plain, n);
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
        ready = (struct bytes){to_send(c)->data + c->drained, to_send(c)->len - c->drained};
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
    if (c->drained == to_send(c)->len) {
        if (k->next == c)
            k->next = STAILQ_NEXT(c, next);
        STAILQ_REMOVE_HEAD(&k->pieces, next);
        STAILQ_INSERT_HEAD(&k->spare, c, next);
    }
    pthread_mutex_unlock(&k->lock);
}

int packer_fd(const struct packer *k)
{
    return k->awaited ? k->fd : -1; /* only the pusher sets it */
}
