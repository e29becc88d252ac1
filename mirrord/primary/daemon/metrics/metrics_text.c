/* The metrics as Prometheus reads them; see metrics_impl.h. */
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/metrics/metrics_impl.h"

const char *metrics_label(char *out, size_t size, const char *text)
{
    size_t at = 0;
    const char *name = QUOTED(text, strlen(text));
    for (; *name && at + 3 <= size; name++) {
        if (*name == '\\' || *name == '"')
            out[at++] = '\\';
        out[at++] = *name;
    }
    out[at] = '\0';
    return out;
}

static void put_head(FILE *f, const struct family *of)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", of->name, of->help, of->name, of->type);
}

static void put_one(FILE *f, const char *name, const char *type, const char *help, double n)
{
    put_head(f, &(struct family){name, type, help});
    fprintf(f, "%s %.17g\n", name, n);
}

static void put_rows(FILE *f, const struct rows *r)
{
    for (size_t column = 0; column < r->columns; column++) {
        put_head(f, &r->families[column]);
        for (size_t i = 0; i < r->count; i++)
            if (!isnan(r->rows[i].n[column]))
                fprintf(f, "%s{%s} %.17g\n", r->families[column].name, r->rows[i].labels,
                    r->rows[i].n[column]);
    }
}

static void put_histogram(FILE *f, const char *name, const char *secondary,
    const struct tally_histogram *h, const uint64_t *bounds, double unit)
{
    struct tally_count c;
    const char *label = LABEL(secondary);
    uint64_t upto = 0;
    tally_read(h, &c);
    for (size_t i = 0; i < TALLY_BOUNDS; i++) {
        upto += c.buckets[i];
        fprintf(f, "%s_bucket{secondary=\"%s\",le=\"%.15g\"} %llu\n", name, label,
            (double)bounds[i] / unit, (unsigned long long)upto);
    }
    fprintf(f, "%s_bucket{secondary=\"%s\",le=\"+Inf\"} %llu\n", name, label,
        (unsigned long long)c.count);
    fprintf(f, "%s_sum{secondary=\"%s\"} %.15g\n%s_count{secondary=\"%s\"} %llu\n", name, label,
        (double)c.sum / unit, name, label, (unsigned long long)c.count);
}

static void put_histograms(FILE *f, const struct daemon *d)
{
    static const struct family latency = {"mirrord_secondary_latency_seconds", "histogram",
        "From a live change seen at rest on the primary to its acknowledgement."};
    static const struct family batches = {
        "mirrord_secondary_batch_paths", "histogram", "Paths of each batch that was acknowledged."};
    const struct roster_peer *p;
    put_head(f, &latency);
    TAILQ_FOREACH (p, &d->peers, order)
        put_histogram(
            f, latency.name, p->name, &peer_tally(p->peer)->latency, tally_latency_bounds, 1000);
    put_head(f, &batches);
    TAILQ_FOREACH (p, &d->peers, order)
        put_histogram(
            f, batches.name, p->name, &peer_tally(p->peer)->batches, tally_batch_bounds, 1);
}

static void put_far_ends(FILE *f, const struct daemon *d)
{
    const struct roster_peer *p;
    struct peer_status s;
    put_head(f, &(struct family){"mirrord_secondary_info", "gauge",
                    "What the secondary runs, and how it is reached; always 1."});
    TAILQ_FOREACH (p, &d->peers, order) {
        peer_status(p->peer, &s);
        fprintf(f,
            "mirrord_secondary_info{secondary=\"%s\",software=\"%s\",protocol=\"%u\","
            "link=\"%s\"} 1\n",
            LABEL(p->name), LABEL(s.far.software), s.far.version, LABEL(s.kind));
    }
}

static double resident_bytes(void)
{
    char *text CLEANUP_FREE = NULL;
    size_t len;
    unsigned long long pages = 0;
    struct err ignored;
    if (io_slurp(AT_FDCWD, "/proc/self/statm", 4096, &text, &len, &ignored) == 0)
        sscanf(text, "%*u %llu", &pages);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) < 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void put_process(FILE *f, const struct daemon *d)
{
    put_head(f, &(struct family){"mirrord_info", "gauge", "This daemon; always 1."});
    fprintf(f, "mirrord_info{version=\"%s\",host=\"%s\"} 1\n", LABEL(MIRRORD_VERSION),
        LABEL(d->self ? d->self : ""));
    put_one(f, "mirrord_ready", "gauge",
        "Whether everything was level once since the start, as far as it can be reached.",
        d->ready);
    put_one(f, "mirrord_written_timestamp_seconds", "gauge", "When these numbers were written.",
        (double)time(NULL));
    put_one(f, "mirrord_process_start_time_seconds", "gauge", "When the daemon was started.",
        (double)d->started);
    put_one(f, "mirrord_process_resident_memory_bytes", "gauge", "Memory of the daemon.",
        resident_bytes());
    put_one(f, "mirrord_process_cpu_seconds_total", "counter", "Processor time of the daemon.",
        cpu_seconds());
}

void metrics_put(FILE *f, struct daemon *d)
{
    struct gathered g;
    metrics_gather(d, &g);
    put_process(f, d);
    put_far_ends(f, d);
    put_rows(f, &g.secondaries);
    put_histograms(f, d);
    put_rows(f, &g.disks);
    put_rows(f, &g.sites);
    put_rows(f, &g.pairs);
    metrics_release(&g);
}
