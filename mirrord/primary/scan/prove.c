/* One thread, one queue, one file at a time; see prove.h. */
#include "primary/scan/prove.h"

#include <pthread.h>
#include <sys/queue.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/scan/source.h"

enum {
    PIECE = 256 * 1024,
    IOPRIO_WHO_THREAD = 1,
    IOPRIO_IDLE = 3 << 13, /* linux/ioprio.h: class idle */
};

struct question {
    STAILQ_ENTRY(question) order;
    struct site *site;
    struct bytes path;
};

struct prover {
    struct prover_answer answer;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    STAILQ_HEAD(, question) questions;
    atomic_bool stop;
};

static void question_free(struct question *q)
{
    site_unref(q->site);
    free((void *)q->path.data);
    free(q);
}

int prove_read(struct root *root, struct bytes path, const atomic_bool *stop, struct record *r,
    struct err *err)
{
    struct source *source = NULL;
    int outcome = source_open(root, path, false, &source, err);
    if (outcome != SOURCE_OK)
        return outcome;
    void *piece CLEANUP_FREE = mem_resize(NULL, PIECE, 1);
    ssize_t n;
    while ((n = source_read(source, piece, PIECE, err)) > 0)
        if (stop && atomic_load(stop))
            break;
    outcome = n < 0 ? -1 : source_settle(source, r);
    source_free(source);
    return outcome;
}

static void answer(struct prover *p, const struct question *q)
{
    struct record r = {0};
    struct err err;
    switch (prove_read(q->site->root, q->path, &p->stop, &r, &err)) {
    case SOURCE_OK: p->answer.read(p->answer.ctx, q->site, q->path, &r); break;
    case SOURCE_BUSY: p->answer.busy(p->answer.ctx, q->site, q->path); break;
    case SOURCE_GONE: break; /* an event says so too */
    default:
        log_warn(
            "%s: read %s again: %s", q->site->label, QUOTED(q->path.data, q->path.len), err.text);
    }
}

static struct question *next(struct prover *p)
{
    pthread_mutex_lock(&p->lock);
    while (STAILQ_EMPTY(&p->questions) && !atomic_load(&p->stop))
        pthread_cond_wait(&p->asked, &p->lock);
    struct question *q = atomic_load(&p->stop) ? NULL : STAILQ_FIRST(&p->questions);
    if (q)
        STAILQ_REMOVE_HEAD(&p->questions, order);
    pthread_mutex_unlock(&p->lock);
    return q;
}

static void *answer_all(void *arg)
{
    struct prover *p = arg;
    struct question *q;
    syscall(SYS_ioprio_set, IOPRIO_WHO_THREAD, 0, IOPRIO_IDLE); /* only a wish */
    while ((q = next(p))) {
        FAULT_SLOW();
        answer(p, q);
        question_free(q);
    }
    return NULL;
}

static void free_parts(struct prover *p)
{
    struct question *q;
    while ((q = STAILQ_FIRST(&p->questions))) {
        STAILQ_REMOVE_HEAD(&p->questions, order);
        question_free(q);
    }
    pthread_cond_destroy(&p->asked);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int prover_new(const struct prover_answer *a, struct prover **out, struct err *err)
{
    struct prover *p = mem_alloc(sizeof *p);
    p->answer = *a;
    STAILQ_INIT(&p->questions);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->asked, NULL);
    int failed = pthread_create(&p->thread, NULL, answer_all, p);
    if (failed) {
        free_parts(p);
        return err_sys(err, failed, "thread");
    }
    *out = p;
    return 0;
}

void prover_free(struct prover *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_signal(&p->asked);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    free_parts(p);
}

void prover_ask(struct prover *p, struct site *s, struct bytes path)
{
    struct question *q = mem_alloc(sizeof *q);
    q->site = site_ref(s);
    q->path = (struct bytes){mem_copy_bytes(path.data, path.len), path.len};
    pthread_mutex_lock(&p->lock);
    STAILQ_INSERT_TAIL(&p->questions, q, order);
    pthread_cond_signal(&p->asked);
    pthread_mutex_unlock(&p->lock);
}
