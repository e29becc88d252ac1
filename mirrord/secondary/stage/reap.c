/*
 * Removing what is dead in the stage, in steps and without recursion: a directory met inside
 * another is moved up to the stage itself first, so that no tree is ever descended into. What is
 * set aside (trash) and what this session staged is left alone.
 */
#include "secondary/stage/reap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/outside.h"

enum {
    REAP_STRIDE = 32, /* removals between looks at the clock */
    REAP_MANY = 64,   /* created without a lull: more is to be expected */
    REAP_LULL_MS = 2000,
    REAP_FREE = 10, /* percent of the filesystem, below which its room is needed */
};

void reap_begin(struct stage *s, const struct outside *outside)
{
    s->outside = outside;
    int fd = openat(root_fd(s->root), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->leftovers)
        closedir(s->leftovers);
    s->leftovers = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !s->leftovers)
        close(fd);
}

static bool is_leftover(const struct stage *s, const char *name)
{
    return (name[0] == 'n' || name[0] == 'd') &&
           strncmp(name + 1, s->session, strlen(s->session)) != 0;
}

/* Puts one thing of an earlier session into the queue. False at the listing's end. */
static bool next_leftover(struct stage *s)
{
    const struct dirent *e = s->leftovers ? readdir(s->leftovers) : NULL;
    if (e && is_leftover(s, e->d_name))
        set_add(s->dead, e->d_name, strlen(e->d_name));
    if (e)
        return true;
    if (s->leftovers)
        closedir(s->leftovers);
    s->leftovers = NULL;
    return false;
}

/* A directory that may have been closed to its owner. -1: it is none. */
static int open_loosened(struct stage *s, int dirfd, const char *name)
{
    enum { FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    int fd = openat(dirfd, name, FLAGS);
    if (fd < 0 && errno == EACCES && s->outside->loosen(s->outside->ctx, dirfd, name) == 0)
        fd = openat(dirfd, name, FLAGS);
    if (fd >= 0)
        fchmod(fd, 0700);
    return fd;
}

static void lift(struct stage *s, int dirfd, const char *name)
{
    int fd CLEANUP_FD = open_loosened(s, dirfd, name);
    (void)fd;
    if (stage_bury(s, dirfd, name) < 0)
        log_warn("cannot remove %s from the stage %s: %s", QUOTED(name, strlen(name)),
            root_path(s->root), strerror(errno));
}

/* Removes what is in a dead directory until the deadline. True when nothing is left to try. */
static bool empty_directory(struct stage *s, int fd, uint64_t deadline)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return true;
    }
    const struct dirent *e;
    bool done = true;
    for (unsigned n = 1; (e = readdir(dir)) != NULL; n++) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (stage_unlink(s, fd, e->d_name) < 0)
            lift(s, fd, e->d_name);
        if (n % REAP_STRIDE == 0 && io_now_us() >= deadline) {
            done = false;
            break;
        }
    }
    closedir(dir);
    return done;
}

/* One name of the queue: gone, or some of what it holds. True when the name is finished with. */
static bool reap_one(struct stage *s, const char *name, uint64_t deadline)
{
    int stage = root_fd(s->root);
    if (stage_unlink(s, stage, name) == 0 || errno == ENOENT)
        return true;
    if (unlinkat(stage, name, AT_REMOVEDIR) == 0)
        return true;
    int fd = open_loosened(s, stage, name);
    if (fd >= 0 && !empty_directory(s, fd, deadline))
        return false;
    if (unlinkat(stage, name, AT_REMOVEDIR) < 0)
        log_warn(
            "cannot remove %s from the stage %s: %s", name, root_path(s->root), strerror(errno));
    return true;
}

bool reap_some(struct stage *s, unsigned budget_ms)
{
    uint64_t deadline = io_now_us() + (uint64_t)budget_ms * 1000;
    do {
        struct set_item *first = set_first(s->dead);
        if (!first && !next_leftover(s)) {
            s->hurry = false;
            return false;
        }
        if (first && reap_one(s, first->key, deadline))
            set_remove(s->dead, first);
    } while (io_now_us() < deadline);
    return true;
}

void reap_created(struct stage *s)
{
    uint64_t now = io_now_ms();
    if (now - s->created_at >= REAP_LULL_MS)
        s->created = 0;
    s->created += s->created < REAP_MANY;
    s->created_at = now;
}

void reap_hurry(struct stage *s)
{
    s->hurry = true;
}

static bool has_room(const struct stage *s)
{
    struct statvfs fs;
    return fstatvfs(root_fd(s->root), &fs) == 0 && fs.f_bavail / REAP_FREE >= fs.f_blocks / 100 &&
           fs.f_favail / REAP_FREE >= fs.f_files / 100;
}

unsigned reap_wait(const struct stage *s)
{
    uint64_t since = io_now_ms() - s->created_at;
    if (s->hurry || s->created < REAP_MANY || since >= REAP_LULL_MS || !has_room(s))
        return 0;
    return (unsigned)(REAP_LULL_MS - since);
}
