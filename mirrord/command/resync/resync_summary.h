/* What `resync -n` found over all sites of a configuration, for whoever takes servers over. */
#ifndef COMMAND_RESYNC_RESYNC_SUMMARY_H
#define COMMAND_RESYNC_RESYNC_SUMMARY_H

#include "command/resync/resync_job.h"

struct resync_summary;

struct resync_summary *resync_summary_new(void);
void resync_summary_free(struct resync_summary *s); /* NULL is fine */

/* A site was compared with one of its secondaries; err as of the job. Mirrors of one site come one
 * after the other. Is it equal? */
bool resync_summary_note(struct resync_summary *s, const char *site,
    const struct resync_result *out, const struct err *err);

/* "298 of 300 sites equal by size and time; 2 differ: shop17, shop40": the caller frees it.
 * `by_content`: digests decided. */
char *resync_summary_line(const struct resync_summary *s, bool by_content);

/* ERR_BEHIND with err when a site differs, else 0. */
int resync_summary_verdict(const struct resync_summary *s, struct err *err);

#endif
