/*
 * The daemon's state as JSON, for people and for programs. The shape is stable: fields are added,
 * never renamed. mirrord(8) has all of them (STATUS AS JSON), and a test holds the two together.
 * Texts are empty and numbers 0 where there is nothing to say.
 */
#include <string.h>

#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/push/push.h"

enum { LEFT_SHOWN = 16 };

static const char *peer_state_name(enum peer_state state)
{
    return state == PEER_UP ? "up" : state == PEER_CONNECTING ? "connecting" : "down";
}

static const char *at_state_name(const struct peer_site_status *at)
{
    switch (at->state) {
    case PEER_SITE_WAITING: return "waiting";
    case PEER_SITE_COMPARING: return "comparing";
    case PEER_SITE_PUSHING: return "pushing";
    case PEER_SITE_LEVEL: return "level";
    case PEER_SITE_HELD: return "held";
    case PEER_SITE_FAILED: return "failed";
    case PEER_SITE_FENCED: return "fenced";
    case PEER_SITE_PAUSED: return "paused";
    }
    return "waiting";
}

static const char *scan_state_name(enum scan_state state)
{
    switch (state) {
    case SCAN_SCANNING: return "scanning";
    case SCAN_OK: return "ok";
    case SCAN_HELD: return "held";
    case SCAN_FAILED: return "failed";
    }
    return "failed";
}

static void set_count(struct json *j, const char *key, uint64_t n)
{
    json_set_number(j, key, (double)n);
}

static struct json *piecemeal_json(const struct roster_site *s, const struct roster_target *t)
{
    struct piecemeal_unit *found CLEANUP_FREE = mem_array(UNREST_SHOWN, sizeof *found);
    struct json *units = json_array();
    size_t n = s->site && t->peer ? peer_piecemeal(t->peer->peer, s->site, found, UNREST_SHOWN) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json *j = json_object();
        json_set_text(j, "unit", found[i].unit);
        json_set_text(j, "why", found[i].why);
        json_append_json(units, j);
    }
    return units;
}

static struct json *left_json(const struct roster_site *s, const struct roster_target *t)
{
    char(*found)[LOG_NAME_MAX] CLEANUP_FREE = mem_array(LEFT_SHOWN, sizeof *found);
    struct json *paths = json_array();
    size_t n = s->site && t->peer ? peer_left(t->peer->peer, s->site, found, LEFT_SHOWN) : 0;
    for (size_t i = 0; i < n; i++)
        json_append_text(paths, found[i]);
    return paths;
}

static struct json *trash_json(const struct peer_site_status *at)
{
    struct json *j = json_object();
    set_count(j, "foreign", at->trash_foreign);
    set_count(j, "foreign_bytes", at->trash_foreign_bytes);
    set_count(j, "kept", at->trash_kept);
    return j;
}

static struct json *space_json(const struct peer_site_status *at)
{
    struct json *j = json_object();
    set_count(j, "free_bytes", at->room.free_bytes);
    set_count(j, "bytes", at->room.all_bytes);
    set_count(j, "keep_bytes", at->keep.bytes);
    set_count(j, "free_inodes", at->room.free_files);
    set_count(j, "inodes", at->room.all_files);
    set_count(j, "keep_inodes", at->keep.files);
    json_set_bool(j, "low", at->low);
    set_count(j, "waiting", at->no_room);
    json_set_text(j, "waiting_path", at->no_room ? at->no_room_path : "");
    return j;
}

static void put_drift(struct json *j, const struct drifted_status *drift)
{
    struct json *paths = json_array();
    for (size_t i = 0; i < drift->shown; i++) {
        struct json *path = json_object();
        json_set_text(path, "path", drift->paths[i].path);
        json_set_text(path, "what", drift->paths[i].what);
        json_append_json(paths, path);
    }
    set_count(j, "drift", drift->count);
    set_count(j, "drift_healed", drift->healed);
    json_set_json(j, "drift_paths", paths);
}

static struct json *hook_json(const struct push_hook *hook)
{
    struct json *j = json_object();
    set_count(j, "failures", hook->failures);
    json_set_number(j, "since", (double)hook->since);
    json_set_text(j, "error", hook->text);
    return j;
}

static void put_connection(struct json *j, const struct roster_target *t)
{
    struct peer_status peer = {.state = PEER_DOWN};
    if (t->peer)
        peer_status(t->peer->peer, &peer);
    json_set_text(j, "connection", peer_state_name(peer.state));
    set_count(j, "away_ms", peer.down_ms);
}

static struct json *target_json(const struct roster_site *s, const struct roster_target *t)
{
    struct peer_site_status at = {.state = PEER_SITE_WAITING};
    struct json *j = json_object();
    if (s->site && t->peer)
        peer_site_status(t->peer->peer, s->site, &at);
    json_set_text(j, "name", t->name);
    json_set_text(j, "state", s->presence == DAEMON_SITE_GONE ? "gone" : at_state_name(&at));
    put_connection(j, t);
    set_count(j, "owed_paths", at.owed_paths);
    set_count(j, "owed_bytes", at.owed_bytes);
    set_count(j, "behind_ms", at.behind_ms);
    set_count(j, "failing", at.failing);
    json_set_bool(j, "first_copy", at.first_copy);
    set_count(j, "copied_bytes", at.copied_bytes);
    set_count(j, "unproven", at.unproven);
    json_set_text(j, "error", at.error);
    json_set_text(j, "error_path", at.error_path);
    json_set_number(j, "error_time", (double)at.error_time);
    struct json *units = piecemeal_json(s, t);
    json_set_bool(j, "piecemeal", json_count(units) > 0);
    json_set_json(j, "piecemeal_units", units);
    json_set_json(j, "too_large", left_json(s, t));
    json_set_json(j, "trash", trash_json(&at));
    put_drift(j, &at.drift);
    json_set_json(j, "hook", hook_json(&at.hook));
    json_set_json(j, "space", space_json(&at));
    return j;
}

static struct json *units_json(const struct site *site)
{
    struct unrest_wait *waits CLEANUP_FREE = mem_array(UNREST_SHOWN, sizeof *waits);
    struct json *units = json_array();
    size_t count = site ? unrest_waiting(site->unrest, waits, UNREST_SHOWN) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json *j = json_object();
        json_set_text(j, "unit", waits[i].unit);
        json_set_text(j, "waits", waits[i].why);
        json_append_json(units, j);
    }
    return units;
}

static struct json *site_json(struct daemon *d, const struct roster_site *s)
{
    struct scan_status *scan CLEANUP_FREE = mem_alloc(sizeof *scan);
    struct json *j = json_object(), *busy = json_array(), *targets = json_array();
    struct json *unreadable = json_array();
    bool failed = !s->site && s->error[0];
    scan->state = !failed ? SCAN_SCANNING : s->refused ? SCAN_HELD : SCAN_FAILED;
    if (s->site)
        scan_status(d->scan, s->site, scan);
    json_set_text(j, "name", s->options.name);
    json_set_name(j, "root", s->options.root, strlen(s->options.root));
    json_set_text(
        j, "state", s->presence == DAEMON_SITE_GONE ? "gone" : scan_state_name(scan->state));
    json_set_number(j, "gone_since", (double)s->gone_since);
    json_set_text(j, "error", failed ? s->error : scan->error);
    json_set_number(j, "error_time", failed ? (double)s->error_time : 0);
    set_count(j, "entries", scan->entries);
    set_count(j, "bytes", scan->bytes);
    set_count(j, "files", scan->files);
    set_count(j, "unproven", scan->unproven);
    set_count(j, "watches", scan->watches);
    set_count(j, "unwatched", scan->unwatched);
    set_count(j, "rescans", scan->rescans);
    set_count(j, "overflows", scan->overflows);
    set_count(j, "unreadable", scan->unreadable);
    for (size_t i = 0; i < scan->busy_count; i++)
        json_append_text(busy, scan->busy[i]);
    json_set_json(j, "busy", busy);
    json_set_json(j, "units", units_json(s->site));
    for (size_t i = 0; i < scan->unreadable_count; i++)
        json_append_text(unreadable, scan->unreadable_paths[i]);
    json_set_json(j, "unreadable_paths", unreadable);
    for (size_t i = 0; i < s->target_count; i++)
        json_append_json(targets, target_json(s, &s->targets[i]));
    json_set_json(j, "secondaries", targets);
    pausing_describe(d, false, s->options.name, j);
    return j;
}

/* NULL: it could not be looked at. */
static struct json *health_json(struct daemon *d, const struct role_site *s)
{
    struct daemon_health h;
    const struct daemon_idle idle = {.name = s->name,
        .root = s->root,
        .primary = s->primary,
        .fenced = s->fenced,
        .health_lag_ms = s->health_lag_ms,
        .health_orphaned_ms = s->health_orphaned_ms};
    if (!d->hooks.health || !d->hooks.health(d->hooks.ctx, &idle, &h))
        return NULL;
    struct json *j = json_object();
    json_set_bool(j, "healthy", h.up);
    json_set_text(j, "state", h.state);
    json_set_text(j, "why", h.why);
    set_count(j, "owed_paths", h.owed_paths);
    set_count(j, "behind_ms", h.behind_ms);
    return j;
}

/* Not pushed from here: who is the primary, and whether this host was it until lately. */
static struct json *idle_json(struct daemon *d, const struct role_site *s)
{
    struct json *j = json_object(), *health = health_json(d, s);
    json_set_text(j, "name", s->name);
    json_set_name(j, "root", s->root, strlen(s->root));
    json_set_text(j, "state", s->fenced ? "fenced" : "secondary");
    json_set_text(j, "primary", s->primary);
    json_set_text(j, "error", "");
    json_set_number(j, "error_time", 0);
    json_set_json(j, "busy", json_array());
    json_set_json(j, "secondaries", json_array());
    if (health)
        json_set_json(j, "health", health);
    return j;
}

static void count_level(struct daemon *d, const struct roster_peer *p, struct json *j)
{
    struct roster_site *s;
    struct peer_site_status at;
    uint64_t sites = 0, level = 0;
    TAILQ_FOREACH (s, &d->sites, order)
        for (size_t i = 0; i < s->target_count; i++) {
            if (strcmp(s->targets[i].name, p->name) != 0 || s->presence == DAEMON_SITE_GONE)
                continue;
            sites++;
            level += s->site && peer_site_status(p->peer, s->site, &at) && peer_site_is_level(&at);
        }
    set_count(j, "sites_level", level);
    set_count(j, "sites", sites);
}

static struct json *lacks_json(uint32_t lacks)
{
    struct json *a = json_array();
    if (lacks & CAP_LACKS_LANDLOCK)
        json_append_text(a, "landlock");
    if (lacks & CAP_LACKS_CALLS)
        json_append_text(a, "system-calls");
    if (lacks & CAP_LACKS_MOUNTS)
        json_append_text(a, "mounts");
    return a;
}

static struct json *peer_json(struct daemon *d, const struct roster_peer *p)
{
    struct peer_status status;
    struct json *j = json_object();
    peer_status(p->peer, &status);
    json_set_text(j, "name", p->name);
    json_set_text(j, "state", peer_state_name(status.state));
    json_set_text(j, "link", status.kind);
    json_set_text(j, "error", status.error);
    json_set_number(j, "error_time", (double)status.error_time);
    set_count(j, "retry_ms", status.retry_ms);
    json_set_text(j, "software", status.far.software);
    set_count(j, "protocol", status.far.version);
    set_count(j, "connections", status.connections);
    set_count(j, "bytes_sent", status.bytes_sent);
    set_count(j, "bytes_received", status.bytes_received);
    set_count(j, "batches", status.batches);
    set_count(j, "free_bytes", status.free_bytes);
    json_set_bool(j, "unconfined", status.unconfined);
    json_set_json(j, "sandbox_lacks", lacks_json(status.lacks));
    count_level(d, p, j);
    pausing_describe(d, true, p->name, j);
    return j;
}

struct json *status_json(struct daemon *d)
{
    struct json *j = json_object(), *peers = json_array(), *sites = json_array();
    struct roster_peer *p;
    struct roster_site *s;
    json_set_text(j, "host", d->self ? d->self : "");
    json_set_text(j, "version", MIRRORD_VERSION);
    json_set_bool(j, "ready", d->ready);
    TAILQ_FOREACH (p, &d->peers, order)
        json_append_json(peers, peer_json(d, p));
    TAILQ_FOREACH (s, &d->sites, order)
        json_append_json(sites, site_json(d, s));
    for (size_t i = 0; i < d->role_count; i++)
        if (d->roles[i].idle)
            json_append_json(sites, idle_json(d, &d->roles[i]));
    json_set_json(j, "secondaries", peers);
    json_set_json(j, "sites", sites);
    return j;
}

struct json *status_site_json(struct daemon *d, const char *name)
{
    const struct roster_site *s = roster_find(d, name);
    const struct role_site *role = NULL;
    for (size_t i = 0; i < d->role_count; i++)
        if (strcmp(d->roles[i].name, name) == 0)
            role = &d->roles[i];
    struct json *j = s ? site_json(d, s) : role ? idle_json(d, role) : json_object();
    json_set_text(j, "site", name);
    json_set_text(j, "host", d->self ? d->self : "");
    json_set_text(j, "version", MIRRORD_VERSION);
    json_set_bool(j, "ready", d->ready);
    json_set_text(j, "role", s ? "primary" : role && role->fenced ? "fenced" : "secondary");
    json_set_text(j, "primary", s && d->self ? d->self : role ? role->primary : "");
    return j;
}
