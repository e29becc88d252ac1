/* The two forms of `mirrord resync`, each over the jobs of one run. */
#ifndef COMMAND_RESYNC_RESYNC_FORMS_H
#define COMMAND_RESYNC_RESYNC_FORMS_H

#include "command/config/config.h"
#include "command/resync/resync_run.h"

/* resync_once.c: SRC [USER@]HOST:DEST, without a configuration. -1 with err: it was not begun; what
 * the job came to is in r->worst. */
int resync_once(struct resync_run *r, struct err *err);

/* resync_sites.c: [-c FILE] [SITE [HOST…]], by a daemon if one runs. -1 with err: nothing was
 * begun; what the jobs came to is in r->worst. */
int resync_sites(struct resync_run *r, struct err *err);

/* resync_daemon.c: a daemon that runs holds the sites of this configuration, so it does the work:
 * RESYNC_DONE, or -1 with err. 0: there is none, or in a dry run its sites are looked at beside it
 * (r->beside is set). */
enum { RESYNC_DONE = 1 };
int resync_by_daemon(struct resync_run *r, const struct config *c, struct err *err);

#endif
