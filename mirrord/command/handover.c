/*
 * `mirrord handover SITE HOST`, on the primary: the planned change. Flush; the intent, durable;
 * what was written since, flushed; this host fences itself; HOST raises the epoch. From the fence
 * on nobody is the primary until HOST has answered: it is asked until it does, and the command,
 * run again, goes on from there.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/claim.h"
#include "command/command.h"
#include "command/control_client.h"
#include "command/options.h"
#include "command/role.h"
#include "tree/state.h"

#define INTENT_FILE "handover"

enum { FLUSH_MS = 60000, ASK_AGAIN_MS = 500, RELOAD_MS = 30000 };

struct handover {
    const struct config *c;
    const struct config_site *s;
    const char *state_dir, *control, *to;
    unsigned timeout; /* seconds */
    int dir;          /* the root's state */
};

static int ask_daemon(struct handover *h, struct json *request, struct json **reply,
    unsigned timeout_ms, struct err *err)
{
    int r = control_client_ask(h->control, request, timeout_ms, reply, err);
    json_free(request);
    return r;
}

/* Everything that happened before is at the host that takes over. */
static int flush(struct handover *h, struct err *err)
{
    struct json *request = json_object(), *reply = NULL;
    json_set_text(request, "do", "flush");
    json_set_text(request, "site", h->s->name);
    json_set_number(request, "timeout_ms", FLUSH_MS);
    if (ask_daemon(h, request, &reply, 2 * FLUSH_MS, err) < 0)
        return -1;
    const struct json *waiting = json_get(reply, "waiting");
    int bad = 0;
    for (size_t i = 0; i < json_count(waiting) && !bad; i++) {
        const struct json *w = json_at(waiting, i);
        const char *peer = json_get_text(w, "peer", "");
        if (!*peer || strcmp(peer, h->to) == 0)
            bad = err_set(err, ERR_BEHIND, "%s on %s: %s: nothing was changed", h->s->name, h->to,
                json_get_text(w, "why", "not level"));
    }
    json_free(reply);
    return bad;
}

/* This host is the primary no more; its daemon lets go of the site. */
static int fence_self(struct handover *h, struct epoch *e, struct err *err)
{
    struct json *request = json_object(), *reply = NULL;
    int lock CLEANUP_FD = epoch_lock(h->dir, err);
    if (lock < 0 || epoch_read(h->dir, e, err) < 0)
        return -1;
    if (e->role == ROLE_CONFIGURED && state_host_id(h->state_dir, &e->id, err) < 0)
        return -1;
    e->role = ROLE_SECONDARY;
    snprintf(e->primary, sizeof e->primary, "%s", h->to);
    if (epoch_write(h->dir, e, err) < 0)
        return -1;
    json_set_text(request, "do", "reload");
    if (ask_daemon(h, request, &reply, RELOAD_MS, err) < 0)
        log_warn("%s: the daemon will see it by itself: %s", h->s->name, err->text);
    json_free(reply);
    return 0;
}

/* What counts from now on. */
static int keep(struct handover *h, const struct epoch *now, struct err *err)
{
    struct epoch e = *now;
    int lock CLEANUP_FD = epoch_lock(h->dir, err);
    e.role = ROLE_SECONDARY;
    if (lock < 0 || epoch_write(h->dir, &e, err) < 0)
        return -1;
    unlinkat(h->dir, INTENT_FILE, 0);
    return 0;
}

static int ask_until_answered(struct handover *h, const struct epoch *e, struct err *err)
{
    uint64_t until = io_now_ms() + (uint64_t)h->timeout * 1000;
    struct epoch now;
    for (;;) {
        int r =
            claim_ask(h->c, config_host(h->c, h->to), h->state_dir, h->s->name, e, true, &now, err);
        if (r == 0)
            return keep(h, &now, err);
        if (r == 1) {
            if (now.counter > e->counter)
                keep(h, &now, err);
            return err_set(err, ERR_REFUSED, "%s refused: %s is the primary (epoch %llu)", h->to,
                now.primary, (unsigned long long)now.counter);
        }
        if (io_now_ms() > until)
            return err_prefix(err,
                "%s has no primary until %s answers: run mirrord handover again, or mirrord "
                "promote %s here",
                h->s->name, h->to, h->s->name);
        log_warn("%s: %s (trying again)", h->to, err->text);
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

static bool is_intended(const struct handover *h)
{
    struct err ignored;
    char *to CLEANUP_FREE = NULL;
    return io_slurp(h->dir, INTENT_FILE, MSG_HOST_MAX, &to, NULL, &ignored) == 0 &&
           strcmp(to, h->to) == 0;
}

static int hand_over(struct handover *h, struct err *err)
{
    struct role role;
    struct epoch e;
    if (role_of(h->c, h->s, h->state_dir, &role, err) < 0)
        return -1;
    if (!role.here && !is_intended(h))
        return err_set(
            err, ERR_REFUSED, "%s is the primary of %s, not this host", role.primary, h->s->name);
    if (role.here &&
        (flush(h, err) < 0 || io_publish(h->dir, INTENT_FILE, h->to, strlen(h->to), err) < 0))
        return -1;
    if (role.here && flush(h, err) < 0) {
        unlinkat(h->dir, INTENT_FILE, 0);
        return -1;
    }
    if (fence_self(h, &e, err) < 0 || ask_until_answered(h, &e, err) < 0)
        return -1;
    printf("%s: %s is the primary\n", h->s->name, h->to);
    return 0;
}

static int find(struct handover *h, char **operands, struct err *err)
{
    h->s = config_site(h->c, operands[0]);
    h->to = operands[1];
    if (!h->s)
        return err_set(err, ERR_USAGE, "there is no site %s in %s", operands[0], h->c->path);
    if (!config_site_has_host(h->s, h->to) || strcmp(h->to, h->c->self) == 0)
        return err_set(
            err, ERR_USAGE, "%s is not another host of site %s", operands[1], operands[0]);
    h->dir = state_open_dir(h->state_dir, config_root_at(h->s, h->c->self), true, err);
    return h->dir < 0 ? -1 : 0;
}

static void with_config(struct config *c, const char *state_dir, const char *control,
    unsigned timeout, char **operands, struct err *err)
{
    struct handover h = {.c = c,
        .state_dir = state_dir ? state_dir : c->state_dir,
        .control = control ? control : c->control,
        .timeout = timeout,
        .dir = -1};
    if (!c->self)
        err_set(err, ERR_USAGE, "%s does not have this host: say --as HOST", c->path);
    else if (find(&h, operands, err) == 0)
        hand_over(&h, err);
    if (h.dir >= 0)
        close(h.dir);
}

int command_handover(int argc, char **argv)
{
    const char *config = CONFIG_DEFAULT_PATH, *as = NULL, *state_dir = NULL, *control = NULL;
    unsigned timeout = 60;
    int verbosity = 0;
    const struct option_spec specs[] = {
        OPTION_CONFIG(&config),
        OPTION_AS(&as),
        OPTION_STATE_DIR(&state_dir),
        OPTION_CONTROL(&control),
        {0, "timeout", OPTION_NUMBER, &timeout, "S", "how long the host is asked (default 60)",
            NULL},
        OPTION_VERBOSE(&verbosity),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST] SITE HOST",
        "Makes HOST the primary of a site that this host is the primary of; nothing is lost.",
        specs, 2};
    struct err err = {0};
    struct config *c = NULL;
    int first = options_parse(&o, argc, argv, &err);
    if (first <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_WARNING, verbosity);
    if (argc - first != 2)
        err_set(&err, ERR_USAGE, "what is wanted is SITE and HOST");
    else if (config_load(config, as, &c, &err) == 0)
        with_config(c, state_dir, control, timeout, argv + first, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
