/* A copy takes its original's place; see apart.h. */
#include "secondary/trash/apart.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"
#include "secondary/stage/label.h"

#define COPY_NAME PATH_RESERVED "apart"

enum { PIECE = 128 * 1024, ACL_RAW_MAX = 64 * 1024 };

struct apart {
    int dir, from, to;
    char *name;
    struct stat st;
    uint64_t at; /* copied so far */
    bool copied;
    bool published;
};

static int open_copy(struct apart *x, struct err *err)
{
    unlinkat(x->dir, COPY_NAME, 0);
    x->to = openat(x->dir, COPY_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (x->to < 0)
        return err_sys(err, errno, "create a copy");
    x->copied = ioctl(x->to, FICLONE, x->from) == 0;
    return 0;
}

static void give_up(const struct apart *x, const struct err *why)
{
    log_warn("%s is not kept in the trash: %s", QUOTED(x->name, strlen(x->name)), why->text);
    unlinkat(x->dir, x->name, 0);
}

struct apart *apart_new(int dirfd, const char *name, const struct stat *st)
{
    struct err why;
    struct apart *x = mem_alloc(sizeof *x);
    *x = (struct apart){.from = -1, .to = -1, .st = *st, .name = mem_copy_string(name)};
    x->dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (x->dir >= 0)
        x->from = openat(x->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (x->from < 0)
        err_sys(&why, errno, "open");
    if (x->from >= 0 && open_copy(x, &why) == 0)
        return x;
    give_up(x, &why);
    apart_free(x);
    return NULL;
}

void apart_free(struct apart *x)
{
    if (!x)
        return;
    if (x->to >= 0 && !x->published)
        unlinkat(x->dir, COPY_NAME, 0);
    if (x->to >= 0)
        close(x->to);
    if (x->from >= 0)
        close(x->from);
    if (x->dir >= 0)
        close(x->dir);
    free(x->name);
    free(x);
}

/* 1 there may be more, 0 the end, -1. */
static int copy_piece(struct apart *x, uint8_t *piece, struct err *err)
{
    ssize_t n = io_pread_full(x->from, piece, PIECE, x->at);
    if (n < 0)
        return err_sys(err, errno, "read");
    if (io_write_full(x->to, piece, (size_t)n) < 0)
        return err_sys(err, errno, "write a copy");
    x->at += (uint64_t)n;
    return n == PIECE;
}

static void copy_acl(const struct apart *x)
{
    char *raw CLEANUP_FREE = mem_alloc(ACL_RAW_MAX);
    ssize_t n = fgetxattr(x->from, "system.posix_acl_access", raw, ACL_RAW_MAX);
    if (n > 0)
        fsetxattr(x->to, "system.posix_acl_access", raw, (size_t)n, 0);
}

/* Owner, mode, ACL and times; what this user may not set stays as it is. */
static int publish(struct apart *x, struct err *err)
{
    const struct timespec times[2] = {x->st.st_atim, x->st.st_mtim};
    bool owned = fchown(x->to, x->st.st_uid, x->st.st_gid) == 0;
    mode_t mode = x->st.st_mode & (owned ? 07777 : 0777);
    if (fchmod(x->to, mode) < 0)
        return err_sys(err, errno, "chmod a copy");
    copy_acl(x);
    if (label_copy(x->from, x->to) < 0)
        log_debug("the security label of %s is not copied: %s", x->name, strerror(errno));
    if (futimens(x->to, times) < 0)
        return err_sys(err, errno, "set times of a copy");
    if (renameat(x->dir, COPY_NAME, x->dir, x->name) < 0)
        return err_sys(err, errno, "rename a copy");
    x->published = true;
    return 0;
}

/* 1 there is more, 0 all is copied, -1. */
static int copy_some(struct apart *x, uint64_t deadline, struct err *err)
{
    uint8_t *piece CLEANUP_FREE = mem_alloc(PIECE);
    while (!x->copied) {
        int more = copy_piece(x, piece, err);
        if (more < 0)
            return -1;
        x->copied = more == 0;
        if (more == 1 && io_now_us() >= deadline)
            return 1;
    }
    return 0;
}

int apart_step(struct apart *x, uint64_t deadline)
{
    struct err why;
    int more = copy_some(x, deadline, &why);
    if (more == 0)
        more = publish(x, &why);
    if (more < 0)
        give_up(x, &why);
    return more == 1;
}
