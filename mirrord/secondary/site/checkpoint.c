/* Marks, checkpoints and the copy of the manifest; see checkpoint.h. The waiting for the disk is a
 * thread's, so that the session goes on; the marks are written by the session. */
#include "secondary/site/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/commit/commit.h"
#include "secondary/commit/ledger.h"
#include "secondary/site/former.h"
#include "tree/content/digest.h"

enum {
    EVERY_MS = 30000,
    PATIENCE = 50, /* a copy that takes long is made less often: its time is 2 % of all */
    POLL_MS = 20,
    PUSH_MS = 100,  /* the ledger's last commits wait so long before they are set on their way */
    LAST_MS = 2000, /* at the end */
};

/* What a thread waits for. It outlives the replica when the disk is too slow at the end. */
struct flush {
    struct replica *r; /* while the manifest is copied: until `copied` */
    bool copy;
    int root;       /* a descriptor of its own */
    int64_t saved;  /* what the mark will say */
    uint64_t began; /* io_now_ms */
    pthread_t thread;
    atomic_bool copied;
    atomic_int state; /* enum flush_state */
    int failed;
    struct err why;
};

enum flush_state { FLUSH_RUNNING, FLUSH_DONE, FLUSH_ABANDONED };

struct checkpoint {
    struct replica *r;
    struct mark mark;
    struct job job;
    bool durable;
    bool restored;         /* the manifest was put back at this opening */
    bool dirty;            /* commits since the last checkpoint began */
    struct ledger *ledger; /* NULL: none is kept */
    struct job push;       /* of the ledger to the disk */
    uint64_t number;       /* of the last commit in it */
    bool recording;        /* one that the manifest does not have yet */
    bool uncovered;        /* the ledger and the copy do not have all that was committed */
    struct flush *flush;   /* while it runs */
    uint64_t rest;         /* milliseconds to wait after the last one */
};

static int write_mark(struct checkpoint *c, struct err *err)
{
    const struct mark_writer *w = &c->r->tools->outside->marks;
    const char *path = state_path(c->r->locked);
    int bad = c->r->scratch ? mark_write(state_fd(c->r->locked), &c->mark, err)
                            : w->write(w->ctx, strrchr(path, '/') + 1, &c->mark, err);
    return bad ? err_prefix(err, "the mark of %s", path) : 0;
}

/* Keeps the number of this session, and sees whether one end's memory of them went back. */
static void take_session(struct replica *r, struct mark *m)
{
    bool known_peer = digest_equal(&m->from, &r->tools->peer);
    if (!r->session || r->counted)
        return;
    r->session_before = known_peer ? m->taken : 0;
    bool here = known_peer && r->session_before < r->known;
    bool there = r->session_before >= r->session;
    if (here)
        log_warn("%s: this host was put back from a snapshot: its last session was %" PRIu64
                 ", the primary remembers %" PRIu64 "; all content is read and compared",
            r->path, r->session_before, r->known);
    if (there)
        log_warn("%s: the primary was put back from a snapshot: it begins session %" PRIu64
                 ", here %" PRIu64 " was the last; all content is read and compared",
            r->path, r->session, r->session_before);
    r->distrust = here || there;
    m->from = r->tools->peer;
    m->taken = there ? r->session_before : r->session;
}

int checkpoint_open(struct replica *r, struct err *err)
{
    struct checkpoint *c = mem_alloc(sizeof *c);
    c->r = r;
    c->rest = EVERY_MS;
    c->durable = r->flags & OPEN_FSYNC;
    if (!r->scratch)
        c->ledger = ledger_new(state_fd(r->locked));
    r->checkpoint = c;
    int verdict = mark_begin(state_fd(r->locked), c->durable, &c->mark, err);
    if (verdict < 0 || (verdict == MARK_LOST &&
                           former_restore(r, "the machine went down without a clean end", err) < 0))
        return -1;
    c->restored = verdict == MARK_LOST;
    take_session(r, &c->mark);
    if (c->durable && !c->mark.settled && syncfs(root_fd(r->root)) < 0)
        return err_sys(err, errno, "sync %s", r->path);
    /* Taken over from the process before (RENEW), which wrote it and was not cut short. */
    return r->counted && c->mark.said ? 0 : write_mark(c, err);
}

int checkpoint_begin(struct replica *r, struct err *err)
{
    return r->checkpoint->durable ? manifest_set_durable(r->manifest, err) : 0;
}

/* The mark first: should this be interrupted, it is done again. */
int checkpoint_restore(struct replica *r, struct err *err)
{
    struct checkpoint *c = r->checkpoint;
    if (!c->mark.since)
        c->mark.since = c->mark.saved;
    c->restored = true;
    return write_mark(c, err) < 0 ? -1
                                  : former_restore(r, "its database was damaged or deleted", err);
}

bool checkpoint_is_restored(const struct replica *r)
{
    return r->checkpoint && r->checkpoint->restored;
}

bool checkpoint_has_ledger(const struct replica *r)
{
    const struct checkpoint *c = r->checkpoint;
    return c && c->ledger && ledger_exists(c->ledger);
}

int64_t checkpoint_since(const struct replica *r)
{
    return r->checkpoint ? r->checkpoint->mark.since : 0;
}

static int replay_one(void *ctx, uint64_t number, struct step **steps, size_t n, struct err *err)
{
    return commit_record(ctx, number, steps, n, err);
}

int checkpoint_replay(struct replica *r, struct err *err)
{
    struct checkpoint *c = r->checkpoint;
    uint64_t last;
    if (!c || !c->ledger)
        return 0;
    if (commit_last_recorded(r, &last, err) < 0)
        return -1;
    c->number = last > c->number ? last : c->number;
    int count = c->mark.since ? ledger_replay(c->ledger, last, replay_one, r, err) : 0;
    if (count > 0)
        log_info("%s: %d commits since the last checkpoint are known", r->path, count);
    return count < 0 ? -1 : 0;
}

/* A durable manifest needs neither copy nor ledger; what they held would be out of date. */
static void begin_covering(struct checkpoint *c)
{
    if (c->r->flags & OPEN_DRY_RUN)
        return;
    if (c->ledger && c->durable) {
        former_forget_copy(c->r);
        ledger_forget(c->ledger);
        ledger_free(TAKE_PTR(c->ledger));
    } else if (c->ledger && !former_has_copy(c->r))
        checkpoint_uncovered(c->r);
}

int checkpoint_walked(struct replica *r, struct err *err)
{
    struct checkpoint *c = r->checkpoint;
    if (c)
        begin_covering(c);
    if (!c || !c->mark.since)
        return 0;
    c->mark.since = 0;
    return write_mark(c, err);
}

static void flush_free(struct flush *f)
{
    close(f->root);
    free(f);
}

/* Everything that was committed when it began, in the tree and (a copy) in the manifest. */
static void *flush_run(void *arg)
{
    struct flush *f = arg;
    f->failed = f->copy ? former_copy(f->r, &f->why) : 0;
    atomic_store(&f->copied, true);
    if (!f->failed && syncfs(f->root) < 0)
        f->failed = err_sys(&f->why, errno, "sync the filesystem");
    if (atomic_exchange(&f->state, FLUSH_DONE) == FLUSH_ABANDONED)
        flush_free(f);
    return NULL;
}

static struct flush *flush_start(struct replica *r, bool copy)
{
    struct flush *f = mem_alloc(sizeof *f);
    f->r = r;
    f->copy = copy;
    f->saved = mark_now();
    f->began = io_now_ms();
    f->root = fcntl(root_fd(r->root), F_DUPFD_CLOEXEC, 0);
    int failed = f->root < 0 ? errno : pthread_create(&f->thread, NULL, flush_run, f);
    if (!failed)
        return f;
    log_warn("%s: no checkpoint: %s", r->path, strerror(failed));
    flush_free(f);
    return NULL;
}

static bool flush_is_done(const struct flush *f)
{
    return atomic_load(&f->state) == FLUSH_DONE;
}

/* Leaves it alone; only the copy has to be waited for. */
static void flush_abandon(struct flush *f)
{
    while (!atomic_load(&f->copied))
        usleep(1000);
    pthread_detach(f->thread);
    if (atomic_exchange(&f->state, FLUSH_ABANDONED) == FLUSH_DONE)
        flush_free(f);
}

static void start(struct checkpoint *c, bool copy)
{
    if (copy && c->ledger && !c->recording)
        ledger_turn(c->ledger);
    c->flush = flush_start(c->r, copy);
    c->dirty = c->dirty && !c->flush;
    c->uncovered = c->uncovered && !(c->flush && copy);
}

/* The flush is done: what it was for. */
static void finish(struct checkpoint *c)
{
    struct flush *f = TAKE_PTR(c->flush);
    struct err why = f->why;
    uint64_t took = io_now_ms() - f->began;
    pthread_join(f->thread, NULL);
    c->rest = took * PATIENCE > EVERY_MS ? took * PATIENCE : EVERY_MS;
    int bad = f->failed;
    if (!bad)
        c->mark.saved = f->saved;
    if (!bad && f->copy)
        bad = former_keep_copy(c->r, &why);
    if (!bad)
        bad = write_mark(c, &why);
    if (!bad && f->copy && c->ledger)
        ledger_turned(c->ledger);
    if (bad)
        log_warn("%s: no checkpoint: %s", c->r->path, why.text);
    c->uncovered = c->uncovered || (bad && f->copy);
    c->dirty = c->dirty || bad;
    flush_free(f);
}

static struct checkpoint *of_job(struct job *job)
{
    return (struct checkpoint *)((char *)job - offsetof(struct checkpoint, job));
}

static void step(struct job *job, unsigned budget_ms)
{
    struct checkpoint *c = of_job(job);
    (void)budget_ms;
    if (!c->flush)
        start(c, true);
    else if (flush_is_done(c->flush))
        finish(c);
    job->not_before = io_now_ms() + (c->flush ? POLL_MS : c->rest);
    if (!c->flush && !c->dirty)
        job_stop(job);
}

static void schedule(struct checkpoint *c)
{
    if (c->durable)
        return;
    c->dirty = true;
    if (job_running(&c->job))
        return;
    job_start(&c->r->tools->jobs, &c->job, step);
    c->job.not_before = io_now_ms() + c->rest;
}

static void push(struct job *job, unsigned budget_ms)
{
    struct checkpoint *c = (struct checkpoint *)((char *)job - offsetof(struct checkpoint, push));
    (void)budget_ms;
    ledger_push(c->ledger);
    job_stop(job);
}

uint64_t checkpoint_note(struct replica *r, struct step **steps, size_t n)
{
    struct checkpoint *c = r->checkpoint;
    struct timespec clock;
    struct err why;
    if (!c || !c->ledger || c->durable)
        return 0;
    clock_gettime(CLOCK_REALTIME, &clock);
    uint64_t now = (uint64_t)clock.tv_sec * 1000000 + (uint64_t)clock.tv_nsec / 1000;
    c->number = now > c->number ? now : c->number + 1;
    c->recording = true;
    if (ledger_append(c->ledger, c->number, steps, n, &why) < 0) {
        if (!c->uncovered)
            log_warn("%s: until the next checkpoint a power loss makes what is committed now "
                     "unknown: %s",
                r->path, why.text);
        c->uncovered = true;
    } else if (!job_running(&c->push)) {
        job_start(&r->tools->jobs, &c->push, push);
        c->push.not_before = io_now_ms() + PUSH_MS;
    }
    return c->number;
}

void checkpoint_uncovered(struct replica *r)
{
    if (!r->checkpoint || !r->checkpoint->ledger)
        return;
    r->checkpoint->uncovered = true;
    schedule(r->checkpoint);
}

void checkpoint_due(struct replica *r)
{
    struct checkpoint *c = r->checkpoint;
    if (c)
        c->recording = false;
    if (c)
        schedule(c);
}

static void await(struct checkpoint *c, uint64_t deadline)
{
    while (c->flush && !flush_is_done(c->flush) && io_now_ms() < deadline)
        usleep(1000);
    if (c->flush && flush_is_done(c->flush))
        finish(c);
}

/* The mark is clean when all that was committed is on the disk in time. */
static void end_clean(struct checkpoint *c)
{
    struct err why;
    uint64_t deadline = io_now_ms() + LAST_MS;
    await(c, deadline);
    if ((c->dirty || c->uncovered) && !c->flush)
        start(c, c->uncovered);
    await(c, deadline);
    if (c->dirty || c->flush || manifest_sync(c->r->manifest, &why) < 0 ||
        (c->ledger && ledger_sync(c->ledger, &why) < 0))
        return;
    c->mark.state = MARK_CLEAN;
    if (write_mark(c, &why) < 0)
        log_warn("%s: %s", c->r->path, why.text);
}

void checkpoint_end(struct replica *r, bool clean)
{
    struct checkpoint *c = TAKE_PTR(r->checkpoint);
    if (!c)
        return;
    job_stop(&c->job);
    job_stop(&c->push);
    if (clean && r->manifest && !c->mark.since)
        end_clean(c);
    if (c->flush)
        flush_abandon(c->flush);
    ledger_free(c->ledger);
    free(c);
}
