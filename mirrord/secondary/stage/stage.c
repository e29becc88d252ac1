/* The stage directory: finding, making, probing, and the names in it; see stage.h. What is staged
 * is not its business. */
#include "secondary/stage/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/stage/bin.h"
#include "secondary/stage/label.h"

#define CACHEDIR_TAG                                                                               \
    "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is made by mirrord.\n"
#define PROBE PATH_RESERVED "probe-"

static void random_hex(char out[17])
{
    uint8_t random[8];
    io_random(random, sizeof random);
    io_hex(random, sizeof random, out);
}

/* Beside the root (NULL for "/"), or inside. */
static char *place_beside(const struct root *root, const char *name)
{
    const char *path = root_path(root);
    const char *last = strrchr(path, '/');
    if (!last || !last[1])
        return NULL;
    return mem_format("%.*s/%s", (int)(last - path), path, name);
}

static char *place_inside(const struct root *root, const char *name)
{
    const char *path = root_path(root);
    return mem_format("%s/%s", strcmp(path, "/") == 0 ? "" : path, name);
}

/* A stage is only ours when we own it and nobody else may look in. */
static int open_at(const char *path, struct stage **out, struct err *err)
{
    struct stage *s = mem_alloc(sizeof *s);
    struct stat st;
    for (int i = 0; i < STAGE_ASIDES; i++)
        s->aside[i] = -1;
    s->dead = set_new();
    s->held = set_new();
    s->bin = bin_new();
    random_hex(s->session);
    int r = root_open(path, &s->root, err);
    if (r == 0 && fstat(root_fd(s->root), &st) < 0)
        r = err_sys(err, errno, "stat");
    if (r == 0 && st.st_uid != geteuid())
        r = err_set(err, ERR_REFUSED, "the stage directory %s belongs to another user", path);
    if (r == 0 && (st.st_mode & 07777) != 0700 && fchmod(root_fd(s->root), 0700) < 0)
        r = err_sys(err, errno, "chmod %s", path);
    if (r < 0) {
        stage_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return path && lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int stage_find(const struct root *root, const char *name, struct stage **out, struct err *err)
{
    char *beside CLEANUP_FREE = place_beside(root, name);
    char *inside CLEANUP_FREE = place_inside(root, name);
    const char *path = is_directory(beside) ? beside : is_directory(inside) ? inside : NULL;
    if (!path)
        return 0;
    return open_at(path, out, err) < 0 ? -1 : 1;
}

void stage_forget_held(struct stage *s, struct set_item *item)
{
    struct grace_unit *u = item->value;
    free((void *)u->path.data);
    free(u);
    set_remove(s->held, item);
}

void stage_close(struct stage *s)
{
    if (!s)
        return;
    if (s->leftovers)
        closedir(s->leftovers);
    bin_free(s->bin);
    set_free(s->dead);
    for (int i = 0; i < STAGE_ASIDES; i++)
        if (s->aside[i] >= 0)
            close(s->aside[i]);
    while (set_first(s->held))
        stage_forget_held(s, set_first(s->held));
    set_free(s->held);
    root_close(s->root);
    free(s);
}

static void tag(int dirfd)
{
    int fd CLEANUP_FD = openat(dirfd, "CACHEDIR.TAG", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && io_write_full(fd, CACHEDIR_TAG, sizeof CACHEDIR_TAG - 1) < 0)
        unlinkat(dirfd, "CACHEDIR.TAG", 0);
}

/* Makes and probes one; what it made is removed again when it does not serve. */
static int make_at(const struct root *root, const char *path, struct stage **out, struct err *err)
{
    bool fresh = mkdir(path, 0700) == 0;
    if (!fresh && errno != EEXIST)
        return err_sys(err, errno, "create the stage directory %s", path);
    struct stage *s = NULL;
    if (open_at(path, &s, err) == 0 && stage_probe(s, root, err) == 0) {
        fremovexattr(root_fd(s->root), "system.posix_acl_default");
        if (label_copy(root_fd(root), root_fd(s->root)) < 0)
            log_debug("the stage %s keeps its security label: %s", path, strerror(errno));
        tag(root_fd(s->root));
        *out = s;
        return 0;
    }
    stage_close(s);
    if (fresh)
        rmdir(path);
    return -1;
}

void stage_invent(char *name)
{
    char hex[17];
    random_hex(hex);
    snprintf(name, PATH_NAME_MAX + 1, PATH_RESERVED "%s", hex);
}

int stage_make(const struct root *root, const char *name, struct stage **out, struct err *err)
{
    char *beside CLEANUP_FREE = place_beside(root, name);
    char *inside CLEANUP_FREE = place_inside(root, name);
    if (beside && make_at(root, beside, out, err) == 0)
        return 0;
    return make_at(root, inside, out, err);
}

/* The steps of a probe: what is made in the stage as "probe-a" goes to the root and back. */
static int probe_steps(struct stage *s, int rfd, const char *there)
{
    int sfd = root_fd(s->root);
    int fd CLEANUP_FD = openat(sfd, "probe-a", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || renameat2(sfd, "probe-a", rfd, there, RENAME_NOREPLACE) < 0)
        return -1;
    if (linkat(rfd, there, sfd, "probe-b", 0) < 0)
        return -1;
    s->exchange = mkdirat(sfd, "probe-d", 0700) == 0 &&
                  renameat2(sfd, "probe-d", rfd, there, RENAME_EXCHANGE) == 0;
    return 0;
}

static void probe_clean(struct stage *s, int rfd, const char *there)
{
    int sfd = root_fd(s->root);
    unlinkat(sfd, "probe-a", 0);
    unlinkat(sfd, "probe-b", 0);
    if (unlinkat(sfd, "probe-d", AT_REMOVEDIR) < 0)
        unlinkat(sfd, "probe-d", 0);
    if (unlinkat(rfd, there, 0) < 0)
        unlinkat(rfd, there, AT_REMOVEDIR);
}

/* What a probe left in the root whose process was killed. */
static void sweep_probes(int rfd)
{
    int fd = openat(rfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    while (dir && (e = readdir(dir)) != NULL)
        if (strncmp(e->d_name, PROBE, strlen(PROBE)) == 0 && unlinkat(rfd, e->d_name, 0) < 0)
            unlinkat(rfd, e->d_name, AT_REMOVEDIR);
    if (dir)
        closedir(dir);
}

int stage_probe(struct stage *s, const struct root *root, struct err *err)
{
    int rfd = root_fd(root);
    struct stat st;
    if (fstat(rfd, &st) < 0)
        return err_sys(err, errno, "stat the root");
    bool loosened = (st.st_mode & 0300) != 0300 && fchmod(rfd, (st.st_mode & 07777) | 0300) == 0;
    /* Named after the stage, so that one which a killed process left is found again. */
    const char *own = strrchr(root_path(s->root), '/') + 1;
    char *there CLEANUP_FREE = mem_format(PROBE "%s", own + strlen(PATH_RESERVED));
    probe_clean(s, rfd, there);
    sweep_probes(rfd);
    int failed = probe_steps(s, rfd, there) < 0 ? errno : 0;
    probe_clean(s, rfd, there);
    if (loosened && fchmod(rfd, st.st_mode & 07777) < 0)
        failed = errno;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
    futimens(rfd, times);
    if (failed)
        return err_sys(err, failed, "try %s with %s", root_path(s->root), root_path(root));
    return 0;
}

size_t stage_new_name(struct stage *s, char kind, char out[STAGE_NAME_MAX])
{
    int n = snprintf(out, STAGE_NAME_MAX, "%c%s-%" PRIx64, kind, s->session, s->counter++);
    return (size_t)n;
}

int stage_unlink(struct stage *s, int dirfd, const char *name)
{
    struct stat st;
    bool file = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
    int held = file ? bin_hold(dirfd, name, (uint64_t)st.st_size) : -1;
    int r = unlinkat(dirfd, name, 0);
    bin_put(s->bin, held);
    return r;
}

int stage_bury(struct stage *s, int dirfd, const char *name)
{
    if (stage_unlink(s, dirfd, name) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    char dead[STAGE_NAME_MAX];
    size_t n = stage_new_name(s, 'd', dead);
    if (renameat2(dirfd, name, root_fd(s->root), dead, RENAME_NOREPLACE) < 0)
        return -1;
    set_add(s->dead, dead, n);
    return 0;
}

void stage_drop(struct stage *s, struct bytes place)
{
    char name[PATH_NAME_MAX + 1];
    int fd = root_borrow_parent(s->root, place, name);
    if (fd >= 0)
        stage_bury(s, fd, name);
}
