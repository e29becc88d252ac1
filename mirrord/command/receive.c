/*
 * `mirrord receive`: the secondary's end, started by sshd. The command line alone: what the other
 * end may ask for is what --root says, or fence.c by this host's configuration. The session is
 * secondary/'s.
 */
#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/fence.h"
#include "command/options.h"
#include "secondary/receive.h"
#include "tree/state/state.h"

struct request {
    const char *root, *config, *as, *state_dir;
    unsigned look_every_s, reread_every_s; /* 0: not said */
    uint64_t scan_rate;                    /* UINT64_MAX: not said */
};

/* With what was asked for on the command line in `o`'s place. */
static int serve(const struct request *r, struct receive_options o, struct err *err)
{
    char *fallback CLEANUP_FREE = r->state_dir || o.state_dir ? NULL : state_default_dir();
    char *state_dir CLEANUP_FREE = mem_copy_string(r->state_dir  ? r->state_dir
                                                   : o.state_dir ? o.state_dir
                                                                 : fallback);
    o.state_dir = state_dir;
    o.look_every_s = r->look_every_s;
    o.reread_every_s = r->reread_every_s;
    if (r->scan_rate != UINT64_MAX)
        o.scan_rate = r->scan_rate;
    o.in = STDIN_FILENO;
    o.out = STDOUT_FILENO;
    return receive_run(&o, err);
}

static int serve_root(const struct request *r, struct err *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    struct receive_fence fence;
    gethostname(host, sizeof host - 1);
    if (receive_fence_root(r->root, &fence, err))
        return -1;
    const struct receive_options o = {.fence = &fence,
        .host = r->as ? r->as : host,
        .scan_rate = CONFIG_SCAN_RATE,
        .keepalive_ms = CONFIG_KEEPALIVE * 1000};
    int rc = serve(r, o, err);
    receive_fence_free(&fence);
    return rc;
}

static int serve_config(const struct request *r, struct err *err)
{
    struct fence *f;
    if (fence_open(r->config, r->as, &f, err) < 0)
        return -1;
    const struct receive_fence fence = fence_of(f);
    const struct config *c = fence_config(f);
    char *self CLEANUP_FREE = mem_copy_string(c->self); /* as it was at first */
    const struct receive_options o = {.fence = &fence,
        .state_dir = c->state_dir,
        .host = self,
        .scan_rate = c->scan_rate,
        .keepalive_ms = config_host(c, self)->keepalive * 1000};
    int rc = serve(r, o, err);
    fence_close(f);
    return rc;
}

static int take_rate(void *to, const char *argument, struct err *err)
{
    return config_parse_size(argument, to, err);
}

int command_receive(int argc, char **argv)
{
    struct request r = {.scan_rate = UINT64_MAX};
    int verbosity = 0;
    const struct option_spec specs[] = {
        {0, "root", OPTION_TEXT, &r.root, "DIR", "serve this directory and what is beneath it"},
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        OPTION_STATE_DIR(&r.state_dir),
        {0, "look-every", OPTION_CALL, &r.look_every_s, "TIME",
            "walk the trees for what others changed (default: once a day)", config_option_seconds},
        {0, "scan-rate", OPTION_CALL, &r.scan_rate, "RATE",
            "bytes of content that are read again a second (default 10M; 0: none)", take_rate},
        OPTION_REREAD(&r.reread_every_s),
        OPTION_VERBOSE(&verbosity),
        OPTION_QUIET(&verbosity),
        {0},
    };
    const struct options o = {"[--root DIR | -c FILE [--as HOST]]",
        "The secondary's end of a session, on standard input and output; sshd starts it.", specs,
        0};
    struct err err = {0};
    if (options_parse(&o, argc, argv, &err) <= 0)
        return options_report(argv[0], &err);
    options_set_level(LOG_LEVEL_WARNING, verbosity);
    if (r.root && r.config)
        err_set(&err, ERR_USAGE, "--root and -c exclude each other");
    else if (r.root)
        serve_root(&r, &err);
    else
        serve_config(&r, &err);
    return options_report(argv[0], &err);
}
