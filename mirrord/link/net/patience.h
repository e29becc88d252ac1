/* How long something may take: a deadline, and a flag that ends it early. */
#ifndef LINK_PATIENCE_H
#define LINK_PATIENCE_H

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

struct patience {
    uint64_t start, deadline; /* io_now_ms */
    const atomic_bool *stop;  /* may be NULL */
    const char *doing;        /* for the message: "connecting" */
};

struct patience patience_for(unsigned ms, const atomic_bool *stop); /* from now on */

/* 0 while there is time; -1 with ERR_TEMPORARY once it is over or stopped. */
int patience_check(const struct patience *p, struct err *err);

/* The longest single wait that still sees the stop flag in time, in ms, 0 when time is up. */
int patience_slice(const struct patience *p);

/* Polls until something is ready. 0, or -1 as above. */
int patience_poll(const struct patience *p, struct pollfd *fds, nfds_t n, struct err *err);

#endif
