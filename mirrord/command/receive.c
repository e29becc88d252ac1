/*
 * `mirrord receive`: the secondary's end, started by sshd. Here is only the fence: what the other
 * end may ask for, from --root or from this host's configuration. The session is secondary/'s.
 */
#include <glob.h>
#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/config/config.h"
#include "command/config/policy.h"
#include "command/options.h"
#include "secondary/receive.h"
#include "tree/state/state.h"

struct request {
    const char *root, *config, *as, *state_dir;
    unsigned look_every_s, reread_every_s; /* 0: not said */
    uint64_t scan_rate;                    /* UINT64_MAX: not said */
};

/* The configuration that fences a session, read again when it has changed, or does not know a site:
 * the session may be older than either. */
struct fence {
    const struct request *request;
    struct config *config;
};

static int load(const struct request *r, struct config **out, struct err *err)
{
    struct config *c;
    if (config_load(r->config ? r->config : CONFIG_DEFAULT_PATH, r->as, &c, err))
        return -1;
    if (!c->self) {
        config_no_self(c, err);
        config_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

/* Of a glob's roots here: the directory that the component with the '*' is in. 0: no glob. */
static size_t fixed_part(const struct config_site *s, const char *host)
{
    const char *pattern = config_root_at(s->block ? s->block : s, host);
    size_t n = strcspn(pattern, "*");
    if (!pattern[n])
        return 0;
    while (n > 0 && pattern[n] != '/')
        n--;
    return n;
}

/* By the configuration: the site must be here and this host one of its hosts. The root that
 * was asked for does not count. */
static int find(
    const struct config *c, struct bytes name, struct receive_grant *out, struct err *err)
{
    const struct config_site *s;
    char *text CLEANUP_FREE = mem_copy_bytes(name.data, name.len);
    char *found CLEANUP_FREE = NULL;
    if (name.len == 0)
        return err_set(err, ERR_REFUSED,
            "this key serves the sites of %s, and no directory outside of them", c->path);
    if (strlen(text) != name.len || config_find_root(c, text, c->self, &s, &found))
        return err_set(err, ERR_REFUSED, "there is no site %s in %s on %s",
            QUOTED(name.data, name.len), c->path, c->self);
    if (!config_site_has_host(s, c->self))
        return err_set(err, ERR_REFUSED, "%s is not among the hosts of site %s (%s:%u)", c->self,
            s->name, s->file, s->line);
    struct receive_policy policy;
    if (policy_of(s, c->self, &policy, err) < 0)
        return -1;
    *out = (struct receive_grant){
        .fixed = fixed_part(s, c->self),
        .root = TAKE_PTR(found),
        .primary = strcmp(s->primary, c->self) == 0,
        .policy = policy,
        .excludes = config_exclude_at(s, c->self),
    };
    return 0;
}

static int reload(void *ctx, struct err *err)
{
    struct fence *f = ctx;
    struct config *now;
    if (load(f->request, &now, err))
        return -1;
    config_free(f->config);
    f->config = now;
    return 0;
}

static int resolve(
    void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out, struct err *err)
{
    struct fence *f = ctx;
    struct err why;
    (void)asked;
    if (config_has_changed(f->config) && reload(f, &why))
        log_warn("the configuration stays as it was: %s", why.text);
    if (find(f->config, name, out, err) == 0)
        return 0;
    if (reload(f, &why) == 0)
        return find(f->config, name, out, err);
    struct err first = *err; /* what was loaded counts */
    return err_set(err, ERR_REFUSED, "%s, which cannot be read now: %s", first.text, why.text);
}

/* Of a `sites` block any directory in the *'s place is a site, also where its root is still to be
 * made. With the * at the end that may be any directory beneath. */
static void name_block(const struct config *c, const struct config_site *s,
    void (*root)(void *to, const char *path, bool beneath), void *to)
{
    const char *pattern = config_root_at(s, c->self);
    const char *rest = pattern + strcspn(pattern, "*") + 1;
    char *above CLEANUP_FREE = mem_copy_bytes(pattern, (size_t)(rest - 1 - pattern));
    char *any CLEANUP_FREE = mem_format("%s*", above);
    glob_t found;
    if (!*rest) {
        char *slash = strrchr(above, '/');
        slash[slash == above] = '\0';
        root(to, above, true);
        return;
    }
    int rc = glob(any, GLOB_NOESCAPE | GLOB_ONLYDIR, NULL, &found);
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        char *path CLEANUP_FREE = mem_format("%s%s", found.gl_pathv[i], rest);
        if (access(path, F_OK) != 0)
            root(to, path, false);
    }
    globfree(&found);
}

static void each(void *ctx, void (*root)(void *to, const char *path, bool beneath), void *to)
{
    const struct config *c = ((struct fence *)ctx)->config;
    for (size_t i = 0; i < c->site_count; i++)
        if (config_site_has_host(&c->sites[i], c->self))
            root(to, config_root_at(&c->sites[i], c->self), false);
    for (size_t i = 0; i < c->glob_count; i++)
        if (config_site_has_host(&c->globs[i], c->self))
            name_block(c, &c->globs[i], root, to);
}

static bool find_hook(
    void *ctx, struct bytes name, enum receive_command which, struct receive_hook *out)
{
    const struct config *c = ((struct fence *)ctx)->config;
    const struct config_site *s;
    char *root CLEANUP_FREE = NULL;
    char *text CLEANUP_FREE = mem_copy_bytes(name.data, name.len);
    return strlen(text) == name.len && config_find_root(c, text, c->self, &s, &root) == 0 &&
           config_receive_hook(s, c->self, which, out);
}

static int serve(const struct request *r, const struct receive_fence *fence, const char *state_dir,
    const char *host, unsigned keepalive, uint64_t scan_rate, struct err *err)
{
    char *fallback CLEANUP_FREE = state_dir ? NULL : state_default_dir();
    const struct receive_options o = {.fence = fence,
        .state_dir = state_dir ? state_dir : fallback,
        .host = host,
        .look_every_s = r->look_every_s,
        .reread_every_s = r->reread_every_s,
        .scan_rate = r->scan_rate == UINT64_MAX ? scan_rate : r->scan_rate,
        .keepalive_ms = keepalive * 1000,
        .in = STDIN_FILENO,
        .out = STDOUT_FILENO};
    return receive_run(&o, err);
}

static int serve_root(const struct request *r, struct err *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    struct receive_fence fence;
    gethostname(host, sizeof host - 1);
    if (receive_fence_root(r->root, &fence, err))
        return -1;
    int rc = serve(
        r, &fence, r->state_dir, r->as ? r->as : host, CONFIG_KEEPALIVE, CONFIG_SCAN_RATE, err);
    receive_fence_free(&fence);
    return rc;
}

static int serve_config(const struct request *r, struct err *err)
{
    struct fence f = {.request = r};
    if (load(r, &f.config, err))
        return -1;
    const struct receive_fence fence = {
        .resolve = resolve, .each = each, .reload = reload, .hook = find_hook, .ctx = &f};
    char *state_dir CLEANUP_FREE =
        mem_copy_string(r->state_dir ? r->state_dir : f.config->state_dir);
    char *self CLEANUP_FREE = mem_copy_string(f.config->self);
    unsigned keepalive = config_host(f.config, self)->keepalive;
    int rc = serve(r, &fence, state_dir, self, keepalive, f.config->scan_rate, err);
    config_free(f.config);
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
