/* `pause` and `resume`: the operator's requests, and what they mean for sites and peers. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/pauses.h"

enum {
    NOTHING_MS = 60000,
    LONGEST_S = 10 * 366 * 24 * 3600, /* longer is for ever */
};

/* --- in force --- */

void pausing_site(struct daemon *d, const struct roster_site *s)
{
    if (s->site)
        s->site->paused = pauses_find(d->pauses, PAUSE_SITE, s->options.name) != NULL;
}

void pausing_peer(struct daemon *d, const struct roster_peer *p)
{
    peer_pause(p->peer, pauses_find(d->pauses, PAUSE_HOST, p->name) != NULL);
}

static void put_in_force(struct daemon *d)
{
    const struct roster_site *s;
    const struct roster_peer *p;
    TAILQ_FOREACH (s, &d->sites, order)
        pausing_site(d, s);
    TAILQ_FOREACH (p, &d->peers, order) {
        pausing_peer(d, p);
        peer_wake(p->peer);
    }
}

unsigned pausing_tick(struct daemon *d)
{
    int64_t now = time(NULL), next;
    if (pauses_expire(d->pauses, now, &next)) {
        log_info("a pause is over");
        put_in_force(d);
    }
    return next - now < NOTHING_MS / 1000 ? (unsigned)(next - now) * 1000 : NOTHING_MS;
}

/* --- requests --- */

/* "example.com" or "web2", the site first; "web2:" is the host. */
static int find_named(struct daemon *d, const char *operand, enum pause_kind *kind,
    char name[PAUSE_NAME_MAX + 1], struct err *err)
{
    const struct roster_peer *p;
    size_t len = strlen(operand);
    bool colon = len > 0 && operand[len - 1] == ':';
    snprintf(name, PAUSE_NAME_MAX + 1, "%.*s", (int)(len - colon), operand);
    *kind = PAUSE_SITE;
    if (!colon && roster_find(d, name))
        return 0;
    *kind = PAUSE_HOST;
    TAILQ_FOREACH (p, &d->peers, order)
        if (strcmp(p->name, name) == 0)
            return 0;
    return roles_not_ours(d, name, err);
}

static void answer(struct control_client *client, enum pause_kind kind, bool was)
{
    struct json *reply = json_object();
    json_set_text(reply, "kind", kind == PAUSE_HOST ? "host" : "site");
    json_set_bool(reply, "was_paused", was);
    control_reply(client, reply);
    json_free(reply);
}

void pause_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    enum pause_kind kind;
    char name[PAUSE_NAME_MAX + 1];
    double seconds = json_get_number(request, "for_s", 0);
    int64_t until = seconds >= 1 && seconds < LONGEST_S ? time(NULL) + (int64_t)seconds : 0;
    const char *reason = json_get_text(request, "reason", "");
    int r = find_named(d, json_get_text(request, "name", ""), &kind, name, &err);
    bool was = r == 0 && pauses_find(d->pauses, kind, name);
    if (r < 0 || pauses_set(d->pauses, kind, name, until, reason, &err) < 0) {
        control_fail(client, &err);
        return;
    }
    log_info("%s: paused%s%s", name, *reason ? ": " : "", QUOTED(reason, strlen(reason)));
    put_in_force(d);
    answer(client, kind, was);
}

/* Also what the configuration does not have any more. */
void resume_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    const char *operand = json_get_text(request, "name", "");
    char *name CLEANUP_FREE = mem_copy_string(operand);
    size_t len = strlen(name);
    bool colon = len > 0 && name[len - 1] == ':';
    name[len - colon] = '\0';
    bool site = !colon && pauses_find(d->pauses, PAUSE_SITE, name);
    enum pause_kind kind = site ? PAUSE_SITE : PAUSE_HOST;
    int r = pauses_end(d->pauses, kind, name, &err);
    if (r == 1 && find_named(d, operand, &kind, (char[PAUSE_NAME_MAX + 1]){0}, &err) < 0)
        r = -1; /* no such name: rather an error than "was not paused" */
    if (r < 0) {
        control_fail(client, &err);
        return;
    }
    if (r == 0)
        log_info("%s: resumed", name);
    put_in_force(d);
    answer(client, kind, r == 0);
}

/* --- for status --- */

void pausing_describe(const struct daemon *d, bool host, const char *name, struct json *to)
{
    const struct pause *p = pauses_find(d->pauses, host ? PAUSE_HOST : PAUSE_SITE, name);
    json_set_bool(to, "paused", p != NULL);
    if (!p)
        return;
    json_set_text(to, "pause_reason", p->reason);
    json_set_number(to, "paused_since", (double)p->since);
    json_set_number(to, "paused_until", (double)p->until);
}
