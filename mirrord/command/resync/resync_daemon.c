/* A resync by the daemon that runs; see resync_forms.h. */
#include <stdio.h>

#include "base/json.h"
#include "command/control_client.h"
#include "command/resync/resync_forms.h"

enum { PING_MS = 5000 };

static int ask(const char *path, struct json *request, struct json **reply, struct err *err)
{
    enum { FOR_EVER = 0 };
    int r = control_client_ask(path, request, FOR_EVER, reply, err);
    json_free(request);
    return r;
}

static struct json *request_of(const struct resync_options *o, const char *what)
{
    struct json *request = json_object();
    json_set_text(request, "do", what);
    if (o->operand_count > 0)
        json_set_text(request, "site", o->operands[0]);
    return request;
}

/* RESYNC_DONE or -1. The daemon compares; what a flush waits for is the end of that. */
static int level_by_daemon(const struct resync_options *o, const char *path, struct err *err)
{
    enum { DAY_MS = 24 * 60 * 60 * 1000 };
    struct json *request = request_of(o, "resync"), *hosts = json_array(), *reply = NULL;
    for (int i = 1; i < o->operand_count; i++)
        json_append_text(hosts, o->operands[i]);
    json_set_json(request, "hosts", hosts);
    json_set_bool(request, "force", o->force);
    json_set_bool(request, "adopt", o->adopt);
    if (ask(path, request, &reply, err) < 0)
        return -1;
    json_free(reply);
    reply = NULL;
    request = request_of(o, "flush");
    json_set_number(request, "timeout_ms", DAY_MS);
    if (ask(path, request, &reply, err) < 0)
        return -1;
    bool level = json_get_bool(reply, "level", false), held = json_get_bool(reply, "held", false);
    json_free(reply);
    if (held)
        return err_set(err, ERR_REFUSED, "held for safety: see mirrord status");
    if (!level)
        return err_set(err, ERR_BEHIND, "not all secondaries are level: see mirrord status");
    if (o->verbosity >= 0)
        puts("level (the running daemon did it)");
    return RESYNC_DONE;
}

/* What a daemon does not do: it goes by the configuration. */
static int check_daemons_part(const struct resync_options *o, struct err *err)
{
    if (o->no_delete || o->checksum || o->itemize || o->bwlimit ||
        o->max_delete_percent != RESYNC_NOT_SAID)
        return err_set(err, ERR_USAGE,
            "a daemon runs and does the work, by its configuration: --no-delete, --checksum, "
            "--itemize, --bwlimit and --max-delete go with -n only, or once it is stopped");
    return 0;
}

int resync_by_daemon(struct resync_run *r, const struct config *c, struct err *err)
{
    const struct resync_options *o = r->asked;
    const char *path = o->control ? o->control : c->control;
    struct json *ping = json_object(), *reply = NULL;
    struct err ignored;
    json_set_text(ping, "do", "ping");
    int alive = control_client_ask(path, ping, PING_MS, &reply, &ignored);
    json_free(ping);
    json_free(reply);
    r->beside = alive == 0 && o->dry_run;
    if (alive != 0 || r->beside)
        return 0;
    return check_daemons_part(o, err) < 0 ? -1 : level_by_daemon(o, path, err);
}
