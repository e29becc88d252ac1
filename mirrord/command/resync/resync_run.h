/*
 * All the jobs of one `mirrord resync`: which state they use, what each is told of the command
 * line, what is printed for each, and what they come to together.
 */
#ifndef COMMAND_RESYNC_RESYNC_RUN_H
#define COMMAND_RESYNC_RESYNC_RUN_H

#include "base/json.h"
#include "command/resync/resync_job.h"
#include "command/resync/resync_options.h"
#include "command/resync/resync_summary.h"

struct resync_run { /* zeroed but for `asked` and `stop` */
    const struct resync_options *asked;
    const atomic_bool *stop;
    bool beside;               /* a daemon has the sites: a state of its own, as verify has. Before
                                  resync_run_begin */
    char *state_dir, *scratch; /* scratch: the state of this run alone, else NULL */
    struct digest host_id;
    char host[MSG_HOST_MAX + 1];    /* what this host calls itself */
    struct resync_summary *summary; /* of a dry run over a configuration's sites, else NULL */
    struct json *results;           /* --json with a configuration, else NULL */
    struct err worst;               /* of all jobs: the one that decides the exit code */
};

/* The state directory (NULL: the default one), the host's id. -1 with err. */
int resync_run_begin(struct resync_run *r, const char *state_dir, struct err *err);
void resync_run_end(struct resync_run *r); /* frees what it holds, removes the scratch */

/* What the command line says of any site: without name, root and units. `f` is borrowed. */
struct site_options resync_run_site(const struct resync_run *r, const struct filter *f);

/* One job, printed and counted. `name`: before what is printed, "" for none. `epoch` (NULL: none)
 * is presented where the state is a scratch one. */
void resync_run_job(struct resync_run *r, const char *name, const struct site_options *site,
    const struct resync_target *target, const struct epoch *epoch);

/* Something that came to this instead of a job. Only the first is printed at the end, the others
 * are now. */
void resync_run_note(struct resync_run *r, const struct err *err);

#endif
