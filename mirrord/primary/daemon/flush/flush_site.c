/* A site's stages; see flush_site.h. Each step looks again; nothing here waits. */
#include "primary/daemon/flush/flush_site.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void flush_site_free(struct flush_site *f)
{
    scan_flush_free(f->scan);
    site_unref(f->site);
    for (size_t i = 0; i < f->target_count; i++)
        free(f->targets[i].name);
    free(f->targets);
    free(f->name);
}

/* Once it is open; where it cannot be opened, that is it. */
static void begin_scan(
    struct daemon *d, const struct flush_ask *a, const struct roster_site *s, struct flush_site *f)
{
    f->held = s->refused;
    if (!s->site && s->error[0]) {
        snprintf(f->why, sizeof f->why, "%s", s->error);
        f->stage = FLUSH_OVER;
    }
    if (!s->site)
        return;
    f->site = site_ref(s->site);
    f->stage = FLUSH_SCAN;
    f->scan = scan_flush_new(
        d->scan, s->site, a->paths, a->path_count, a->resync ? SCAN_FLUSH_RESCAN : 0);
}

void flush_site_begin(
    struct daemon *d, const struct flush_ask *a, const struct roster_site *s, struct flush_site *f)
{
    f->name = mem_copy_string(s->options.name);
    f->target_count = s->target_count;
    f->targets = mem_array(s->target_count, sizeof *f->targets);
    for (size_t i = 0; i < s->target_count; i++)
        f->targets[i].name = mem_copy_string(s->targets[i].name);
    begin_scan(d, a, s, f);
}

static struct peer *peer_of(const struct roster_site *s, const char *name)
{
    for (size_t i = 0; i < s->target_count; i++)
        if (s->targets[i].peer && strcmp(s->targets[i].name, name) == 0)
            return s->targets[i].peer->peer;
    return NULL;
}

static void begin_reaching(
    const struct flush_ask *a, struct flush_site *f, const struct roster_site *s)
{
    for (size_t i = 0; i < f->target_count; i++)
        flush_target_begin(&f->targets[i], a, peer_of(s, f->targets[i].name), f->site);
}

static bool all_reached(
    const struct flush_ask *a, struct flush_site *f, const struct roster_site *s)
{
    bool all = true;
    for (size_t i = 0; i < f->target_count; i++) {
        struct flush_target *t = &f->targets[i];
        all &= flush_target_reach(t, a, peer_of(s, t->name), f->site);
    }
    return all;
}

static void begin_telling(struct flush_site *f, const struct roster_site *s)
{
    for (size_t i = 0; i < f->target_count; i++)
        flush_target_tell(&f->targets[i], peer_of(s, f->targets[i].name), f->site);
}

static bool all_told(const struct flush_ask *a, struct flush_site *f, const struct roster_site *s)
{
    bool all = true;
    for (size_t i = 0; i < f->target_count; i++) {
        struct flush_target *t = &f->targets[i];
        all &= flush_target_told(t, a, peer_of(s, t->name), f->site);
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
        f->stage = FLUSH_OVER;
    }
    f->busy_count = scan_flush_busy(f->scan, f->busy, SCAN_BUSY_MAX);
    scan_flush_free(f->scan);
    f->scan = NULL;
    return true;
}

/* Goes on to the next stage, if this one is through. */
static bool step_stage(
    struct daemon *d, const struct flush_ask *a, struct flush_site *f, const struct roster_site *s)
{
    switch (f->stage) {
    case FLUSH_OPEN: begin_scan(d, a, s, f); return f->stage != FLUSH_OPEN;
    case FLUSH_SCAN:
    case FLUSH_PROVE:
        if (!scan_is_done(f) || f->stage == FLUSH_OVER)
            return false;
        begin_reaching(a, f, s);
        f->stage = a->resync ? FLUSH_OVER : f->stage + 1;
        return true;
    case FLUSH_REACH:
        if (!all_reached(a, f, s))
            return false;
        f->scan = scan_flush_new(d->scan, f->site, a->paths, a->path_count, SCAN_FLUSH_TAKEN);
        f->stage = FLUSH_PROVE;
        return true;
    case FLUSH_REACH_AGAIN:
        if (!all_reached(a, f, s))
            return false;
        if (a->hook)
            begin_telling(f, s);
        f->stage = a->hook ? FLUSH_TELL : FLUSH_OVER;
        return true;
    case FLUSH_TELL:
        if (!all_told(a, f, s))
            return false;
        f->stage = FLUSH_OVER;
        return true;
    case FLUSH_OVER: break;
    }
    return false;
}

/* It is not in the plan any more, or was closed and is another one. */
static void give_up(struct daemon *d, struct flush_site *f)
{
    const struct roster_site *now = roster_find(d, f->name);
    snprintf(f->why, sizeof f->why, "%s",
        now && now->presence ? now->error : "it is no longer mirrored from here");
    f->stage = FLUSH_OVER;
}

bool flush_site_step(struct daemon *d, const struct flush_ask *a, struct flush_site *f)
{
    const struct roster_site *s = f->site ? roster_of(d, f->site) : roster_find(d, f->name);
    if (f->stage != FLUSH_OVER && !s)
        give_up(d, f);
    while (f->stage != FLUSH_OVER && step_stage(d, a, f, s))
        continue;
    return f->stage == FLUSH_OVER;
}

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

bool flush_site_tell(const struct flush_site *f, const struct flush_ask *a, struct json *waiting)
{
    bool level = f->busy_count == 0;
    for (size_t i = 0; i < f->busy_count; i++)
        add_waiting(waiting, "", f->name, f->busy[i], "it is open for writing");
    if (f->why[0]) {
        add_waiting(waiting, "", f->name, NULL, f->why);
        return false;
    }
    if (f->stage == FLUSH_OPEN || f->stage == FLUSH_SCAN || f->stage == FLUSH_PROVE) {
        add_waiting(waiting, "", f->name, NULL,
            f->stage == FLUSH_OPEN ? "it is not open yet" : "still being looked through");
        return false;
    }
    for (size_t i = 0; i < f->target_count; i++) {
        const struct flush_target *t = &f->targets[i];
        if (t->state == FLUSH_HAS_IT && !t->tell)
            continue;
        add_waiting(waiting, t->name, f->name, t->path, t->why);
        level &= t->state == FLUSH_AWAY && !a->all;
    }
    return level;
}

bool flush_site_is_held(const struct flush_site *f)
{
    bool held = f->held;
    for (size_t i = 0; i < f->target_count; i++)
        held |= f->targets[i].state == FLUSH_REFUSES && f->targets[i].held;
    return held;
}
