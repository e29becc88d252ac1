/*
 * Metrics; see metrics.h. Numbers are gathered into rows first, one for each secondary, site, pair
 * of both, and filesystem, since the format wants all rows of one name together. A row's numbers
 * stand in the order of its table.
 */
#include "primary/daemon/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/pauses.h"

enum {
    METRICS_COLUMNS = 16,
    LABEL_MAX = 1024,
    DISKS_MAX = 16,         /* filesystems of one secondary */
    CHANGED_MS = 1000,      /* between two files although a secondary came or went */
    SAY_AGAIN_MS = 3600000, /* that the file cannot be written */
};

struct family {
    const char *name, *type, *help;
};

struct row {
    char *labels;
    double n[METRICS_COLUMNS]; /* NAN: not told */
};

struct rows {
    const struct family *families;
    size_t columns;
    struct row *rows;
    size_t count;
};

/* --- names --- */

static const struct family secondary_families[] = {
    {"mirrord_secondary_up", "gauge", "Whether the secondary is connected (1) or not (0)."},
    {"mirrord_secondary_paused", "gauge", "Whether an operator has paused the secondary."},
    {"mirrord_secondary_down_seconds", "gauge", "How long the secondary has been away; 0 when up."},
    {"mirrord_secondary_behind_seconds", "gauge",
        "Age of the oldest change that the secondary has not acknowledged, over all sites."},
    {"mirrord_secondary_sites", "gauge", "Sites that are mirrored to the secondary."},
    {"mirrord_secondary_sites_level", "gauge", "Sites of these that are level there."},
    {"mirrord_secondary_unconfined", "gauge",
        "Whether the receiver's sandbox lacks something there."},
    {"mirrord_secondary_connections_total", "counter",
        "Connections made; all but one are reconnects."},
    {"mirrord_secondary_sent_bytes_total", "counter",
        "Bytes of the protocol sent, packed, before SSH."},
    {"mirrord_secondary_received_bytes_total", "counter",
        "Bytes of the protocol received, before SSH."},
    {"mirrord_secondary_live_bytes_total", "counter",
        "Bytes of the files of acknowledged live changes."},
};

static const struct family disk_families[] = {
    {"mirrord_disk_free_bytes", "gauge",
        "Free bytes of a secondary's filesystem with a root on it."},
    {"mirrord_disk_size_bytes", "gauge", "Size of that filesystem."},
    {"mirrord_disk_min_free_bytes", "gauge", "Bytes that bulk leaves free there (min-free)."},
    {"mirrord_disk_free_inodes", "gauge", "Free inodes of that filesystem."},
    {"mirrord_disk_inodes", "gauge", "Inodes of that filesystem; 0 where it has no fixed number."},
    {"mirrord_disk_low", "gauge", "Whether bulk waits since less than min-free is free there."},
};

static const struct family site_families[] = {
    {"mirrord_site_primary", "gauge", "Whether the site is pushed from this host."},
    {"mirrord_site_fenced", "gauge", "Whether another host was promoted over this one."},
    {"mirrord_site_held", "gauge", "Whether the root here is not believed, and nothing is sent."},
    {"mirrord_site_gone", "gauge",
        "Whether the root here is gone: its copies stay until the site is forgotten."},
    {"mirrord_site_failed", "gauge", "Whether the site cannot be opened or watched here."},
    {"mirrord_site_paused", "gauge", "Whether an operator has paused the site."},
    {"mirrord_site_epoch", "gauge", "The fencing counter; promotions raise it."},
    {"mirrord_site_entries", "gauge", "Files, directories and links of the site."},
    {"mirrord_site_bytes", "gauge", "Bytes of all its files."},
    {"mirrord_site_watches", "gauge", "Directories that are watched."},
    {"mirrord_site_unwatched_directories", "gauge",
        "Directories without a watch, looked at by time."},
    {"mirrord_site_unreadable_paths", "gauge", "Paths that cannot be read here."},
    {"mirrord_site_rescans_total", "counter", "Walks through the whole tree."},
    {"mirrord_site_overflows_total", "counter", "Times that the kernel's event queue overflowed."},
};

static const struct family pair_families[] = {
    {"mirrord_mirror_level", "gauge", "Whether the site is level on the secondary."},
    {"mirrord_mirror_held", "gauge", "Whether the secondary holds the site for safety."},
    {"mirrord_mirror_fenced", "gauge", "Whether the secondary knows of another primary."},
    {"mirrord_mirror_failed", "gauge", "Whether the secondary cannot open the site."},
    {"mirrord_mirror_owed_paths", "gauge", "Paths that are to be sent."},
    {"mirrord_mirror_owed_bytes", "gauge", "Bytes of these files, as far as known."},
    {"mirrord_mirror_behind_seconds", "gauge", "Age of the oldest path that is owed."},
    {"mirrord_mirror_failing_paths", "gauge", "Paths that could not be read here or stored there."},
    {"mirrord_mirror_waiting_paths", "gauge", "Paths that wait for room on the secondary's disk."},
    {"mirrord_mirror_drift_paths", "gauge", "Paths that somebody else changed on the secondary."},
    {"mirrord_mirror_foreign_files", "gauge",
        "Things in the secondary's trash that mirrord did not put there."},
    {"mirrord_mirror_kept_files", "gauge", "Things in its trash that keep-deleted keeps."},
    {"mirrord_mirror_hook_failures", "gauge",
        "Runs in a row that the secondary's on-commit, or else its on-switch, has failed."},
};

#define COLUMNS(families) (sizeof(families) / sizeof *(families))

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

#define LABEL(text) metrics_label((char[LABEL_MAX]){0}, LABEL_MAX, (text))

/* --- gathering --- */

static struct row *row_new(struct rows *r, char *labels)
{
    r->rows = mem_resize(r->rows, r->count + 1, sizeof *r->rows);
    struct row *row = &r->rows[r->count++];
    row->labels = labels;
    for (size_t i = 0; i < METRICS_COLUMNS; i++)
        row->n[i] = NAN;
    return row;
}

static void fill(struct row *row, size_t count, const double *n)
{
    memcpy(row->n, n, count * sizeof *n);
}

static void add_pair(
    struct rows *r, const char *site, const char *secondary, const struct peer_site_status *at)
{
    const double n[] = {
        peer_site_is_level(at),
        at->state == PEER_SITE_HELD,
        at->state == PEER_SITE_FENCED,
        at->state == PEER_SITE_FAILED,
        (double)at->owed_paths,
        (double)at->owed_bytes,
        (double)at->behind_ms / 1000,
        (double)at->failing,
        (double)at->no_room,
        (double)at->drift.count,
        (double)at->trash_foreign,
        (double)at->trash_kept,
        (double)at->hook.failures,
    };
    _Static_assert(COLUMNS(n) == COLUMNS(pair_families), "one number a name");
    fill(row_new(r, mem_format("site=\"%s\",secondary=\"%s\"", LABEL(site), LABEL(secondary))),
        COLUMNS(n), n);
}

/* Sites on one filesystem tell of the same one: it is known by its size, and the least that any of
 * them saw free counts. `first`: of this secondary's rows. */
static void add_disk(struct rows *r, size_t first, const char *site, const char *secondary,
    const struct peer_site_status *at)
{
    const double n[] = {(double)at->room.free_bytes, (double)at->room.all_bytes,
        (double)at->keep.bytes, (double)at->room.free_files, (double)at->room.all_files, at->low};
    _Static_assert(COLUMNS(n) == COLUMNS(disk_families), "one number a name");
    if (at->room.all_bytes == 0)
        return;
    for (size_t i = first; i < r->count; i++) {
        double *there = r->rows[i].n;
        if (there[1] != n[1] || there[4] != n[4])
            continue;
        there[0] = fmin(there[0], n[0]);
        there[2] = fmax(there[2], n[2]);
        there[3] = fmin(there[3], n[3]);
        there[5] = fmax(there[5], n[5]);
        return;
    }
    if (r->count - first < DISKS_MAX)
        fill(row_new(r, mem_format("secondary=\"%s\",site=\"%s\"", LABEL(secondary), LABEL(site))),
            COLUMNS(n), n);
}

struct gathered {
    struct rows secondaries, disks, sites, pairs;
};

static void add_secondary(struct daemon *d, struct gathered *g, const struct roster_peer *p)
{
    struct roster_site *s;
    struct peer_site_status *at CLEANUP_FREE = mem_alloc(sizeof *at);
    struct peer_status status;
    size_t first_disk = g->disks.count;
    double behind = 0, sites = 0, level = 0;
    TAILQ_FOREACH (s, &d->sites, order)
        for (size_t i = 0; i < s->target_count; i++) {
            if (strcmp(s->targets[i].name, p->name) != 0 || s->presence == DAEMON_SITE_GONE)
                continue;
            sites++;
            if (!s->site || !peer_site_status(p->peer, s->site, at))
                continue;
            behind = fmax(behind, (double)at->behind_ms / 1000);
            level += peer_site_is_level(at);
            add_pair(&g->pairs, s->options.name, p->name, at);
            add_disk(&g->disks, first_disk, s->options.name, p->name, at);
        }
    peer_status(p->peer, &status);
    const double n[] = {
        status.state == PEER_UP,
        pauses_find(d->pauses, PAUSE_HOST, p->name) != NULL,
        (double)status.down_ms / 1000,
        behind,
        sites,
        level,
        status.unconfined,
        (double)status.connections,
        (double)status.bytes_sent,
        (double)status.bytes_received,
        (double)atomic_load(&peer_tally(p->peer)->live_bytes),
    };
    _Static_assert(COLUMNS(n) == COLUMNS(secondary_families), "one number a name");
    fill(row_new(&g->secondaries, mem_format("secondary=\"%s\"", LABEL(p->name))), COLUMNS(n), n);
}

static void add_site(struct daemon *d, struct rows *r, const struct roster_site *s)
{
    struct scan_status *scan CLEANUP_FREE = mem_alloc(sizeof *scan);
    bool failed = !s->site && s->error[0];
    scan->state = !failed ? SCAN_SCANNING : s->refused ? SCAN_HELD : SCAN_FAILED;
    if (s->site)
        scan_status(d->scan, s->site, scan);
    const double n[] = {
        1,
        s->site && s->site->fenced,
        scan->state == SCAN_HELD,
        s->presence == DAEMON_SITE_GONE,
        scan->state == SCAN_FAILED && s->presence != DAEMON_SITE_GONE,
        pauses_find(d->pauses, PAUSE_SITE, s->options.name) != NULL,
        s->site ? (double)s->site->epoch.counter : NAN,
        (double)scan->entries,
        (double)scan->bytes,
        (double)scan->watches,
        (double)scan->unwatched,
        (double)scan->unreadable,
        (double)scan->rescans,
        (double)scan->overflows,
    };
    _Static_assert(COLUMNS(n) == COLUMNS(site_families), "one number a name");
    fill(row_new(r, mem_format("site=\"%s\"", LABEL(s->options.name))), COLUMNS(n), n);
}

static void gather(struct daemon *d, struct gathered *g)
{
    const struct roster_peer *p;
    const struct roster_site *s;
    *g = (struct gathered){
        .secondaries = {secondary_families, COLUMNS(secondary_families)},
        .disks = {disk_families, COLUMNS(disk_families)},
        .sites = {site_families, COLUMNS(site_families)},
        .pairs = {pair_families, COLUMNS(pair_families)},
    };
    TAILQ_FOREACH (p, &d->peers, order)
        add_secondary(d, g, p);
    TAILQ_FOREACH (s, &d->sites, order)
        add_site(d, &g->sites, s);
    for (size_t i = 0; i < d->role_count; i++)
        if (d->roles[i].idle)
            fill(row_new(&g->sites, mem_format("site=\"%s\"", LABEL(d->roles[i].name))), 2,
                (double[]){0, d->roles[i].fenced});
}

static void rows_free(struct rows *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->rows[i].labels);
    free(r->rows);
}

/* --- text --- */

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

static void put_all(FILE *f, struct daemon *d)
{
    struct gathered g;
    gather(d, &g);
    put_process(f, d);
    put_far_ends(f, d);
    put_rows(f, &g.secondaries);
    put_histograms(f, d);
    put_rows(f, &g.disks);
    put_rows(f, &g.sites);
    put_rows(f, &g.pairs);
    rows_free(&g.secondaries);
    rows_free(&g.disks);
    rows_free(&g.sites);
    rows_free(&g.pairs);
}

/* --- the file --- */

/* Without an fsync: after a crash these numbers are nobody's any more. */
static int write_file(struct daemon *d, struct err *err)
{
    char *next CLEANUP_FREE = mem_format("%s.new", d->metrics.path);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        return err_sys(err, errno, "open %s", next);
    put_all(f, d);
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
