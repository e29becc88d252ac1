/* Work that is done in steps between messages, each job in its turn. */
#ifndef SECONDARY_JOB_H
#define SECONDARY_JOB_H

#include <stdbool.h>
#include <stdint.h>

/* Of a step: what is live and comes meanwhile waits for no longer than that. */
enum { JOB_BUDGET_MS = 2 };

/* Embedded in what it works on. Its step works for about budget_ms, and calls job_stop when it has
 * nothing more to do; it may free itself after that. */
struct job {
    struct job *prev, *next; /* NULL: not in a list */
    void (*step)(struct job *job, unsigned budget_ms);
    uint64_t not_before; /* io_now_ms; 0: at once */
};

struct jobs {
    struct job head;
};

void jobs_init(struct jobs *jobs); /* there are none */

/* Puts it behind the others, due at once; one that runs already, too. */
void job_start(struct jobs *jobs, struct job *job, void (*step)(struct job *, unsigned));
void job_stop(struct job *job); /* fine when it does not run */
bool job_running(const struct job *job);

/* Milliseconds until there is work: 0 at once, -1 there is none. */
int jobs_due(struct jobs *jobs);

/* Runs one step of the job that waited longest. Then as jobs_due. */
int jobs_step(struct jobs *jobs);

#endif
