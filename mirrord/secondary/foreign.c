/* The trash for foreign things; see foreign.h. Knows nothing of why something is foreign. */
#include "secondary/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

static int open_subdirectory(int dirfd, const char *name)
{
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int open_trash(struct stage *s, struct err *err)
{
    int trash CLEANUP_FD = open_subdirectory(root_fd(s->root), "trash");
    int foreign = trash < 0 ? -1 : open_subdirectory(trash, "foreign");
    if (foreign < 0)
        return err_sys(err, errno, "open the trash of %s", root_path(s->root));
    return foreign;
}

static int write_origin(int item, struct bytes path, struct err *err)
{
    int fd CLEANUP_FD = openat(item, "path", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || io_write_full(fd, path.data, path.len) < 0 || io_write_full(fd, "\n", 1) < 0)
        return err_sys(err, errno, "write the trash's note");
    return 0;
}

int foreign_keep(struct stage *s, int dirfd, const char *name, struct bytes path, struct err *err)
{
    int foreign CLEANUP_FD = open_trash(s, err);
    if (foreign < 0)
        return -1;
    char where[96];
    snprintf(where, sizeof where, "%" PRId64 "-%s-%" PRIx64, (int64_t)time(NULL), s->session,
        s->counter++);
    int item CLEANUP_FD = open_subdirectory(foreign, where);
    if (item < 0)
        return err_sys(err, errno, "create a place in the trash");
    if (write_origin(item, path, err) < 0)
        return -1;
    if (renameat2(dirfd, name, item, "content", RENAME_NOREPLACE) < 0)
        return err_sys(err, errno, "rename into the trash");
    s->foreign++;
    log_warn("%s was not put there by mirrord: set aside in %s/trash/foreign/%s",
        QUOTED(path.data, path.len), root_path(s->root), where);
    return 0;
}
