/*
 * The numbers, gathered into rows first, one for each secondary, site, pair of both, and
 * filesystem, since the format wants all rows of one name together. A row's numbers stand in the
 * order of its table; all names and what they mean are in these tables.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "primary/daemon/metrics/metrics_impl.h"
#include "primary/daemon/pauses.h"

enum { DISKS_MAX = 16 }; /* filesystems of one secondary */

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

void metrics_gather(struct daemon *d, struct gathered *g)
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

void metrics_release(struct gathered *g)
{
    rows_free(&g->secondaries);
    rows_free(&g->disks);
    rows_free(&g->sites);
    rows_free(&g->pairs);
}
