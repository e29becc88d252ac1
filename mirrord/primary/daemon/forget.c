/*
 * `forget`: an operator's word that a site which is gone stays so. Its state here goes, and nothing
 * is known of it any more; what becomes of its copies is somebody else's (command/forget.c). The
 * answer waits until the last peer has let go of the site.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/pauses.h"

enum {
    TICK_MS = 20,
    NOTHING_MS = 60000,
};

struct forget_wait {
    TAILQ_ENTRY(forget_wait) order;
    struct control_client *client;
    char *name;
};

static void wait_free(struct daemon *d, struct forget_wait *w)
{
    TAILQ_REMOVE(&d->forgets, w, order);
    free(w->name);
    free(w);
}

void forget_free(struct daemon *d)
{
    while (!TAILQ_EMPTY(&d->forgets))
        wait_free(d, TAILQ_FIRST(&d->forgets));
}

void forget_gone(struct daemon *d, struct control_client *client)
{
    struct forget_wait *w, *next;
    for (w = TAILQ_FIRST(&d->forgets); w; w = next) {
        next = TAILQ_NEXT(w, order);
        if (w->client == client)
            wait_free(d, w);
    }
}

/* NULL with err: it is not to be forgotten. */
static const struct roster_site *find(struct daemon *d, const char *name, struct err *err)
{
    const struct roster_site *s = roster_find(d, name);
    if (!s)
        roles_not_ours(d, name, err);
    else if (!s->presence)
        err_set(err, ERR_USAGE,
            "%s is not gone: only what a glob matched and is not there any more is forgotten; to "
            "end "
            "the mirroring of another one, take it out of the configuration and mirrord reload",
            name);
    return s && s->presence ? s : NULL;
}

void forget_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    const char *name = json_get_text(request, "site", "");
    if (!find(d, name, &err)) {
        control_fail(client, &err);
        return;
    }
    struct forget_wait *w = mem_alloc(sizeof *w);
    *w = (struct forget_wait){.client = client, .name = mem_copy_string(name)};
    TAILQ_INSERT_TAIL(&d->forgets, w, order);
}

static int forget(struct daemon *d, const struct roster_site *s, struct err *err)
{
    struct err ignored;
    char *name CLEANUP_FREE = mem_copy_string(s->options.name);
    if (state_forget(d->state_dir, s->options.root, err) != 0 ||
        d->hooks.forget(d->hooks.ctx, d, name, err) < 0)
        return -1;
    pauses_end(d->pauses, PAUSE_SITE, name, &ignored);
    log_info("%s: forgotten", name);
    return 0;
}

static void answer(struct control_client *client, int result, const struct err *err)
{
    struct json *reply = json_object();
    json_set_bool(reply, "forgotten", true);
    if (result < 0)
        control_fail(client, err);
    else
        control_reply(client, reply);
    json_free(reply);
}

unsigned forget_tick(struct daemon *d)
{
    struct forget_wait *w, *next;
    for (w = TAILQ_FIRST(&d->forgets); w; w = next) {
        struct err err;
        next = TAILQ_NEXT(w, order);
        const struct roster_site *s = find(d, w->name, &err);
        if (s && roster_is_leaving(d, s))
            continue;
        answer(w->client, s ? forget(d, s, &err) : -1, &err);
        wait_free(d, w);
    }
    return TAILQ_EMPTY(&d->forgets) ? NOTHING_MS : TICK_MS;
}
