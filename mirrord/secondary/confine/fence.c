/*
 * The fence of `receive --root`: one directory, compared by its resolved path. What lies beneath it
 * may be asked for, also what is not there yet; names of sites mean nothing to it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/receive.h"

static void strip_slashes(char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
}

/* The path with all its links resolved as far as it exists, and the rest as it is; NULL where a
 * part is not to be had for another reason than that it is missing. The caller frees. */
static char *resolve_existing(const char *path)
{
    char *part CLEANUP_FREE = mem_copy_string(path);
    strip_slashes(part);
    for (;;) {
        struct stat st;
        char *real CLEANUP_FREE = realpath(part, NULL);
        if (real) {
            const char *rest = path + strlen(part) + (part[1] ? 0 : -1);
            return mem_format("%s%s", strcmp(real, "/") == 0 ? "" : real, *rest ? rest : "");
        }
        if (errno != ENOENT || lstat(part, &st) == 0)
            return NULL;
        char *slash = strrchr(part, '/');
        if (!slash)
            return NULL;
        slash[slash == part ? 1 : 0] = '\0';
    }
}

/* The same for what leads to the last component: whether that one is a link is for whoever opens
 * it. */
static char *resolve_parents(char *path)
{
    strip_slashes(path);
    char *slash = strrchr(path, '/');
    if (slash == path)
        return mem_copy_string(path);
    *slash = '\0';
    char *above CLEANUP_FREE = resolve_existing(path);
    *slash = '/';
    return above ? mem_format("%s%s", strcmp(above, "/") == 0 ? "" : above, slash) : NULL;
}

static bool has_parent_steps(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
            return true;
    return false;
}

static int refuse(const char *asked, const char *top, struct err *err)
{
    return err_set(err, ERR_REFUSED, "%s is outside of %s, which is all that may be asked for here",
        QUOTED(asked, strlen(asked)), top);
}

static int resolve(
    void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out, struct err *err)
{
    const char *top = ctx;
    (void)name;
    if (asked.len == 0) {
        *out = (struct receive_grant){.root = mem_copy_string(top)};
        return 0;
    }
    char *path CLEANUP_FREE = mem_copy_bytes(asked.data, asked.len);
    if (strlen(path) != asked.len || path[0] != '/' || has_parent_steps(path))
        return err_set(
            err, ERR_REFUSED, "%s is not a plain absolute path", QUOTED(asked.data, asked.len));
    char *real CLEANUP_FREE = resolve_parents(path);
    if (!real || !io_path_beneath(real, top))
        return refuse(path, top, err);
    *out = (struct receive_grant){.root = TAKE_PTR(real)};
    return 0;
}

static void each(void *ctx, void (*root)(void *to, const char *path, bool beneath), void *to)
{
    root(to, ctx, true);
}

int receive_fence_root(const char *root, struct receive_fence *out, struct err *err)
{
    char *whole CLEANUP_FREE = NULL;
    if (root[0] != '/') {
        char *here CLEANUP_FREE = realpath(".", NULL);
        if (!here)
            return err_sys(err, errno, "find the current directory");
        whole = mem_format("%s/%s", here, root);
    } else
        whole = mem_copy_string(root);
    char *top = has_parent_steps(whole) ? realpath(whole, NULL) : resolve_existing(whole);
    if (!top)
        return err_sys(err, errno, "%s", root);
    strip_slashes(top);
    *out = (struct receive_fence){.resolve = resolve, .each = each, .ctx = top};
    return 0;
}

void receive_fence_free(struct receive_fence *f)
{
    free(f->ctx);
    *f = (struct receive_fence){0};
}
