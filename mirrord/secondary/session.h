/* One session at the secondary's end: one loop that reads a message, acts, maybe answers, and does
 * a step of whatever work is left between messages. */
#ifndef SECONDARY_SESSION_H
#define SECONDARY_SESSION_H

#include "secondary/receive.h"
#include "tree/mark.h"
#include "tree/names.h"

/* Serves the session in this process. 0 after BYE or a clean end of the stream; -1 with err, after
 * the primary was told. SIGTERM ends it between two steps. */
int session_run(const struct receive_options *o, const struct names_source *names,
    const struct mark_writer *marks, struct err *err);

#endif
