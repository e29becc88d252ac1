/* What a resync prints at its end: a line for people, or one JSON object. */
#ifndef COMMAND_RESYNC_RESYNC_REPORT_H
#define COMMAND_RESYNC_RESYNC_REPORT_H

#include "base/json.h"
#include "command/resync/resync_job.h"

/* "site web2: 3 created, …" without a newline; the caller frees it. name may be "". */
char *resync_report_line(const char *name, bool dry_run, const struct resync_result *r);

/* The object documented in mirrord(8); failed may be NULL or clear. */
struct json *resync_report_json(
    const char *name, const struct resync_result *r, const struct err *failed);

#endif
