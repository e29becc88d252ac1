/*
 * Requests that are answered later: `flush` (until all that happened before is there) and `resync`
 * (look through everything, compare, send). A flush of a site goes through stages: the scanner has
 * taken everything in; the peers have what was owed then; what was read meanwhile is proven; the
 * peers have what that may have brought up; and, where that is asked for, their commands after a
 * commit are through with it.
 */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"

enum {
    TICK_MS = 20,
    BLIP_MS = 5000, /* a secondary that was lost so short a time ago is probably back in a moment */
    NOTHING_MS = 60000,
    TIMEOUT_MS = 60000, /* where the request names none */
    PATHS_MAX = 1024,
};

enum stage {
    STAGE_OPEN,
    STAGE_SCAN,
    STAGE_REACH,
    STAGE_PROVE,
    STAGE_REACH_AGAIN,
    STAGE_TELL,
    STAGE_OVER
};

struct flush_target {
    char *name;
    uint64_t mark;
    enum { TARGET_WAITS, TARGET_HAS_IT, TARGET_AWAY, TARGET_REFUSES } state;
    bool held;     /* it refuses for safety */
    uint64_t tell; /* STAGE_TELL: peer_tell's number, until it is told; else 0 */
    char why[ERR_TEXT_MAX];
    char path[256];
};

struct flush_site {
    char *name;
    struct site *site; /* a reference; NULL: it is not open */
    enum stage stage;
    struct scan_flush *scan;
    struct flush_target *targets;
    size_t target_count;
    char why[ERR_TEXT_MAX]; /* it cannot be flushed; else empty */
    bool held;              /* for safety */
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX];
    size_t busy_count;
};

struct flush_wait {
    TAILQ_ENTRY(flush_wait) order;
    struct control_client *client; /* NULL: nobody waits (resync) */
    bool resync, all;
    bool hook;  /* the commands after a commit, too */
    bool brief; /* how secondaries are reached is not the client's to know */
    uint64_t deadline_ms;
    struct bytes *paths;
    size_t path_count;
    struct json *hosts; /* resync: names; empty: all */
    struct flush_site *sites;
    size_t site_count;
};

/* --- beginning and end --- */

static void free_flush_site(struct flush_site *f)
{
    scan_flush_free(f->scan);
    site_unref(f->site);
    for (size_t i = 0; i < f->target_count; i++)
        free(f->targets[i].name);
    free(f->targets);
    free(f->name);
}

static void wait_free(struct daemon *d, struct flush_wait *w)
{
    TAILQ_REMOVE(&d->waits, w, order);
    for (size_t i = 0; i < w->site_count; i++)
        free_flush_site(&w->sites[i]);
    for (size_t i = 0; i < w->path_count; i++)
        free((void *)w->paths[i].data);
    free(w->paths);
    free(w->sites);
    json_free(w->hosts);
    free(w);
}

void flush_gone(struct daemon *d, struct control_client *client)
{
    struct flush_wait *w, *next;
    for (w = TAILQ_FIRST(&d->waits); w; w = next) {
        next = TAILQ_NEXT(w, order);
        if (w->client == client)
            wait_free(d, w);
    }
}

void flush_free(struct daemon *d)
{
    while (!TAILQ_EMPTY(&d->waits))
        wait_free(d, TAILQ_FIRST(&d->waits));
}

/* Once it is open; where it cannot be opened, that is it. */
static void begin_scan(
    struct daemon *d, const struct flush_wait *w, const struct roster_site *s, struct flush_site *f)
{
    f->held = s->refused;
    if (!s->site && s->error[0]) {
        snprintf(f->why, sizeof f->why, "%s", s->error);
        f->stage = STAGE_OVER;
    }
    if (!s->site)
        return;
    f->site = site_ref(s->site);
    f->stage = STAGE_SCAN;
    f->scan = scan_flush_new(
        d->scan, s->site, w->paths, w->path_count, w->resync ? SCAN_FLUSH_RESCAN : 0);
}

static void begin_site(
    struct daemon *d, struct flush_wait *w, const struct roster_site *s, struct flush_site *f)
{
    f->name = mem_copy_string(s->options.name);
    f->target_count = s->target_count;
    f->targets = mem_array(s->target_count, sizeof *f->targets);
    for (size_t i = 0; i < s->target_count; i++)
        f->targets[i].name = mem_copy_string(s->targets[i].name);
    begin_scan(d, w, s, f);
}

static int take_paths(struct flush_wait *w, const struct json *request, struct err *err)
{
    const struct json *paths = json_get(request, "paths");
    size_t count = json_count(paths);
    if (count > PATHS_MAX)
        return err_set(err, ERR_USAGE, "more than %d paths", PATHS_MAX);
    w->paths = mem_array(count, sizeof *w->paths);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_text_at(paths, i);
        if (!text || !path_valid(bytes_of(text)))
            return err_set(err, ERR_USAGE, "%s: not a path beneath the site's root",
                text ? text : "something else");
        w->paths[w->path_count++] = (struct bytes){mem_copy_string(text), strlen(text)};
    }
    return 0;
}

static int take_sites(
    struct daemon *d, struct flush_wait *w, const struct json *request, struct err *err)
{
    const char *name = json_get_text(request, "site", NULL);
    struct roster_site *s;
    size_t count = 0;
    if (name && !roster_find(d, name))
        return roles_not_ours(d, name, err);
    TAILQ_FOREACH (s, &d->sites, order)
        count++;
    w->sites = mem_array(count, sizeof *w->sites);
    TAILQ_FOREACH (s, &d->sites, order)
        if (name ? strcmp(name, s->options.name) == 0 : s->presence != DAEMON_SITE_GONE)
            begin_site(d, w, s, &w->sites[w->site_count++]);
    return 0;
}

/* NULL with err. */
static struct flush_wait *wait_new(
    struct daemon *d, const struct json *request, bool resync, struct err *err)
{
    struct flush_wait *w = mem_alloc(sizeof *w);
    double timeout = json_get_number(request, "timeout_ms", TIMEOUT_MS);
    w->resync = resync;
    w->all = json_get_bool(request, "all", false);
    w->hook = json_get_bool(request, "hook", false);
    w->brief = json_get_bool(request, "brief", false);
    w->deadline_ms = resync            ? UINT64_MAX
                     : timeout <= 0    ? io_now_ms()
                     : timeout >= 1e15 ? UINT64_MAX
                                       : io_now_ms() + (uint64_t)timeout;
    TAILQ_INSERT_TAIL(&d->waits, w, order);
    if (take_paths(w, request, err) < 0 || take_sites(d, w, request, err) < 0) {
        wait_free(d, w);
        return NULL;
    }
    return w;
}

void flush_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    struct flush_wait *w = wait_new(d, request, false, &err);
    if (w)
        w->client = client;
    else
        control_fail(client, &err);
}

/* What is gone is not sent, whoever wants it so. */
static int check_there(struct daemon *d, const char *name, struct err *err)
{
    const struct roster_site *s = roster_find(d, name);
    return s && s->presence ? err_set(err, ERR_REFUSED, "%s: %s", name, s->error) : 0;
}

static int check_hosts(struct daemon *d, const struct json *hosts, struct err *err)
{
    for (size_t i = 0; i < json_count(hosts); i++) {
        const char *name = json_text_at(hosts, i);
        struct roster_peer *p;
        TAILQ_FOREACH (p, &d->peers, order)
            if (name && strcmp(p->name, name) == 0)
                break;
        if (!p)
            return err_set(err, ERR_USAGE, "%s is not a secondary of this host",
                name ? name : "something else");
    }
    return 0;
}

static struct json *copy_texts(const struct json *array)
{
    struct json *copy = json_array();
    for (size_t i = 0; i < json_count(array); i++)
        if (json_text_at(array, i))
            json_append_text(copy, json_text_at(array, i));
    return copy;
}

static void force_sites(struct daemon *d, const struct flush_wait *w)
{
    for (size_t i = 0; i < w->site_count; i++) {
        struct roster_site *s = roster_find(d, w->sites[i].name);
        if (s)
            roster_force(d, s, w->hosts);
    }
}

static void adopt_sites(struct daemon *d, const struct flush_wait *w)
{
    for (size_t i = 0; i < w->site_count; i++) {
        struct roster_site *s = roster_find(d, w->sites[i].name);
        if (s)
            roster_adopt(s, w->hosts);
    }
}

void resync_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    struct flush_wait *w = NULL;
    if (check_there(d, json_get_text(request, "site", ""), &err) == 0 &&
        check_hosts(d, json_get(request, "hosts"), &err) == 0)
        w = wait_new(d, request, true, &err);
    if (!w) {
        control_fail(client, &err);
        return;
    }
    w->hosts = copy_texts(json_get(request, "hosts"));
    if (json_get_bool(request, "force", false))
        force_sites(d, w);
    else if (json_get_bool(request, "adopt", false))
        adopt_sites(d, w);
    struct json *reply = json_object();
    json_set_bool(reply, "started", true);
    control_reply(client, reply);
    json_free(reply);
}

/* --- progress --- */

static bool is_meant(const struct flush_wait *w, const char *host)
{
    for (size_t i = 0; i < json_count(w->hosts); i++)
        if (strcmp(json_text_at(w->hosts, i), host) == 0)
            return true;
    return json_count(w->hosts) == 0;
}

static struct peer *peer_of(const struct roster_site *s, const char *name)
{
    for (size_t i = 0; i < s->target_count; i++)
        if (s->targets[i].peer && strcmp(s->targets[i].name, name) == 0)
            return s->targets[i].peer->peer;
    return NULL;
}

static void begin_reaching(
    const struct flush_wait *w, struct flush_site *f, const struct roster_site *s)
{
    for (size_t i = 0; i < f->target_count; i++) {
        struct peer *p = peer_of(s, f->targets[i].name);
        if (p && w->resync && is_meant(w, f->targets[i].name))
            peer_compare(p, f->site);
        if (p)
            f->targets[i].mark = peer_mark(p);
    }
}

/* A unit that does not rest is what it waits for, most of the time. */
static void say_unit(struct flush_target *t, const struct site *site)
{
    struct unrest_wait wait;
    if (unrest_waiting(site->unrest, &wait, 1) > 0)
        snprintf(t->why, sizeof t->why, "the unit %s waits: %s", wait.unit, wait.why);
}

static void say(struct flush_target *t, const struct peer_site_status *at)
{
    static const char *const words[] = {
        [PEER_SITE_WAITING] = "not opened yet",
        [PEER_SITE_COMPARING] = "being compared",
        [PEER_SITE_PUSHING] = "being sent",
        [PEER_SITE_LEVEL] = "being sent",
        [PEER_SITE_HELD] = "held",
        [PEER_SITE_FAILED] = "cannot be opened",
        [PEER_SITE_FENCED] = "fenced",
        [PEER_SITE_PAUSED] = "paused",
    };
    snprintf(
        t->why, sizeof t->why, "%s%s%s", words[at->state], at->error[0] ? ": " : "", at->error);
    memcpy(t->path, at->error_path, sizeof t->path);
}

/* Why has the peer not got it, and is there any sense in waiting? */
static void judge(
    const struct flush_wait *w, struct flush_target *t, struct peer *p, const struct site *site)
{
    struct peer_status peer;
    struct peer_site_status at = {.state = PEER_SITE_WAITING};
    peer_status(p, &peer);
    peer_site_status(p, site, &at);
    say(t, &at);
    if (at.state == PEER_SITE_PUSHING && !at.error[0])
        say_unit(t, site);
    if (at.no_room && !at.error[0]) {
        snprintf(t->why, sizeof t->why, "waits for room on its disk (min-free)");
        memcpy(t->path, at.no_room_path, sizeof t->path);
    }
    t->state = TARGET_WAITS;
    if (peer.state != PEER_UP) {
        bool more = peer.error[0] && !w->brief;
        snprintf(t->why, sizeof t->why, "it is down%s%s", more ? ": " : "", more ? peer.error : "");
        t->path[0] = '\0';
        if (peer.reached_once && peer.down_ms >= BLIP_MS && !w->all)
            t->state = TARGET_AWAY;
    } else if (at.state >= PEER_SITE_HELD) {
        t->state = TARGET_REFUSES;
        t->held = at.state == PEER_SITE_HELD || at.state == PEER_SITE_FENCED;
    }
}

static void reach(const struct flush_wait *w, struct flush_site *f, struct flush_target *t,
    const struct roster_site *s)
{
    struct peer *p = peer_of(s, t->name);
    int reached = p ? peer_reached(p, f->site, t->mark, w->paths, w->path_count) : -1;
    if (reached > 0)
        t->state = TARGET_HAS_IT;
    else if (p)
        judge(w, t, p, f->site);
    else
        snprintf(t->why, sizeof t->why, "it is being changed");
}

static bool all_reached(
    const struct flush_wait *w, struct flush_site *f, const struct roster_site *s)
{
    bool all = true;
    for (size_t i = 0; i < f->target_count; i++) {
        reach(w, f, &f->targets[i], s);
        all &= f->targets[i].state != TARGET_WAITS;
    }
    return all;
}

static void begin_telling(struct flush_site *f, const struct roster_site *s)
{
    for (size_t i = 0; i < f->target_count; i++) {
        struct flush_target *t = &f->targets[i];
        struct peer *p = t->state == TARGET_HAS_IT ? peer_of(s, t->name) : NULL;
        t->tell = p ? peer_tell(p, f->site) : 0;
    }
}

/* Why has the command there not run for it? */
static void judge_telling(
    const struct flush_wait *w, struct flush_target *t, struct peer *p, const struct site *site)
{
    struct peer_status peer;
    struct peer_site_status at = {0};
    peer_status(p, &peer);
    peer_site_status(p, site, &at);
    if (peer.state != PEER_UP) {
        snprintf(t->why, sizeof t->why, "it has it, and went down before its on-commit had run");
        if (peer.down_ms >= BLIP_MS && !w->all) {
            t->state = TARGET_AWAY;
            t->tell = 0;
        }
    } else if (at.hook.failures) {
        bool more = !w->brief;
        snprintf(t->why, sizeof t->why, "it has it, but its on-commit fails%s%.400s",
            more ? ": " : "", more ? at.hook.text : "");
    } else
        snprintf(t->why, sizeof t->why, "it has it, but its on-commit has not run yet");
}

static bool all_told(const struct flush_wait *w, struct flush_site *f, const struct roster_site *s)
{
    bool all = true;
    for (size_t i = 0; i < f->target_count; i++) {
        struct flush_target *t = &f->targets[i];
        struct peer *p = t->tell ? peer_of(s, t->name) : NULL;
        if (t->tell && (!p || peer_told(p, f->site, t->tell)))
            t->tell = 0;
        if (t->tell)
            judge_telling(w, t, p, f->site);
        all &= !t->tell;
    }
    return all;
}

/* The scanner's part is done: true, with its outcome. */
static bool scan_is_done(struct flush_site *f)
{
    struct err err;
    int done = scan_flush_poll(f->scan, &err);
    if (done == SCAN_FLUSH_WAITING)
        return false;
    if (done == SCAN_FLUSH_FAILED) {
        memcpy(f->why, err.text, sizeof f->why);
        f->stage = STAGE_OVER;
    }
    f->busy_count = scan_flush_busy(f->scan, f->busy, SCAN_BUSY_MAX);
    scan_flush_free(f->scan);
    f->scan = NULL;
    return true;
}

static void step_site(struct daemon *d, const struct flush_wait *w, struct flush_site *f)
{
    struct roster_site *s = f->site ? roster_of(d, f->site) : roster_find(d, f->name);
    if (f->stage == STAGE_OPEN && s)
        begin_scan(d, w, s, f);
    if (f->stage != STAGE_OVER && !s) {
        const struct roster_site *now = roster_find(d, f->name);
        snprintf(f->why, sizeof f->why, "%s",
            now && now->presence ? now->error : "it is no longer mirrored from here");
        f->stage = STAGE_OVER;
    }
    if ((f->stage == STAGE_SCAN || f->stage == STAGE_PROVE) && scan_is_done(f)) {
        if (f->stage == STAGE_OVER)
            return;
        begin_reaching(w, f, s);
        f->stage = w->resync ? STAGE_OVER : f->stage + 1;
    }
    if (f->stage == STAGE_TELL && all_told(w, f, s))
        f->stage = STAGE_OVER;
    if ((f->stage != STAGE_REACH && f->stage != STAGE_REACH_AGAIN) || !all_reached(w, f, s))
        return;
    if (f->stage++ == STAGE_REACH)
        f->scan = scan_flush_new(d->scan, f->site, w->paths, w->path_count, SCAN_FLUSH_TAKEN);
    else if (w->hook)
        begin_telling(f, s);
    else
        f->stage = STAGE_OVER;
}

/* --- the answer --- */

static void add_waiting(
    struct json *waiting, const char *peer, const char *site, const char *path, const char *why)
{
    struct json *j = json_object();
    json_set_text(j, "peer", peer);
    json_set_text(j, "site", site);
    if (path && *path)
        json_set_text(j, "path", path);
    json_set_text(j, "why", why);
    json_append_json(waiting, j);
}

/* Names what has not been reached; is all else level? */
static bool add_site(const struct flush_wait *w, const struct flush_site *f, struct json *waiting)
{
    bool level = f->busy_count == 0;
    for (size_t i = 0; i < f->busy_count; i++)
        add_waiting(waiting, "", f->name, f->busy[i], "it is open for writing");
    if (f->why[0]) {
        add_waiting(waiting, "", f->name, NULL, f->why);
        return false;
    }
    if (f->stage == STAGE_OPEN || f->stage == STAGE_SCAN || f->stage == STAGE_PROVE) {
        add_waiting(waiting, "", f->name, NULL,
            f->stage == STAGE_OPEN ? "it is not open yet" : "still being looked through");
        return false;
    }
    for (size_t i = 0; i < f->target_count; i++) {
        const struct flush_target *t = &f->targets[i];
        if (t->state == TARGET_HAS_IT && !t->tell)
            continue;
        add_waiting(waiting, t->name, f->name, t->path, t->why);
        level &= t->state == TARGET_AWAY && !w->all;
    }
    return level;
}

static bool is_held(const struct flush_site *f)
{
    bool held = f->held;
    for (size_t i = 0; i < f->target_count; i++)
        held |= f->targets[i].state == TARGET_REFUSES && f->targets[i].held;
    return held;
}

static void finish(struct daemon *d, struct flush_wait *w)
{
    struct json *reply = json_object(), *waiting = json_array();
    struct control_client *client = w->client;
    bool level = true, held = false;
    for (size_t i = 0; i < w->site_count; i++) {
        level &= add_site(w, &w->sites[i], waiting);
        held |= is_held(&w->sites[i]);
    }
    json_set_bool(reply, "level", level);
    json_set_bool(reply, "held", held);
    json_set_json(reply, "waiting", waiting);
    wait_free(d, w);
    if (client)
        control_reply(client, reply);
    json_free(reply);
}

unsigned flush_tick(struct daemon *d)
{
    struct flush_wait *w, *next;
    for (w = TAILQ_FIRST(&d->waits); w; w = next) {
        bool over = true;
        next = TAILQ_NEXT(w, order);
        for (size_t i = 0; i < w->site_count; i++) {
            step_site(d, w, &w->sites[i]);
            over &= w->sites[i].stage == STAGE_OVER;
        }
        if (over || io_now_ms() >= w->deadline_ms)
            finish(d, w);
    }
    return TAILQ_EMPTY(&d->waits) ? NOTHING_MS : TICK_MS;
}
