/* A directory of a test's own, on tmpfs where there is one, and short ways to fill it. */
#ifndef TEST_TREE_SCRATCH_H
#define TEST_TREE_SCRATCH_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/entry.h"

/* Deletes dirfd/name with all beneath it; paths may be longer than PATH_MAX. */
static inline void scratch_delete(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            unlinkat(fd, e->d_name, 0) != 0)
            scratch_delete(fd, e->d_name);
    if (d)
        closedir(d);
    unlinkat(dirfd, name, AT_REMOVEDIR);
}

/* The path of a new directory, malloc'ed. */
static inline char *scratch_new(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = mem_format("/dev/shm/mirrord-test-XXXXXX");
    if (mkdtemp(path))
        return path;
    free(path);
    path = mem_format("%s/mirrord-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(path) ? path : NULL;
}

static inline void scratch_free(char *path)
{
    scratch_delete(AT_FDCWD, path);
    free(path);
}

/* Creates or overwrites; false when it failed. */
static inline bool scratch_write(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && io_write_full(fd, text, strlen(text)) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* Waits until what was written is older than the granule, so that its validators prove it. */
static inline void scratch_settle(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct validators written = {.ctime = now.tv_sec, .ctime_nsec = (uint32_t)now.tv_nsec | 1};
    while (validators_clock(&now), validators_racy(&written, &now))
        nanosleep(&pause, NULL);
}

/* Sets mtime, and so a new ctime. */
static inline bool scratch_date(int dirfd, const char *name, long seconds, long nsec)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds, .tv_nsec = nsec}};
    return utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
