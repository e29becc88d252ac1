/* The second thread of the walk; see walk_ahead.h. A few directories wait or are ready at a time,
 * so what it holds is bounded. */
#include "tree/walk/walk_ahead.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "tree/entry.h"

enum {
    OFFERS_MAX = 16,
    GLANCES_MAX = 4096, /* names of one directory */
    LISTINGS_MAX = 3,   /* of a directory that changes while it is listed */
};

enum offer_state { OFFER_NONE, OFFER_WAITING, OFFER_BUSY, OFFER_READY };

struct offer {
    enum offer_state state;
    uint64_t dir;
    size_t place;
    char path[PATH_TOTAL_MAX + 1 + PATH_NAME_MAX + 1]; /* and room for a name */
    size_t path_len;
    struct walk_sighting seen;
};

struct walk_ahead {
    struct root *root;
    const struct filter *filter;
    pthread_t thread;
    pthread_mutex_t lock; /* of the offers' states, and what follows */
    pthread_cond_t work, ready;
    bool stop;
    struct offer *offers; /* OFFERS_MAX */
};

static struct timespec time_of(const struct statx_timestamp *t)
{
    return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

void walk_glance_at(int fd, const char *name, struct walk_glance *out)
{
    struct statx x;
    *out = (struct walk_glance){0};
    if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &x) != 0) {
        out->error = errno;
        return;
    }
    out->st = (struct stat){
        .st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
        .st_ino = x.stx_ino,
        .st_mode = x.stx_mode,
        .st_nlink = x.stx_nlink,
        .st_uid = x.stx_uid,
        .st_gid = x.stx_gid,
        .st_size = (off_t)x.stx_size,
        .st_blksize = (blksize_t)x.stx_blksize,
        .st_blocks = (blkcnt_t)x.stx_blocks,
        .st_atim = time_of(&x.stx_atime),
        .st_mtim = time_of(&x.stx_mtime),
        .st_ctim = time_of(&x.stx_ctime),
    };
    out->is_mount = x.stx_attributes & x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT;
}

static bool held_still(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int walk_list(int fd, struct listing *l)
{
    struct stat before, after;
    for (int i = 0; i < LISTINGS_MAX; i++) {
        if (i > 0 && lseek(fd, 0, SEEK_SET) < 0)
            return -1;
        if (fstat(fd, &before) != 0 || listing_read(l, fd) != 0 || fstat(fd, &after) != 0)
            return -1;
        if (held_still(&before, &after))
            break;
    }
    return 0;
}

void walk_sighting_end(struct walk_sighting *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->error = 0;
    s->count = 0;
    listing_clear(&s->listing);
}

void walk_sighting_free(struct walk_sighting *s)
{
    walk_sighting_end(s);
    listing_free(&s->listing);
    free(s->glances);
}

static void glance(struct walk_ahead *a, struct offer *o, size_t i)
{
    const struct listing_name *n = &o->seen.listing.names[i];
    struct walk_glance *g = &o->seen.glances[i];
    size_t at = o->path_len;
    *g = (struct walk_glance){.error = -1};
    if (n->len > PATH_NAME_MAX)
        return;
    if (at > 0)
        o->path[at++] = '/';
    memcpy(o->path + at, n->name, n->len + 1U);
    struct bytes path = {o->path, at + n->len};
    if (n->type == DT_UNKNOWN || !filter_excludes(a->filter, path, n->type == DT_DIR))
        walk_glance_at(o->seen.fd, n->name, g);
}

static void look(struct walk_ahead *a, struct offer *o)
{
    struct walk_sighting *s = &o->seen;
    validators_clock(&s->began);
    s->fd = root_open_dir(a->root, (struct bytes){o->path, o->path_len});
    if (s->fd < 0 || walk_list(s->fd, &s->listing) != 0) {
        s->error = errno;
        return;
    }
    size_t n = s->listing.count < GLANCES_MAX ? s->listing.count : GLANCES_MAX;
    if (n > s->room) {
        s->room = n;
        s->glances = mem_resize(s->glances, n, sizeof *s->glances);
    }
    for (s->count = 0; s->count < n; s->count++)
        glance(a, o, s->count);
}

/* The one that will be needed first. */
static struct offer *next_offer(struct walk_ahead *a)
{
    struct offer *best = NULL;
    for (int i = 0; i < OFFERS_MAX; i++) {
        struct offer *o = &a->offers[i];
        if (o->state == OFFER_WAITING && (!best || o->place > best->place))
            best = o;
    }
    return best;
}

static void *ahead_main(void *arg)
{
    struct walk_ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        struct offer *o = next_offer(a);
        if (!o) {
            pthread_cond_wait(&a->work, &a->lock);
            continue;
        }
        o->state = OFFER_BUSY;
        pthread_mutex_unlock(&a->lock);
        look(a, o);
        pthread_mutex_lock(&a->lock);
        o->state = OFFER_READY;
        pthread_cond_signal(&a->ready);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void release(struct walk_ahead *a)
{
    for (int i = 0; i < OFFERS_MAX; i++)
        walk_sighting_free(&a->offers[i].seen);
    free(a->offers);
    pthread_cond_destroy(&a->work);
    pthread_cond_destroy(&a->ready);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

struct walk_ahead *walk_ahead_new(struct root *root, const struct filter *f)
{
    struct walk_ahead *a = mem_alloc(sizeof *a);
    a->root = root;
    a->filter = f;
    a->offers = mem_array(OFFERS_MAX, sizeof *a->offers);
    for (int i = 0; i < OFFERS_MAX; i++)
        a->offers[i].seen.fd = -1;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    pthread_cond_init(&a->ready, NULL);
    if (thread_start(&a->thread, ahead_main, a) == 0)
        return a;
    release(a);
    return NULL;
}

void walk_ahead_free(struct walk_ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    release(a);
}

static struct offer *free_offer(struct walk_ahead *a)
{
    for (int i = 0; i < OFFERS_MAX; i++)
        if (a->offers[i].state == OFFER_NONE)
            return &a->offers[i];
    return NULL;
}

bool walk_ahead_offer(struct walk_ahead *a, uint64_t dir, struct bytes path, size_t place)
{
    pthread_mutex_lock(&a->lock);
    struct offer *o = free_offer(a);
    if (o) {
        o->dir = dir;
        o->place = place;
        o->path_len = path.len;
        if (path.len)
            memcpy(o->path, path.data, path.len);
        o->path[path.len] = '\0';
        o->state = OFFER_WAITING;
        pthread_cond_signal(&a->work);
    }
    pthread_mutex_unlock(&a->lock);
    return o != NULL;
}

static struct offer *offer_of(struct walk_ahead *a, uint64_t dir)
{
    for (int i = 0; i < OFFERS_MAX; i++)
        if (a->offers[i].state != OFFER_NONE && a->offers[i].dir == dir)
            return &a->offers[i];
    return NULL;
}

bool walk_ahead_take(
    struct walk_ahead *a, uint64_t dir, struct bytes path, struct walk_sighting *out)
{
    pthread_mutex_lock(&a->lock);
    struct offer *o = offer_of(a, dir);
    while (o && o->state == OFFER_BUSY)
        pthread_cond_wait(&a->ready, &a->lock);
    bool seen = o && o->state == OFFER_READY;
    if (seen) {
        struct walk_sighting spare = *out;
        *out = o->seen;
        o->seen = spare;
        seen = o->path_len == path.len && memcmp(o->path, path.data, path.len) == 0;
        if (!seen)
            walk_sighting_end(out);
    }
    if (o)
        o->state = OFFER_NONE;
    pthread_mutex_unlock(&a->lock);
    return seen;
}
