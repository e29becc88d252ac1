/* One session at the secondary's end: one loop that reads a message, acts, maybe answers, and does
 * a step of whatever work is left between messages. */
#ifndef SECONDARY_SESSION_SESSION_H
#define SECONDARY_SESSION_SESSION_H

#include "secondary/tools.h"

enum { SESSION_RENEW = 1 };

/* Serves the session in this process. 0 after BYE or a clean end of the stream; SESSION_RENEW:
 * another process is to take it over, for which all is written down; -1 with err, after the primary
 * was told. SIGTERM ends it between two steps. */
int session_run(const struct receive_options *o, const struct outside *outside,
    const struct receive_self *self, struct err *err);

#endif
