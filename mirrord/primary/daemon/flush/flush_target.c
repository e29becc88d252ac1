/* How one secondary of a flush is; see flush_target.h. */
#include "primary/daemon/flush/flush_target.h"

#include <stdio.h>
#include <string.h>

#include "primary/unrest.h"

enum { BLIP_MS = 5000 }; /* one that was lost so short a time ago is probably back in a moment */

static bool is_meant(const struct flush_ask *a, const char *host)
{
    for (size_t i = 0; i < json_count(a->hosts); i++)
        if (strcmp(json_text_at(a->hosts, i), host) == 0)
            return true;
    return json_count(a->hosts) == 0;
}

void flush_target_begin(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site)
{
    if (!p)
        return;
    if (a->resync && is_meant(a, t->name))
        peer_compare(p, site);
    t->mark = peer_mark(p);
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
    const struct flush_ask *a, struct flush_target *t, struct peer *p, const struct site *site)
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
    t->state = FLUSH_WAITS;
    if (peer.state != PEER_UP) {
        bool more = peer.error[0] && !a->brief;
        snprintf(t->why, sizeof t->why, "it is down%s%s", more ? ": " : "", more ? peer.error : "");
        t->path[0] = '\0';
        if (peer.reached_once && peer.down_ms >= BLIP_MS && !a->all)
            t->state = FLUSH_AWAY;
    } else if (at.state >= PEER_SITE_HELD) {
        t->state = FLUSH_REFUSES;
        t->held = at.state == PEER_SITE_HELD || at.state == PEER_SITE_FENCED;
    }
}

bool flush_target_reach(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site)
{
    int reached = p ? peer_reached(p, site, t->mark, a->paths, a->path_count) : -1;
    if (reached > 0)
        t->state = FLUSH_HAS_IT;
    else if (p)
        judge(a, t, p, site);
    else
        snprintf(t->why, sizeof t->why, "it is being changed");
    return t->state != FLUSH_WAITS;
}

void flush_target_tell(struct flush_target *t, struct peer *p, struct site *site)
{
    t->tell = p && t->state == FLUSH_HAS_IT ? peer_tell(p, site) : 0;
}

/* Why has the command there not run for it? */
static void judge_telling(
    const struct flush_ask *a, struct flush_target *t, struct peer *p, const struct site *site)
{
    struct peer_status peer;
    struct peer_site_status at = {0};
    peer_status(p, &peer);
    peer_site_status(p, site, &at);
    if (peer.state != PEER_UP) {
        snprintf(t->why, sizeof t->why, "it has it, and went down before its on-commit had run");
        if (peer.down_ms >= BLIP_MS && !a->all) {
            t->state = FLUSH_AWAY;
            t->tell = 0;
        }
    } else if (at.hook.failures) {
        bool more = !a->brief;
        snprintf(t->why, sizeof t->why, "it has it, but its on-commit fails%s%.400s",
            more ? ": " : "", more ? at.hook.text : "");
    } else
        snprintf(t->why, sizeof t->why, "it has it, but its on-commit has not run yet");
}

bool flush_target_told(
    struct flush_target *t, const struct flush_ask *a, struct peer *p, struct site *site)
{
    if (t->tell && (!p || peer_told(p, site, t->tell)))
        t->tell = 0;
    if (t->tell)
        judge_telling(a, t, p, site);
    return !t->tell;
}
