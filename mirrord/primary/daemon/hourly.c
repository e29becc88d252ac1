/* One line an hour for the log: what was done, how fast, and whether all is well. */
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"

enum { HOUR_MS = 3600000 };

/* What the secondaries acknowledged since the last line. */
static void take(struct daemon *d, struct tally_count *latency, double *bytes)
{
    struct roster_peer *p;
    TAILQ_FOREACH (p, &d->peers, order) {
        struct tally_count now;
        const struct tally *t = peer_tally(p->peer);
        uint64_t live = atomic_load(&t->live_bytes);
        tally_read(&t->latency, &now);
        tally_add_since(latency, &now, &p->told);
        *bytes += (double)(live - p->told_bytes);
        p->told = now;
        p->told_bytes = live;
    }
}

static void count(struct daemon *d, size_t *up, size_t *peers, size_t *level, size_t *mirrors)
{
    const struct roster_peer *p;
    struct roster_site *s;
    struct peer_status status;
    struct peer_site_status *at CLEANUP_FREE = mem_alloc(sizeof *at);
    TAILQ_FOREACH (p, &d->peers, order) {
        peer_status(p->peer, &status);
        *up += status.state == PEER_UP;
        ++*peers;
    }
    TAILQ_FOREACH (s, &d->sites, order)
        for (size_t i = 0; s->presence != DAEMON_SITE_GONE && i < s->target_count; i++) {
            const struct roster_peer *to = s->targets[i].peer;
            ++*mirrors;
            *level +=
                to && s->site && peer_site_status(to->peer, s->site, at) && peer_site_is_level(at);
        }
}

static const char *pace_text(char out[48], const struct tally_count *latency)
{
    uint64_t ms = tally_quantile(latency, tally_latency_bounds, 0.99);
    out[0] = '\0';
    if (ms == UINT64_MAX)
        snprintf(out, 48, ", some took over two hours");
    else if (ms)
        snprintf(out, 48, ", 99 %% within %g s", (double)ms / 1000);
    return out;
}

static void say(struct daemon *d)
{
    struct tally_count latency = {0};
    double bytes = 0;
    size_t up = 0, peers = 0, level = 0, mirrors = 0;
    char pace[48];
    take(d, &latency, &bytes);
    count(d, &up, &peers, &level, &mirrors);
    log_info("the last hour: %llu change%s acknowledged, %.1f MB%s; %zu of %zu secondar%s "
             "connected; %zu of %zu mirrors level",
        (unsigned long long)latency.count, latency.count == 1 ? "" : "s", bytes / 1e6,
        pace_text(pace, &latency), up, peers, peers == 1 ? "y" : "ies", level, mirrors);
}

unsigned hourly_tick(struct daemon *d)
{
    uint64_t now = io_now_ms(), hour = d->hour_ms ? d->hour_ms : HOUR_MS;
    if (!d->hour_due_ms)
        d->hour_due_ms = now + hour;
    if (now >= d->hour_due_ms) {
        say(d);
        d->hour_due_ms = now + hour;
    }
    return (unsigned)(d->hour_due_ms - now);
}
