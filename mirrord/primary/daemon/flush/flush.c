/*
 * `flush`: requests that are answered when all that happened before is there. What that is for a
 * site flush_site.c knows.
 */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/flush/flush_impl.h"

enum {
    TICK_MS = 20,
    NOTHING_MS = 60000,
    TIMEOUT_MS = 60000, /* where the request names none */
    PATHS_MAX = 1024,
};

static void wait_free(struct daemon *d, struct flush_wait *w)
{
    TAILQ_REMOVE(&d->waits, w, order);
    for (size_t i = 0; i < w->site_count; i++)
        flush_site_free(&w->sites[i]);
    for (size_t i = 0; i < w->ask.path_count; i++)
        free((void *)w->ask.paths[i].data);
    free(w->ask.paths);
    free(w->sites);
    json_free(w->ask.hosts);
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

static int take_paths(struct flush_wait *w, const struct json *request, struct err *err)
{
    const struct json *paths = json_get(request, "paths");
    size_t count = json_count(paths);
    if (count > PATHS_MAX)
        return err_set(err, ERR_USAGE, "more than %d paths", PATHS_MAX);
    w->ask.paths = mem_array(count, sizeof *w->ask.paths);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_text_at(paths, i);
        if (!text || !path_valid(bytes_of(text)))
            return err_set(err, ERR_USAGE, "%s: not a path beneath the site's root",
                text ? text : "something else");
        w->ask.paths[w->ask.path_count++] = (struct bytes){mem_copy_string(text), strlen(text)};
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
            flush_site_begin(d, &w->ask, s, &w->sites[w->site_count++]);
    return 0;
}

struct flush_wait *flush_wait_new(
    struct daemon *d, const struct json *request, bool resync, struct err *err)
{
    struct flush_wait *w = mem_alloc(sizeof *w);
    double timeout = json_get_number(request, "timeout_ms", TIMEOUT_MS);
    w->ask.resync = resync;
    w->ask.all = json_get_bool(request, "all", false);
    w->ask.hook = json_get_bool(request, "hook", false);
    w->ask.brief = json_get_bool(request, "brief", false);
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
    struct flush_wait *w = flush_wait_new(d, request, false, &err);
    if (w)
        w->client = client;
    else
        control_fail(client, &err);
}

static void finish(struct daemon *d, struct flush_wait *w)
{
    struct json *reply = json_object(), *waiting = json_array();
    struct control_client *client = w->client;
    bool level = true, held = false;
    for (size_t i = 0; i < w->site_count; i++) {
        level &= flush_site_tell(&w->sites[i], &w->ask, waiting);
        held |= flush_site_is_held(&w->sites[i]);
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
        for (size_t i = 0; i < w->site_count; i++)
            over &= flush_site_step(d, &w->ask, &w->sites[i]);
        if (over || io_now_ms() >= w->deadline_ms)
            finish(d, w);
    }
    return TAILQ_EMPTY(&d->waits) ? NOTHING_MS : TICK_MS;
}
