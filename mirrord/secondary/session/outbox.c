/* The receiver's output; see outbox.h. Knows bytes, not messages. A failure is kept until the loop
 * asks, so that whoever answers something in passing need not look. */
#include "secondary/session/outbox.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/io.h"

static int wait_for_room(struct outbox *o)
{
    struct pollfd p[] = {{.fd = o->fd, .events = POLLOUT}, {.fd = o->signals, .events = POLLIN}};
    int r;
    do
        r = poll(p, 2, o->patience_ms);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return err_set(&o->err, ERR_TEMPORARY, "the other end has read nothing for %d seconds",
            o->patience_ms / 1000);
    if (r > 0 && !p[0].revents)
        return err_set(&o->err, ERR_TEMPORARY, "asked to end while the other end reads nothing");
    return r < 0 ? err_sys(&o->err, errno, "poll") : 0;
}

/* Writes up to `end`, from *done on. */
static int write_piece(struct outbox *o, size_t *done, size_t end)
{
    uint64_t begun = io_now_ms();
    while (*done < end) {
        ssize_t n = write(o->fd, o->writer.data + *done, end - *done);
        if (n >= 0)
            *done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return err_sys(&o->err, errno, "write to the other end");
        else if (io_now_ms() - begun >= (uint64_t)o->crawl_ms)
            return err_set(&o->err, ERR_TEMPORARY,
                "the other end has read too little for %d seconds", o->crawl_ms / 1000);
        else if (errno == EAGAIN && wait_for_room(o) < 0)
            return -1;
    }
    return 0;
}

static int write_all(struct outbox *o)
{
    for (size_t done = 0; done < o->writer.len;) {
        size_t left = o->writer.len - done;
        if (write_piece(o, &done, done + (left < OUTBOX_FULL ? left : OUTBOX_FULL)) < 0)
            return -1;
    }
    return 0;
}

static void drain(struct outbox *o)
{
    if (!o->failed && o->writer.bad) {
        err_set(&o->err, ERR_FAILED, "an answer does not fit a frame");
        o->failed = true;
    }
    if (!o->failed && write_all(o) < 0)
        o->failed = true;
    wire_reset(&o->writer);
}

void outbox_put(struct outbox *o)
{
    if (o->failed || o->writer.bad || o->writer.len >= OUTBOX_FULL)
        drain(o);
}

int outbox_flush(struct outbox *o, struct err *err)
{
    drain(o);
    if (!o->failed)
        return 0;
    *err = o->err;
    return -1;
}
