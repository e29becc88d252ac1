/* The file with the metrics, and when it is written; see metrics.h. */
#include "primary/daemon/metrics/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/metrics/metrics_impl.h"

enum {
    CHANGED_MS = 1000,      /* between two files although a secondary came or went */
    SAY_AGAIN_MS = 3600000, /* that the file cannot be written */
};

/* Without an fsync: after a crash these numbers are nobody's any more. */
static int write_file(struct daemon *d, struct err *err)
{
    char *next CLEANUP_FREE = mem_format("%s.new", d->metrics.path);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        return err_sys(err, errno, "open %s", next);
    metrics_put(f, d);
    bool bad = ferror(f) || fchmod(fd, 0644) < 0;
    bad |= fclose(f) != 0;
    if (!bad && rename(next, d->metrics.path) == 0)
        return 0;
    err_sys(err, errno, "write %s", d->metrics.path);
    unlink(next);
    return -1;
}

/* Which secondaries are there, as a number that changes with it. */
static uint64_t constellation(struct daemon *d)
{
    const struct roster_peer *p;
    struct peer_status s;
    uint64_t all = d->ready;
    TAILQ_FOREACH (p, &d->peers, order) {
        peer_status(p->peer, &s);
        all = all * 2 + (s.state == PEER_UP);
    }
    return all;
}

unsigned metrics_tick(struct daemon *d)
{
    struct metrics *m = &d->metrics;
    struct err err;
    uint64_t now = io_now_ms(), seen = m->path ? constellation(d) : 0;
    if (!m->path)
        return METRICS_NEVER_MS;
    if (seen != m->seen && m->due_ms > m->written_ms + CHANGED_MS)
        m->due_ms = m->written_ms + CHANGED_MS;
    if (now < m->due_ms)
        return (unsigned)(m->due_ms - now);
    m->seen = seen;
    m->written_ms = now;
    m->due_ms = now + m->every_ms;
    if (write_file(d, &err) < 0 && now >= m->said_ms) {
        log_error(
            "metrics: %s: create the directory, or correct metrics in the configuration", err.text);
        m->said_ms = now + SAY_AGAIN_MS;
    }
    return m->every_ms;
}

void metrics_set(struct daemon *d, const char *path, unsigned every_ms)
{
    struct metrics *m = &d->metrics;
    if (m->path && (!path || strcmp(m->path, path) != 0))
        metrics_end(d);
    if (path && !m->path)
        m->path = mem_copy_string(path);
    m->every_ms = every_ms;
    m->due_ms = m->said_ms = 0;
}

void metrics_end(struct daemon *d)
{
    if (d->metrics.path)
        unlink(d->metrics.path);
    free(TAKE_PTR(d->metrics.path));
}
