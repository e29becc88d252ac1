/*
 * Paths beneath a root become descriptors here and nowhere else; see root.h. openat2 refuses links,
 * mount points and escapes in the kernel, so nothing is checked and then used. Knows nothing of
 * entries or manifests.
 */
#include "tree/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    PIECE_MAX = 4000,  /* bytes given to one openat2; PATH_MAX is 4,096 with the NUL */
    BORROWED_MAX = 16, /* directories kept open for root_borrow_parent */
    RETRIES_MAX = 256, /* EAGAIN: something was renamed while the path was looked up */
};

struct borrowed {
    char *path; /* NULL: free */
    size_t len;
    int fd;
    uint64_t used;
};

struct root {
    int fd;
    char *path;
    dev_t device;
    ino_t inode;
    struct borrowed borrowed[BORROWED_MAX];
    uint64_t clock; /* counts borrowings, for the least recently used */
};

/* A copy without slashes at its end, so that a link named "x/" is seen as the link. */
static char *without_slashes(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    return mem_copy_bytes(path, len);
}

static int refuse_link(const char *path, struct err *err)
{
    char *resolved CLEANUP_FREE = realpath(path, NULL);
    return err_set(err, ERR_USAGE,
        "%s is a symbolic link, which may be switched while it is mirrored; name the directory "
        "that it points to (%s), or the directory above it",
        path, resolved ? resolved : "which is not there");
}

static int open_resolved(struct root *r, const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        err_sys(err, errno, "%s", path);
        if (missing && err)
            err->code = ERR_USAGE;
        return -1;
    }
    if (S_ISLNK(st.st_mode))
        return refuse_link(path, err);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_USAGE, "%s is not a directory", path);
    r->path = realpath(path, NULL);
    if (!r->path)
        return err_sys(err, errno, "%s", path);
    r->fd = open(r->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r->fd < 0 || fstat(r->fd, &st) != 0)
        return err_sys(err, errno, "open %s", r->path);
    r->device = st.st_dev;
    r->inode = st.st_ino;
    return 0;
}

int root_open(const char *path, struct root **out, struct err *err)
{
    char *plain CLEANUP_FREE = without_slashes(path);
    struct root *r = mem_alloc(sizeof *r);
    r->fd = -1;
    if (open_resolved(r, plain, err) != 0) {
        root_close(r);
        return -1;
    }
    *out = r;
    return 0;
}

void root_close(struct root *r)
{
    if (!r)
        return;
    root_forget(r);
    if (r->fd >= 0)
        close(r->fd);
    free(r->path);
    free(r);
}

int root_fd(const struct root *r)
{
    return r->fd;
}

const char *root_path(const struct root *r)
{
    return r->path;
}

int root_in_place(const struct root *r)
{
    struct stat st;
    return lstat(r->path, &st) == 0 && st.st_dev == r->device && st.st_ino == r->inode;
}

static int open_piece(int dirfd, const char *piece, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
#ifdef MIRRORD_FAULTS
    if (getenv("MIRRORD_UNCONFINED")) /* is there another fence behind this one? */
        how.resolve = 0;
#endif
    for (int tries = 0;; tries++) {
        long fd = syscall(SYS_openat2, dirfd, piece, &how, sizeof how);
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN) || tries >= RETRIES_MAX)
            return (int)fd;
    }
}

/* How many bytes of a valid path one openat2 takes: all, or whole components with their slash. */
static size_t piece_length(const char *p, size_t len)
{
    if (len <= PIECE_MAX)
        return len;
    for (size_t n = PIECE_MAX; n > 0; n--)
        if (p[n - 1] == '/')
            return n;
    return len;
}

static int open_beneath(struct root *r, struct bytes path, uint64_t flags)
{
    const char *p = path.data;
    size_t left = path.len;
    int above CLEANUP_FD = -1;
    if (!path_valid(path)) {
        errno = EINVAL;
        return -1;
    }
    if (left == 0)
        return open_piece(r->fd, ".", flags);
    for (;;) {
        char piece[PIECE_MAX + 1];
        size_t n = piece_length(p, left);
        bool last = n == left;
        memcpy(piece, p, n);
        piece[last ? n : n - 1] = '\0';
        int fd = open_piece(above >= 0 ? above : r->fd, piece, last ? flags : O_PATH | O_DIRECTORY);
        if (fd < 0 || last)
            return fd;
        close(above);
        above = fd;
        p += n;
        left -= n;
    }
}

int root_open_dir(struct root *r, struct bytes path)
{
    return open_beneath(r, path, O_RDONLY | O_DIRECTORY);
}

/* Copies the last component; false (EINVAL) where there is none. */
static bool split_name(struct bytes path, char name[PATH_NAME_MAX + 1])
{
    struct bytes last = path_name(path);
    if (path.len == 0 || !path_valid(path)) {
        errno = EINVAL;
        return false;
    }
    memcpy(name, last.data, last.len);
    name[last.len] = '\0';
    return true;
}

int root_open_parent(struct root *r, struct bytes path, char name[PATH_NAME_MAX + 1])
{
    return split_name(path, name) ? root_open_dir(r, path_parent(path)) : -1;
}

static void give_back(struct borrowed *b)
{
    if (!b->path)
        return;
    close(b->fd);
    free(b->path);
    *b = (struct borrowed){.fd = -1};
}

void root_forget(struct root *r)
{
    for (size_t i = 0; i < BORROWED_MAX; i++)
        give_back(&r->borrowed[i]);
}

/* The slot that holds this directory, or the one to use for it: free, else least recently used. */
static struct borrowed *find_borrowed(struct root *r, struct bytes dir)
{
    struct borrowed *best = &r->borrowed[0];
    for (size_t i = 0; i < BORROWED_MAX; i++) {
        struct borrowed *b = &r->borrowed[i];
        if (b->path && b->len == dir.len && memcmp(b->path, dir.data, dir.len) == 0)
            return b;
        if (best->path && (!b->path || b->used < best->used))
            best = b;
    }
    give_back(best);
    return best;
}

int root_borrow_parent(struct root *r, struct bytes path, char name[PATH_NAME_MAX + 1])
{
    struct bytes dir = path_parent(path);
    if (!split_name(path, name))
        return -1;
    if (dir.len == 0)
        return r->fd;
    struct borrowed *b = find_borrowed(r, dir);
    if (!b->path) {
        int fd = root_open_dir(r, dir);
        if (fd < 0)
            return -1;
        *b = (struct borrowed){mem_copy_bytes(dir.data, dir.len), dir.len, fd, 0};
    }
    b->used = ++r->clock;
    return b->fd;
}

enum { FILE_FLAGS = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY };

int root_open_file(struct root *r, struct bytes path, struct stat *st)
{
    int fd CLEANUP_FD = open_beneath(r, path, FILE_FLAGS);
    if (fd < 0 || fstat(fd, st) != 0)
        return -1;
    if (!S_ISREG(st->st_mode)) {
        errno = ENXIO;
        return -1;
    }
    return TAKE_FD(fd);
}

int root_open_name(int dirfd, const char *name)
{
    return open_piece(dirfd, name, FILE_FLAGS);
}

int root_stat(struct root *r, struct bytes path, struct stat *st)
{
    int fd CLEANUP_FD = open_beneath(r, path, O_PATH | O_NOFOLLOW);
    return fd < 0 ? -1 : fstat(fd, st);
}
