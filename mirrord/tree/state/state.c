/* The state directory of a host and of one root; see state.h. Knows files and locks, nothing of
 * what is kept in them. */
#include "tree/state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/content/digest.h"

struct state {
    int fd;   /* the root's directory */
    int lock; /* the locked file */
    char *path;
    char *manifest;
    char *cookies;
};

enum { HEX = 2 * sizeof(struct digest), RETRY_MS = 20 };

char *state_default_dir(void)
{
    if (geteuid() == 0)
        return mem_copy_string("/var/lib/mirrord");
    const char *base = getenv("XDG_STATE_HOME");
    if (base && base[0] == '/')
        return mem_format("%s/mirrord", base);
    const char *home = getenv("HOME");
    const struct passwd *me = home && home[0] == '/' ? NULL : getpwuid(geteuid());
    return mem_format("%s/.local/state/mirrord", me ? me->pw_dir : home ? home : "");
}

static bool from_hex(const char *text, struct digest *out)
{
    struct digest d;
    for (size_t i = 0; i < sizeof d.b; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        d.b[i] = (uint8_t)byte;
    }
    *out = d;
    return true;
}

/* Two that start at once must agree: the first one's file stays. */
static int make_host_id(int dir, struct err *err)
{
    struct digest id;
    char hex[HEX + 2];
    char *fresh CLEANUP_FREE = mem_format("host-id.%d", (int)getpid());
    io_random(&id, sizeof id);
    io_hex(id.b, sizeof id.b, hex);
    strcat(hex, "\n");
    if (io_publish(dir, fresh, hex, strlen(hex), err) < 0)
        return -1;
    int failed = linkat(dir, fresh, dir, "host-id", 0) < 0 && errno != EEXIST ? errno : 0;
    unlinkat(dir, fresh, 0);
    if (!failed && fsync(dir) < 0)
        failed = errno;
    return failed ? err_sys(err, failed, "make host-id") : 0;
}

int state_host_id(const char *state_dir, struct digest *out, struct err *err)
{
    if (io_make_path(state_dir, 0700, err) < 0)
        return -1;
    int dir CLEANUP_FD = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, errno, "open %s", state_dir);
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    int r = io_slurp(dir, "host-id", 4096, &text, &len, err);
    if (r < 0)
        return err_prefix(err, "%s", state_dir);
    if (r == 0 && len >= HEX && from_hex(text, out))
        return 0;
    if (r == 0)
        return err_set(
            err, ERR_FAILED, "%s/host-id holds no id: remove the file to get a new one", state_dir);
    if (make_host_id(dir, err) < 0)
        return err_prefix(err, "%s", state_dir);
    return state_host_id(state_dir, out, err);
}

/* NAME-HASH: the last component as far as it is plain, and the digest of the whole path. */
static char *directory_name(const char *root_path)
{
    struct digest d;
    digest_plain(root_path, strlen(root_path), &d);
    char hex[HEX + 1];
    io_hex(d.b, sizeof d.b, hex);
    const char *last = strrchr(root_path, '/');
    char plain[41];
    size_t n = 0;
    for (const char *p = last ? last + 1 : root_path; *p && n < sizeof plain - 1; p++)
        plain[n++] = strchr("-_.", *p) || (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                             (*p >= 'a' && *p <= 'z')
                         ? *p
                         : '_';
    plain[n] = '\0';
    hex[16] = '\0';
    return mem_format("%s-%s", plain[0] == '.' ? "_" : plain, hex);
}

static int refuse_network(const char *dir, struct err *err)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {{0x6969, "NFS"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"}, {0x5346414f, "AFS"},
        {0x00c36400, "Ceph"}, {0x01021997, "9p"}};
    struct statfs fs;
    if (statfs(dir, &fs) < 0)
        return err_sys(err, errno, "statfs %s", dir);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if ((unsigned long)fs.f_type == kinds[i].magic)
            return err_set(err, ERR_FAILED,
                "the state directory %s is on a network filesystem (%s), where the database that "
                "mirrord keeps there would break: choose a local one with --state-dir",
                dir, kinds[i].name);
    return 0;
}

/* The owner's id of the lock file; zeros when it holds none. */
static struct digest lock_owner(int fd)
{
    char text[HEX + 1] = {0};
    struct digest owner = {0};
    if (pread(fd, text, HEX, 0) == HEX)
        from_hex(text, &owner);
    return owner;
}

/* 0 locked; the holder's pid where somebody else has it; -1. */
static pid_t try_lock(int fd)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (;;) {
        if (fcntl(fd, F_SETLK, &l) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return -1;
        struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_GETLK, &holder) < 0)
            return -1;
        if (holder.l_type != F_UNLCK)
            return holder.l_pid;
    }
}

static bool is_zero(const struct digest *d)
{
    struct digest zero = {0};
    return digest_equal(d, &zero);
}

static int lock_state(int fd, const char *root_path, unsigned wait_ms, struct err *err)
{
    uint64_t deadline = io_now_ms() + wait_ms;
    for (;;) {
        pid_t holder = try_lock(fd);
        if (holder == 0)
            return 0;
        if (holder < 0)
            return err_sys(err, errno, "lock");
        if (io_now_ms() >= deadline) {
            err_set(err, ERR_TEMPORARY,
                "%s is held by another mirrord process, %d: wait for it or end it",
                QUOTED(root_path, strlen(root_path)), (int)holder);
            return STATE_LOCKED;
        }
        poll(NULL, 0, RETRY_MS);
    }
}

static int subdirectory(int dir, const char *name, struct err *err)
{
    struct stat st;
    if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "create directory %s", name);
    bool is = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    return is ? 0 : err_sys(err, ENOTDIR, "%s", name);
}

/* A receiver may write in it whatever it likes, and may have been taken over: whoever comes after
 * it, with more rights, follows no link there. */
enum { OWN_DIRECTORY = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static int prepare(
    struct state *s, const char *root_path, const struct digest *owner, struct err *err)
{
    char hex[HEX + 2];
    io_hex(owner->b, sizeof owner->b, hex);
    strcat(hex, "\n");
    if (pwrite(s->lock, hex, HEX + 1, 0) != HEX + 1)
        return err_sys(err, errno, "write lock");
    struct stat st;
    if (fstatat(s->fd, STATE_PATH_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
        io_publish(s->fd, STATE_PATH_FILE, root_path, strlen(root_path), err) < 0)
        return -1;
    if (subdirectory(s->fd, "manifest", err) < 0 || subdirectory(s->fd, "cookies", err) < 0)
        return -1;
    return 0;
}

int state_open(const char *state_dir, const char *root_path, const struct digest *owner,
    unsigned wait_ms, struct state **out, struct err *err)
{
    struct state *s = mem_alloc(sizeof *s);
    s->fd = s->lock = -1;
    s->path = state_root_dir(state_dir, root_path);
    s->manifest = mem_format("%s/manifest", s->path);
    s->cookies = mem_format("%s/cookies", s->path);
    int r = io_make_path(s->path, 0700, err);
    if (r == 0)
        r = refuse_network(s->path, err);
    if (r == 0 && (s->fd = open(s->path, O_RDONLY | OWN_DIRECTORY)) < 0)
        r = err_sys(err, errno, "open %s", s->path);
    if (r == 0 &&
        (s->lock = openat(s->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
        r = err_sys(err, errno, "open %s/lock", s->path);
    if (r == 0)
        r = lock_state(s->lock, root_path, wait_ms, err);
    if (r == 0 && (r = prepare(s, root_path, owner, err)) < 0)
        err_prefix(err, "%s", s->path);
    if (r != 0) {
        state_close(s);
        return r;
    }
    *out = s;
    return 0;
}

void state_ask_to_yield(const char *state_dir, const char *root_path, const struct digest *owner)
{
    struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path CLEANUP_FREE = state_root_dir(state_dir, root_path);
    int dir CLEANUP_FD = open(path, O_PATH | OWN_DIRECTORY);
    int fd CLEANUP_FD = openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_GETLK, &holder) < 0 || holder.l_type == F_UNLCK || holder.l_pid <= 0)
        return;
    struct digest theirs = lock_owner(fd);
    if (is_zero(owner) || !digest_equal(owner, &theirs))
        return;
    log_info("asking process %d, which serves an older session for %s, to yield", (int)holder.l_pid,
        QUOTED(root_path, strlen(root_path)));
    kill(holder.l_pid, SIGTERM);
}

int state_is_held(int state_fd)
{
    struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd CLEANUP_FD = openat(state_fd, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    return fcntl(fd, F_GETLK, &holder) < 0 ? -1 : holder.l_type != F_UNLCK;
}

char *state_scratch(const char *state_dir, struct err *err)
{
    char *path = mem_format("%s/scratch-XXXXXX", state_dir);
    if (io_make_path(state_dir, 0700, err) == 0 && mkdtemp(path))
        return path;
    err_sys(err, errno, "create %s", path);
    free(path);
    return NULL;
}

static int discard_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void state_discard(const char *scratch)
{
    enum { OPEN_MAX_DIRS = 16 };
    if (nftw(scratch, discard_one, OPEN_MAX_DIRS, FTW_DEPTH | FTW_PHYS) < 0)
        log_warn("cannot remove %s: %s", scratch, strerror(errno));
}

char *state_root_dir(const char *state_dir, const char *root_path)
{
    char *name CLEANUP_FREE = directory_name(root_path);
    return mem_format("%s/roots/%s", state_dir, name);
}

int state_make_dir(const char *state_dir, const char *root_path, struct err *err)
{
    char *path CLEANUP_FREE = state_root_dir(state_dir, root_path);
    int fd = open(path, O_RDONLY | OWN_DIRECTORY);
    if (fd < 0 && errno == ENOENT && io_make_path(path, 0700, err) < 0)
        return -1;
    if (fd < 0)
        fd = open(path, O_RDONLY | OWN_DIRECTORY);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

int state_open_dir(const char *state_dir, const char *root_path, struct err *err)
{
    char *resolved CLEANUP_FREE = realpath(root_path, NULL);
    return state_open_resolved(state_dir, resolved ? resolved : root_path, err);
}

int state_open_resolved(const char *state_dir, const char *root_path, struct err *err)
{
    char *path CLEANUP_FREE = state_root_dir(state_dir, root_path);
    int fd = open(path, O_PATH | OWN_DIRECTORY);
    if (fd < 0 && errno == ENOENT)
        return STATE_NONE;
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

void state_close(struct state *s)
{
    if (!s)
        return;
    if (s->lock >= 0)
        close(s->lock);
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->manifest);
    free(s->cookies);
    free(s);
}

int state_fd(const struct state *s)
{
    return s->fd;
}

const char *state_path(const struct state *s)
{
    return s->path;
}

const char *state_manifest_dir(const struct state *s)
{
    return s->manifest;
}

const char *state_cookie_dir(const struct state *s)
{
    return s->cookies;
}
