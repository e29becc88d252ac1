/* The batch's wait; see hold_feed.h. The process outside is asked again and again: it never speaks
 * first. */
#include "secondary/hook/hold_feed.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/hook/hold.h"

enum {
    ASK_EVERY_MS = 4,
    MOST_MS = 120000, /* in any case: every time limit is shorter */
};

struct hold_wait {
    struct job job;
    struct batch *b;
    uint64_t since; /* io_now_ms */
    uint64_t asked; /* so often */
};

/* True: it need not be asked again. */
static bool ask(struct hold_wait *w)
{
    struct replica *r = w->b->replica;
    const struct outside *o = r->tools->outside;
    unsigned now = o->hold(o->ctx, &r->asked);
    w->job.not_before = io_now_ms() + ASK_EVERY_MS;
    r->held = now == HOLD_READY;
    replica_progress(r, ++w->asked);
    return now != HOLD_WAITS || io_now_ms() >= w->since + MOST_MS;
}

static bool is_there(struct replica *r, struct bytes path)
{
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    int dir = root_borrow_parent(r->root, path, name);
    return dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Of what is new nobody can have seen an old version. */
static bool replaces(struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct step *s = &b->atoms[i]->step;
        if (s->kind != STEP_UNIT && s->kind != STEP_UNIT_GONE)
            break;
        if (is_there(b->replica, s->path))
            return true;
    }
    return false;
}

static void stop(struct hold_wait *w)
{
    if (!job_running(&w->job))
        return;
    job_stop(&w->job);
    w->b->pending--;
}

static void step(struct job *job, unsigned budget_ms)
{
    struct hold_wait *w = (struct hold_wait *)((char *)job - offsetof(struct hold_wait, job));
    (void)budget_ms;
    if (!ask(w))
        return;
    stop(w);
    batch_job_done(w->b);
}

bool hold_feed_ready(struct batch *b)
{
    struct replica *r = b->replica;
    if (b->hold)
        return !job_running(&b->hold->job);
    if (!r->policy.on_switch || batch_has_failed(b) || !replaces(b))
        return true;
    b->hold = mem_alloc(sizeof *b->hold);
    *b->hold = (struct hold_wait){.b = b, .since = io_now_ms()};
    b->pending++;
    job_start(&r->tools->jobs, &b->hold->job, step);
    if (ask(b->hold))
        stop(b->hold);
    return !job_running(&b->hold->job);
}

bool hold_feed_waits(const struct batch *b)
{
    return b->hold && job_running(&b->hold->job);
}

void hold_feed_drop(struct batch *b)
{
    struct replica *r = b->replica;
    bool waits = hold_feed_waits(b);
    if (!b->hold)
        return;
    stop(b->hold);
    free(TAKE_PTR(b->hold));
    if (!waits && !r->held)
        return;
    r->tools->outside->let_go(r->tools->outside->ctx, &r->asked, (struct bytes){0}, true);
    r->held = false;
}
