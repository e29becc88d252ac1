/* Small things over descriptors and clocks; see io.h. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    HOLE_MIN = 32 * 1024, /* bytes; less is as well written */
    SLURP_FIRST = 4096,   /* bytes: most of what is read whole is shorter */
};

ssize_t io_pread_full(int fd, void *p, size_t n, uint64_t offset)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, (char *)p + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

int io_write_full(int fd, const void *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = write(fd, (const char *)p + done, n - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        done += (size_t)r;
    }
    return 0;
}

int io_pwrite_full(int fd, const void *p, size_t n, uint64_t offset)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pwrite(fd, (const char *)p + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        done += (size_t)r;
    }
    return 0;
}

bool io_is_zeros(const void *p, size_t n)
{
    const uint8_t *byte = p;
    return n == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, n - 1) == 0);
}

int io_pwrite_sparse(int fd, const void *p, size_t n, uint64_t offset)
{
    const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (n >= HOLE_MIN && io_is_zeros(p, n) && fallocate(fd, hole, (off_t)offset, (off_t)n) == 0)
        return 1;
    return io_pwrite_full(fd, p, n, offset);
}

int io_publish(int dirfd, const char *name, const void *p, size_t n, struct err *err)
{
    char *fresh CLEANUP_FREE = mem_format("%s.new", name);
    int fd = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", fresh);
    int failed =
        FAULT_CALL("write", io_write_full(fd, p, n)) < 0 || FAULT_CALL("fsync", fsync(fd)) < 0
            ? errno
            : 0;
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && FAULT_CALL("renameat", renameat(dirfd, fresh, dirfd, name)) < 0)
        failed = errno;
    if (!failed && FAULT_CALL("fsync", fsync(dirfd)) < 0)
        failed = errno;
    if (!failed)
        return 0;
    unlinkat(dirfd, fresh, 0);
    return err_sys(err, failed, "write %s", name);
}

int io_replace(int dirfd, const char *name, const void *p, size_t n, struct err *err)
{
    char *fresh CLEANUP_FREE = mem_format("%s.new", name);
    int fd = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", fresh);
    int failed = io_write_full(fd, p, n) < 0 ? errno : 0;
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && renameat(dirfd, fresh, dirfd, name) < 0)
        failed = errno;
    if (!failed)
        return 0;
    unlinkat(dirfd, fresh, 0);
    return err_sys(err, failed, "write %s", name);
}

/* Where the descriptor stands, and no seeking: the file may be a pipe. */
static ssize_t read_full(int fd, char *p, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(fd, p + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

int io_slurp(int dirfd, const char *name, size_t max, char **out, size_t *len, struct err *err)
{
    int links = dirfd == AT_FDCWD ? 0 : O_NOFOLLOW;
    int fd CLEANUP_FD = openat(dirfd, name, O_RDONLY | O_CLOEXEC | links);
    if (fd < 0 && errno == ENOENT)
        return 1;
    if (fd < 0)
        return err_sys(err, errno, "open %s", name);
    char *text CLEANUP_FREE = NULL;
    size_t room = 0, n = 0;
    do { /* memory for what is there, not for what may be */
        room = room ? 2 * room : SLURP_FIRST;
        if (room > max)
            room = max + 1;
        text = mem_resize(text, room + 1, 1);
        ssize_t more = read_full(fd, text + n, room - n);
        if (more < 0)
            return err_sys(err, errno, "read %s", name);
        n += (size_t)more;
    } while (n == room && n <= max);
    if (n > max)
        return err_set(err, ERR_FAILED, "%s is longer than %zu bytes", name, max);
    text[n] = '\0';
    if (len)
        *len = n;
    *out = TAKE_PTR(text);
    return 0;
}

/* 0, or the errno; 0 also where a directory stands already. */
static int make_directory(const char *path, unsigned mode)
{
    struct stat st;
    if (mkdir(path, mode) == 0)
        return 0;
    if (errno == EEXIST && stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    return errno;
}

int io_make_path(const char *path, unsigned mode, struct err *err)
{
    if (!*path)
        return err_sys(err, ENOENT, "create directory");
    char *part CLEANUP_FREE = mem_copy_string(path);
    for (size_t i = 1, len = strlen(path); i <= len; i++) {
        if (path[i] && path[i] != '/')
            continue;
        part[i] = '\0';
        int failed = make_directory(part, mode);
        if (failed)
            return err_sys(err, failed, "create directory %s", part);
        part[i] = path[i];
    }
    return 0;
}

const char *io_path_beneath(const char *path, const char *top)
{
    size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);
    if (strncmp(path, top, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return path + n + strspn(path + n, "/");
}

void io_hex(const void *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

int io_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t io_now_us(void)
{
    return now_us();
}

uint64_t io_now_ms(void)
{
    return now_us() / 1000;
}

uint64_t io_boot_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int io_take_ends(sigset_t *before)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, before);
    return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

void io_random(void *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t r = getrandom((char *)p + got, n - got, 0);
        if (r < 0 && errno != EINTR) {
            log_error("no random numbers: %s", strerror(errno));
            abort();
        }
        got += r > 0 ? (size_t)r : 0;
    }
}
