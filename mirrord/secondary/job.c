/* A ring of jobs, the one that waited longest in front; see job.h. Knows nothing of what they do.
 */
#include "secondary/job.h"

#include <stddef.h>

#include "base/io.h"

void jobs_init(struct jobs *jobs)
{
    jobs->head.prev = jobs->head.next = &jobs->head;
}

static void link_last(struct jobs *jobs, struct job *job)
{
    job->prev = jobs->head.prev;
    job->next = &jobs->head;
    job->prev->next = job->next->prev = job;
}

void job_start(struct jobs *jobs, struct job *job, void (*step)(struct job *, unsigned))
{
    job_stop(job);
    job->step = step;
    job->not_before = 0;
    link_last(jobs, job);
}

void job_stop(struct job *job)
{
    if (!job->next)
        return;
    job->prev->next = job->next;
    job->next->prev = job->prev;
    job->prev = job->next = NULL;
}

bool job_running(const struct job *job)
{
    return job->next != NULL;
}

/* Milliseconds until the first job may go on, and which it is. */
static int first_ready(struct jobs *jobs, struct job **out)
{
    uint64_t now = io_now_ms();
    uint64_t wait = UINT64_MAX;
    *out = NULL;
    for (struct job *j = jobs->head.next; j != &jobs->head; j = j->next) {
        uint64_t left = j->not_before > now ? j->not_before - now : 0;
        if (left < wait) {
            wait = left;
            *out = j;
        }
        if (left == 0)
            break;
    }
    return *out ? (int)(wait < 1000 ? wait : 1000) : -1;
}

int jobs_due(struct jobs *jobs)
{
    struct job *job;
    return first_ready(jobs, &job);
}

int jobs_step(struct jobs *jobs)
{
    struct job *job;
    int wait = first_ready(jobs, &job);
    if (wait != 0)
        return wait;
    job_stop(job);
    link_last(jobs, job);
    job->step(job, JOB_BUDGET_MS);
    return first_ready(jobs, &job);
}
