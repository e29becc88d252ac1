/* Answers to TELL; see told.h. Of several that wait the first and the last do: what comes between
 * is answered with the last. */
#include "secondary/hook/told.h"

#include <stddef.h>

#include "base/io.h"
#include "base/mem.h"

enum { ASK_EVERY_MS = 10 };

struct question {
    uint64_t token, ticket; /* of what was committed when it came */
};

struct told {
    struct job job; /* while something waits */
    struct replica *r;
    struct question first, last; /* may be the same */
};

static void answer(struct replica *r, uint64_t token)
{
    msg_put_told(&r->tools->out.writer, &(struct msg_tell){r->site, token});
    outbox_put(&r->tools->out);
}

static bool is_through(struct replica *r, uint64_t ticket, uint64_t *now)
{
    return r->tools->outside->told(r->tools->outside->ctx, &r->asked, ticket, now);
}

static void step(struct job *job, unsigned budget_ms)
{
    struct told *t = (struct told *)((char *)job - offsetof(struct told, job));
    uint64_t now;
    (void)budget_ms;
    job->not_before = io_now_ms() + ASK_EVERY_MS;
    if (!is_through(t->r, t->first.ticket, &now))
        return;
    answer(t->r, t->first.token);
    if (t->first.token == t->last.token)
        job_stop(job);
    t->first = t->last;
}

void told_ask(struct replica *r, uint64_t token)
{
    uint64_t now = 0, ignored;
    if (!r->policy.hook) {
        answer(r, token);
        return;
    }
    if (!r->told) {
        r->told = mem_alloc(sizeof *r->told);
        *r->told = (struct told){.r = r};
    }
    struct told *t = r->told;
    is_through(r, 0, &now);
    t->last = (struct question){token, now};
    if (job_running(&t->job))
        return;
    if (is_through(r, now, &ignored)) {
        answer(r, token);
        return;
    }
    t->first = t->last;
    job_start(&r->tools->jobs, &t->job, step);
}

void told_free(struct replica *r)
{
    if (!r->told)
        return;
    job_stop(&r->told->job);
    free(TAKE_PTR(r->told));
}
