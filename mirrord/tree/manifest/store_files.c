/* The lock of a database and its removal; see store_files.h and store.h. */
#include "tree/manifest/store_files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tree/manifest/store.h"

enum { LOCK_WAIT_MS = 1000, LOCK_RETRY_MS = 5 };

static const char *const files[] = {"data.mdb", "lock.mdb"};

int store_lock(const char *dir, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/manifest.lock", dir);
    int fd CLEANUP_FD = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "%s", path);
    /* A child that another thread forks holds a copy of an older descriptor until it executes. */
    uint64_t until = io_now_ms() + LOCK_WAIT_MS;
    int r = flock(fd, LOCK_EX | LOCK_NB);
    while (r != 0 && errno == EWOULDBLOCK && io_now_ms() < until) {
        poll(NULL, 0, LOCK_RETRY_MS);
        r = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (r == 0)
        return TAKE_FD(fd);
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_TEMPORARY, "the manifest in %s is used by another process", dir);
    return err_sys(err, errno, "lock %s", path);
}

bool store_has_links(const char *dir)
{
    bool any = false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path CLEANUP_FREE = mem_format("%s/%s", dir, files[i]);
        struct stat st;
        any = any || (lstat(path, &st) == 0 && !S_ISREG(st.st_mode));
    }
    return any;
}

int store_discard(const char *dir, struct err *err)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path CLEANUP_FREE = mem_format("%s/%s", dir, files[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return err_sys(err, errno, "unlink %s", path);
    }
    return 0;
}
