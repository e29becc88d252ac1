/*
 * Stands before syscall(2) where a program runs beneath valgrind, which does not know openat2: the
 * same by openat, a component at a time, without links, without "..", within one filesystem. Good
 * enough for trees that nobody changes meanwhile; for tests alone. Landlock is not there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LANDLOCK_FIRST = 444, LANDLOCK_LAST = 446, GETXATTRAT = 464 };

/* A link at the end is opened as itself where that is asked for, else refused as openat2 does. */
static int open_last(int dir, const char *name, const struct open_how *how)
{
    struct stat st;
    int flags = (int)how->flags;
    if (!(flags & (O_NOFOLLOW | O_EXCL)) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode)) {
        errno = ELOOP;
        return -1;
    }
    return openat(dir, name, flags | O_NOFOLLOW, (mode_t)how->mode);
}

static int refuse(int errnum)
{
    errno = errnum;
    return -1;
}

static int is_elsewhere(int fd, dev_t device)
{
    struct stat st;
    return fstat(fd, &st) < 0 || st.st_dev != device;
}

static int open_beneath(int dir, const char *path, const struct open_how *how)
{
    char copy[4097], *rest = copy, *name;
    struct stat st;
    if (*path == '/' || strlen(path) >= sizeof copy)
        return refuse(*path == '/' ? EXDEV : ENAMETOOLONG);
    if (fstat(dir, &st) < 0)
        return -1;
    strcpy(copy, path);
    int at = dir, fd = -1;
    while ((name = strsep(&rest, "/"))) {
        while (rest && *rest == '/')
            rest++;
        int last = !rest || !*rest;
        if (strcmp(name, "..") == 0)
            fd = refuse(EXDEV);
        else if (last)
            fd = open_last(at, name, how);
        else
            fd = openat(at, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && !last && errno == ENOTDIR) {
            struct stat link;
            errno = fstatat(at, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(link.st_mode)
                        ? ELOOP
                        : ENOTDIR;
        }
        int errnum = errno;
        if (at != dir)
            close(at);
        at = fd;
        if (fd >= 0 && is_elsewhere(fd, st.st_dev)) {
            close(fd);
            return refuse(EXDEV);
        }
        errno = errnum;
        if (fd < 0 || last)
            break;
    }
    return fd;
}

long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if ((number >= LANDLOCK_FIRST && number <= LANDLOCK_LAST) || number == GETXATTRAT)
        return refuse(ENOSYS);
    if (number == SYS_openat2) {
        const struct open_how *how = (const struct open_how *)a[2];
        if (how->resolve & RESOLVE_BENEATH)
            return open_beneath((int)a[0], (const char *)a[1], how);
        return openat((int)a[0], (const char *)a[1], (int)how->flags, (mode_t)how->mode);
    }
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
