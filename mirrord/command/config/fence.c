/* Whether a site may be asked for, by the configuration as it is by then; see fence.h. */
#include "command/config/fence.h"

#include <glob.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/config/policy.h"

struct fence {
    const char *path, *as;
    struct config *config;
    struct err failed; /* with a code: why that is still the former one */
    uint64_t again_ms; /* then: when to try again */
};

static int load(const struct fence *f, struct config **out, struct err *err)
{
    struct config *c;
    if (config_load(f->path ? f->path : CONFIG_DEFAULT_PATH, f->as, &c, err) < 0)
        return -1;
    if (!c->self) {
        config_no_self(c, err);
        config_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

static int reload(void *ctx, struct err *err)
{
    struct fence *f = ctx;
    struct config *now;
    err_clear(&f->failed);
    if (load(f, &now, &f->failed) < 0) {
        f->again_ms = io_now_ms() + FENCE_AGAIN_MS;
        *err = f->failed;
        return -1;
    }
    config_free(f->config);
    f->config = now;
    return 0;
}

static void read_what_changed(struct fence *f)
{
    struct err why;
    bool changed = config_has_changed(f->config);
    if (!changed && (!f->failed.code || io_now_ms() < f->again_ms))
        return;
    if (reload(f, &why) < 0 && changed)
        log_warn("the configuration stays as it was: %s", why.text);
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

static int resolve(
    void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out, struct err *err)
{
    struct fence *f = ctx;
    (void)asked;
    read_what_changed(f);
    if (find(f->config, name, out, err) == 0)
        return 0;
    if (!f->failed.code)
        return -1;
    struct err first = *err; /* what was loaded counts */
    return err_set(
        err, ERR_REFUSED, "%s, which cannot be read now: %s", first.text, f->failed.text);
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

int fence_open(const char *path, const char *as, struct fence **out, struct err *err)
{
    struct fence *f = mem_alloc(sizeof *f);
    *f = (struct fence){.path = path, .as = as};
    if (load(f, &f->config, err) < 0) {
        free(f);
        return -1;
    }
    *out = f;
    return 0;
}

void fence_close(struct fence *f)
{
    if (!f)
        return;
    config_free(f->config);
    free(f);
}

const struct config *fence_config(const struct fence *f)
{
    return f->config;
}

struct receive_fence fence_of(struct fence *f)
{
    return (struct receive_fence){
        .resolve = resolve, .each = each, .reload = reload, .hook = find_hook, .ctx = f};
}
