/* One thread, one file at a time; see reread.h. Believes nothing of what it finds: whoever is told
 * looks again under the rules. Here is whose turn it is. */
#include "tree/walk/reread_impl.h"

#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    PROVE_FIRST_MS = 60000, /* what is new in the manifest may be on its way just now */
    IDLE_S = 3600,
    EVERY_S = 25 * 86400, /* and up to a tenth more, so that not all read at once */
    IOPRIO_WHO_THREAD = 1,
    IOPRIO_IDLE = 3 << 13, /* linux/ioprio.h: class idle */
};

struct timespec reread_deadline(uint64_t us)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t ns = (uint64_t)ts.tv_nsec + us % 1000000 * 1000;
    ts.tv_sec += (time_t)(us / 1000000 + ns / 1000000000);
    ts.tv_nsec = (long)(ns % 1000000000);
    return ts;
}

uint64_t reread_at_most(const struct reread *r, uint64_t ms)
{
    return r->every_s * 1000 < ms ? r->every_s * 1000 : ms;
}

enum work { WORK_LOAD, WORK_PROVE, WORK_REREAD, WORK_KINDS };

static bool is_due(const struct reread_tree *t, enum work what)
{
    switch (what) {
    case WORK_LOAD: return !t->loaded;
    case WORK_PROVE: return t->hooks.proven && t->prove_due_ms <= io_now_ms();
    default: return t->began || t->due <= reread_now_s();
    }
}

/* Until something of this tree is. */
static uint64_t due_in_s(const struct reread_tree *t)
{
    uint64_t now_ms = io_now_ms(), now = reread_now_s(), s = t->due > now ? t->due - now : 0;
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

static void serve(struct reread_tree *t, enum work what)
{
    if (what == WORK_LOAD)
        reread_begin(t);
    else if (what == WORK_PROVE)
        reread_prove(t);
    else
        reread_again(t);
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
            struct timespec until = reread_deadline(wait_s * 1000000);
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
    r->piece = mem_alloc(REREAD_PIECE);
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
    t->prove_due_ms = io_now_ms() + reread_at_most(r, PROVE_FIRST_MS);
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
