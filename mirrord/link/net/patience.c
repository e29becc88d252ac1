/* Waiting under a deadline and a stop flag, which is looked at at least every 200 ms. */
#include "link/net/patience.h"

#include <errno.h>
#include <stddef.h>

#include "base/io.h"

#define SLICE_MS 200

struct patience patience_for(unsigned ms, const atomic_bool *stop)
{
    uint64_t now = io_now_ms();
    return (struct patience){.start = now, .deadline = now + ms, .stop = stop, .doing = "waiting"};
}

int patience_check(const struct patience *p, struct err *err)
{
    if (p->stop && atomic_load(p->stop))
        return err_set(err, ERR_TEMPORARY, "stopped while %s", p->doing);
    if (io_now_ms() < p->deadline)
        return 0;
    return err_set(err, ERR_TEMPORARY, "no answer within %.3g s while %s",
        (double)(p->deadline - p->start) / 1000, p->doing);
}

int patience_slice(const struct patience *p)
{
    uint64_t now = io_now_ms();
    if (now >= p->deadline)
        return 0;
    return p->deadline - now < SLICE_MS ? (int)(p->deadline - now) : SLICE_MS;
}

int patience_poll(const struct patience *p, struct pollfd *fds, nfds_t n, struct err *err)
{
    for (;;) {
        if (patience_check(p, err))
            return -1;
        int ready = poll(fds, n, patience_slice(p));
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
    }
}
