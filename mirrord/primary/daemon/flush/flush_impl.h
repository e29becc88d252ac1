/* What flush.c (requests that wait, and their answers) and resync.c (those that nobody waits for)
 * share. Private to them. */
#ifndef PRIMARY_DAEMON_FLUSH_FLUSH_IMPL_H
#define PRIMARY_DAEMON_FLUSH_FLUSH_IMPL_H

#include "primary/daemon/flush/flush_site.h"

struct flush_wait {
    TAILQ_ENTRY(flush_wait) order;
    struct control_client *client; /* NULL: nobody waits */
    struct flush_ask ask;
    uint64_t deadline_ms; /* io_now_ms; UINT64_MAX: never */
    struct flush_site *sites;
    size_t site_count;
};

/* Takes the request's paths and sites, and begins with them: it is among the daemon's waits, which
 * own it. NULL with err. */
struct flush_wait *flush_wait_new(
    struct daemon *d, const struct json *request, bool resync, struct err *err);

#endif
