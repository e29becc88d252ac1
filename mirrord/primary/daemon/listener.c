/* See listener.h. */
#include "primary/daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

enum { BACKLOG = 64 };

struct listener {
    char *path, *name; /* name: the last component */
    int dir;           /* the directory above the socket */
    int fd;
    ino_t inode; /* of our socket file; 0: there is none */
};

/* The address through the directory's descriptor: paths over 107 bytes work too. */
static struct sockaddr_un address_of(int dir, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, name);
    return a;
}

static int open_directory(struct listener *l, struct err *err)
{
    char *above CLEANUP_FREE = mem_copy_string(l->path);
    char *slash = strrchr(above, '/');
    l->name = mem_copy_string(slash ? slash + 1 : above);
    if (!*l->name || strlen(l->name) > 64)
        return err_set(err, ERR_USAGE, "%s: not a name for a socket", l->path);
    if (slash)
        slash[slash == above] = '\0';
    const char *dir = slash ? above : ".";
    if (slash && slash != above && io_make_path(dir, 0755, err) < 0)
        return -1;
    l->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return l->dir < 0 ? err_sys(err, errno, "open %s", dir) : 0;
}

/* Another user's, in a directory in which only this one may make anything: one that was given to
 * that user by a daemon that was killed. Without CAP_DAC_OVERRIDE it cannot be asked. */
static bool was_given(const struct listener *l, const struct stat *st)
{
    struct stat dir;
    return st->st_uid != geteuid() && fstat(l->dir, &dir) == 0 && dir.st_uid == geteuid() &&
           !(dir.st_mode & (S_IWGRP | S_IWOTH));
}

/* Whatever stands at the path must be a socket that nobody serves. */
static int check_stale(struct listener *l, struct err *err)
{
    struct stat st;
    struct sockaddr_un a = address_of(l->dir, l->name);
    if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s", l->path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_USAGE, "%s is there and is not a socket", l->path);
    int fd CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EAGAIN)
        return errno == ECONNREFUSED || errno == ENOENT || (errno == EACCES && was_given(l, &st))
                   ? 0
                   : err_sys(err, errno, "%s", l->path);
    return err_set(err, ERR_TEMPORARY, "another daemon answers at the socket %s", l->path);
}

/* It appears under its name only when it listens and nobody else may connect. */
static int publish(struct listener *l, struct err *err)
{
    struct stat st;
    uint64_t random;
    io_random(&random, sizeof random);
    char *fresh CLEANUP_FREE = mem_format(".new-%016llx", (unsigned long long)random);
    struct sockaddr_un a = address_of(l->dir, fresh);
    /* The file has the mode that the socket had before: there is no moment with another one. */
    int bound = fchmod(l->fd, 0600);
    if (bound == 0)
        bound = bind(l->fd, (struct sockaddr *)&a, sizeof a);
    int failed = bound < 0 ? errno : 0;
    if (!failed &&
        (listen(l->fd, BACKLOG) < 0 || fstatat(l->dir, fresh, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            renameat(l->dir, fresh, l->dir, l->name) < 0))
        failed = errno;
    if (failed) {
        if (bound == 0)
            unlinkat(l->dir, fresh, 0);
        return err_sys(err, failed, "socket %s", l->path);
    }
    l->inode = st.st_ino;
    return 0;
}

static int open_parts(struct listener *l, struct err *err)
{
    if (open_directory(l, err) < 0 || check_stale(l, err) < 0)
        return -1;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return l->fd < 0 ? err_sys(err, errno, "socket") : publish(l, err);
}

int listener_open(const char *path, struct listener **out, struct err *err)
{
    struct listener *l = mem_alloc(sizeof *l);
    l->path = mem_copy_string(path);
    l->dir = l->fd = -1;
    if (open_parts(l, err) < 0) {
        listener_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

bool listener_stands(const struct listener *l)
{
    struct stat st;
    return l->inode && fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           st.st_ino == l->inode;
}

int listener_own(struct listener *l, uid_t owner, gid_t group, struct err *err)
{
    if (fchownat(l->dir, l->name, owner, group, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "give the socket %s to user %u", l->path, (unsigned)owner);
    return 0;
}

int listener_fd(const struct listener *l)
{
    return l->fd;
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    if (listener_stands(l))
        unlinkat(l->dir, l->name, 0);
    if (l->fd >= 0)
        close(l->fd);
    if (l->dir >= 0)
        close(l->dir);
    free(l->path);
    free(l->name);
    free(l);
}
