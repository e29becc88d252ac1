/*
 * `mirrord handover SITE HOST`, on the primary: the planned change. Flush; a session with HOST; the
 * intent, durable; what was written since, flushed; this host fences itself; HOST raises the epoch,
 * which is one round trip. From the fence on nobody is the primary until HOST has answered: it is
 * asked until it does, by the command, and by the daemon here where the command was interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/role.h"
#include "command/control_client.h"
#include "command/handover/claim.h"
#include "command/handover/handover.h"
#include "command/options.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

#define INTENT_FILE "handover"

enum { FLUSH_MS = 60000, ASK_AGAIN_MS = 500, NUDGE_MS = 1 };

struct handover {
    const struct config *c;
    const struct config_site *s;
    const char *state_dir, *control;
    const char *to;
    unsigned timeout;    /* seconds */
    int dir;             /* of the root's epoch */
    int intent;          /* its file, locked: this process is the one that goes on with it */
    struct claim *claim; /* a session that waits for the question; or NULL */
    bool resumed;
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

/* The daemon here lets go of the site. It would see that by itself, but a little later; nobody
 * waits for its answer. */
static void nudge_daemon(struct handover *h)
{
    struct json *request = json_object(), *reply = NULL;
    struct err ignored;
    json_set_text(request, "do", "reload");
    ask_daemon(h, request, &reply, NUDGE_MS, &ignored);
    json_free(reply);
}

/* This host is the primary no more. */
static int fence_self(struct handover *h, struct epoch *e, struct err *err)
{
    int lock CLEANUP_FD = epoch_lock(h->dir, err);
    if (lock < 0 || epoch_read(h->dir, e, err) < 0)
        return -1;
    if (e->role == ROLE_CONFIGURED && state_host_id(h->state_dir, &e->id, err) < 0)
        return -1;
    e->role = ROLE_SECONDARY;
    snprintf(e->primary, sizeof e->primary, "%s", h->to);
    if (epoch_write(h->dir, e, err) < 0)
        return -1;
    return 0;
}

/* Whoever has the intent's file locked goes on with it: one at a time. 0; 1 another process does.
 */
static int lock_intent(struct handover *h, struct err *err)
{
    h->intent = openat(h->dir, INTENT_FILE ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (h->intent < 0)
        return err_sys(err, errno, "open " INTENT_FILE ".lock");
    if (flock(h->intent, LOCK_EX | LOCK_NB) == 0)
        return 0;
    err_set(err, ERR_TEMPORARY, "%s is being handed over by another process", h->s->name);
    return 1;
}

static int intend(struct handover *h, struct err *err)
{
    return io_publish(h->dir, INTENT_FILE, h->to, strlen(h->to), err);
}

static void give_up(struct handover *h)
{
    unlinkat(h->dir, INTENT_FILE, 0);
}

/* What counts from now on. */
static int keep(struct handover *h, const struct epoch *now, struct err *err)
{
    struct epoch e = *now, ours;
    int lock CLEANUP_FD = epoch_lock(h->dir, err);
    e.role = ROLE_SECONDARY;
    if (lock < 0 || epoch_read(h->dir, &ours, err) < 0)
        return -1;
    if (ours.counter <= e.counter && ours.role != ROLE_PRIMARY && epoch_write(h->dir, &e, err) < 0)
        return -1;
    give_up(h);
    return 0;
}

/* 0 answered; 1 somebody else is the primary; -1 not reached. */
static int ask_once(struct handover *h, const struct epoch *e, struct epoch *now, struct err *err)
{
    if (!h->claim && claim_open(h->c, config_host(h->c, h->to), h->state_dir, &h->claim, err) < 0)
        return -1;
    int r = claim_put(h->claim, h->s->name, e, true, now, err);
    claim_close(TAKE_PTR(h->claim));
    /* It was told before, and its answer came another way. */
    return r == 1 && now->counter && strcmp(now->primary, h->to) == 0 ? 0 : r;
}

static int ask_until_answered(struct handover *h, const struct epoch *e, struct err *err)
{
    uint64_t until = io_now_ms() + (uint64_t)h->timeout * 1000;
    struct epoch now;
    for (;;) {
        int r = ask_once(h, e, &now, err);
        if (r == 0)
            return keep(h, &now, err);
        if (r == 1) {
            if (now.counter > e->counter)
                keep(h, &now, err);
            give_up(h); /* it is decided, though otherwise */
            return err_set(err, ERR_REFUSED, "%s refused: %s is the primary (epoch %llu)", h->to,
                now.primary, (unsigned long long)now.counter);
        }
        if (io_now_ms() > until)
            return err_prefix(err,
                "%s has no primary until %s answers: the daemon here goes on asking; mirrord "
                "promote %s makes this host the primary again",
                h->s->name, h->to, h->s->name);
        log_warn("%s: %s (trying again)", h->to, err->text);
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

/* Up to here nothing has changed; what fails leaves it so. */
static int prepare(struct handover *h, struct err *err)
{
    if (flush(h, err) < 0 ||
        claim_open(h->c, config_host(h->c, h->to), h->state_dir, &h->claim, err) < 0 ||
        intend(h, err) < 0)
        return -1;
    FAULT("intended");
    if (flush(h, err) == 0)
        return 0;
    if (!h->resumed)
        give_up(h);
    return -1;
}

static int hand_over(struct handover *h, const struct role *role, struct err *err)
{
    struct epoch e;
    int locked = lock_intent(h, err);
    if (locked != 0)
        return -1;
    if (role->here && prepare(h, err) < 0)
        return -1;
    uint64_t fenced = io_now_ms();
    if (fence_self(h, &e, err) < 0)
        return -1;
    FAULT("fenced");
    nudge_daemon(h);
    if (ask_until_answered(h, &e, err) < 0)
        return -1;
    FAULT("answered");
    log_info("%s: %s is the primary; nobody was for %u ms", h->s->name, h->to,
        (unsigned)(io_now_ms() - fenced));
    return 0;
}

/* The host that an interrupted handover is to; NULL: there is none. The caller frees. */
static char *intended(int dir)
{
    struct err ignored;
    char *to = NULL;
    return io_slurp(dir, INTENT_FILE, MSG_HOST_MAX, &to, NULL, &ignored) == 0 ? to : NULL;
}

static int hand_over_now(struct handover *h, struct err *err)
{
    struct role role;
    char *to CLEANUP_FREE = intended(h->dir);
    if (role_of(h->c, h->s, h->state_dir, &role, err) < 0)
        return -1;
    if (!role.here && !(to && strcmp(to, h->to) == 0))
        return err_set(err, ERR_REFUSED, "%s is the primary of %s, not this host: type it there",
            role.primary, h->s->name);
    if (hand_over(h, &role, err) < 0)
        return -1;
    printf("%s: %s is the primary\n", h->s->name, h->to);
    return 0;
}

static void release(struct handover *h)
{
    claim_close(h->claim);
    if (h->intent >= 0)
        close(h->intent);
    if (h->dir >= 0)
        close(h->dir);
}

/* One try; what is there to do and where is in h. */
static void resume(struct handover *h)
{
    struct err err;
    struct role role;
    if (role_of(h->c, h->s, h->state_dir, &role, &err) < 0)
        return;
    if (!config_site_has_host(h->s, h->to) || strcmp(h->to, h->c->self) == 0)
        give_up(h);
    else if (hand_over(h, &role, &err) < 0)
        log_warn("%s: the handover to %s that was begun: %s", h->s->name, h->to, err.text);
    else
        log_warn("%s: the handover to %s that was begun is done", h->s->name, h->to);
}

bool handover_resume(
    const struct config *c, const struct config_site *s, const char *state_dir, const char *control)
{
    struct err err;
    const char *root = config_root_at(s, c->self);
    int look CLEANUP_FD = epochs_open(state_dir, root, false, &err);
    char *to CLEANUP_FREE = look < 0 ? NULL : intended(look);
    if (!to)
        return false;
    struct handover h = {.c = c,
        .s = s,
        .state_dir = state_dir,
        .control = control,
        .to = to,
        .dir = epochs_open(state_dir, root, true, &err),
        .intent = -1,
        .resumed = true};
    if (h.dir >= 0)
        resume(&h);
    release(&h);
    return faccessat(look, INTENT_FILE, F_OK, 0) == 0;
}

void handover_forget(int state_dir_fd)
{
    unlinkat(state_dir_fd, INTENT_FILE, 0);
}

static int find(struct handover *h, char **operands, struct err *err)
{
    h->s = config_site(h->c, operands[0]);
    h->to = operands[1];
    if (!h->s)
        return config_unknown_site(h->c, operands[0], err);
    if (!config_site_has_host(h->s, h->to) || strcmp(h->to, h->c->self) == 0)
        return err_set(err, ERR_USAGE,
            "%s is not another host of site %s: mirrord check --effective %s names them",
            operands[1], operands[0], operands[0]);
    h->dir = epochs_open(h->state_dir, config_root_at(h->s, h->c->self), true, err);
    return h->dir < 0 ? -1 : 0;
}

static void with_config(struct config *c, const char *state_dir, const char *control,
    unsigned timeout, char **operands, struct err *err)
{
    struct handover h = {.c = c,
        .state_dir = state_dir ? state_dir : c->state_dir,
        .control = control ? control : c->control,
        .timeout = timeout,
        .dir = -1,
        .intent = -1};
    if (!c->self)
        config_no_self(c, err);
    else if (find(&h, operands, err) == 0)
        hand_over_now(&h, err);
    release(&h);
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
        err_set(&err, ERR_USAGE,
            "say which site, and to which host: mirrord handover example.com web2");
    else if (config_load(config, as, &c, &err) == 0)
        with_config(c, state_dir, control, timeout, argv + first, &err);
    config_free(c);
    return options_report(argv[0], &err);
}
