/* From stat, readlink and extended attributes to an entry; equality of entries; the digests over
 * them, whose bytes protocol/PROTOCOL.md documents. Knows neither directories nor the manifest. */
#include "tree/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"
#include "tree/acl.h"
#include "tree/content/digest.h"

struct validators validators_of(const struct stat *st)
{
    return (struct validators){
        .inode = st->st_ino,
        .ctime = st->st_ctim.tv_sec,
        .ctime_nsec = (uint32_t)st->st_ctim.tv_nsec,
        .size = (uint64_t)st->st_size,
        .mtime = st->st_mtim.tv_sec,
        .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
    };
}

bool validators_equal(const struct validators *a, const struct validators *b)
{
    return a->inode == b->inode && a->ctime == b->ctime && a->ctime_nsec == b->ctime_nsec &&
           a->size == b->size && a->mtime == b->mtime && a->mtime_nsec == b->mtime_nsec;
}

void validators_encode(struct wire_writer *w, const struct validators *v)
{
    wire_u64(w, v->inode);
    wire_u64(w, (uint64_t)v->ctime);
    wire_u32(w, v->ctime_nsec);
    wire_u64(w, v->size);
    wire_u64(w, (uint64_t)v->mtime);
    wire_u32(w, v->mtime_nsec);
}

struct validators validators_decode(struct wire_reader *r)
{
    struct validators v = {.inode = wire_get_u64(r)};
    v.ctime = (int64_t)wire_get_u64(r);
    v.ctime_nsec = wire_get_u32(r);
    v.size = wire_get_u64(r);
    v.mtime = (int64_t)wire_get_u64(r);
    v.mtime_nsec = wire_get_u32(r);
    return v;
}

void validators_clock(struct timespec *now)
{
    clock_gettime(CLOCK_REALTIME_COARSE, now);
}

static unsigned granule_ms(const struct validators *v)
{
    return v->ctime_nsec ? VALIDATORS_GRANULE_MS : VALIDATORS_SECOND_MS;
}

unsigned validators_pause_ms(const struct validators *v)
{
    enum { MORE_MS = 10 }; /* the clock may be behind */
    return granule_ms(v) + MORE_MS;
}

bool validators_racy(const struct validators *v, const struct timespec *now)
{
    const int64_t granule = granule_ms(v) * 1000000L;
    int64_t seconds = (int64_t)now->tv_sec - v->ctime;
    if (seconds > 1)
        return false;
    if (seconds < -1)
        return true;
    return seconds * 1000000000 + now->tv_nsec - v->ctime_nsec < granule;
}

static bool acl_is_none(int errnum)
{
    return errnum == ENODATA || errnum == EOPNOTSUPP;
}

/* Linux 6.13's system call, which libraries do not have yet. */
enum { SYSTEM_GETXATTRAT = 464 };
struct getxattrat_args {
    uint64_t value;
    uint32_t size, flags;
};

static ssize_t getxattrat_nofollow(
    int dirfd, const char *name, const char *attribute, void *out, size_t size)
{
    struct getxattrat_args args = {.value = (uintptr_t)out, .size = (uint32_t)size};
    return syscall(
        SYSTEM_GETXATTRAT, dirfd, name, AT_SYMLINK_NOFOLLOW, attribute, &args, sizeof args);
}

/* An older kernel, or a filter that does not know the system call, leaves the way through /proc,
 * which takes six times as long. */
ssize_t entry_attribute(int dirfd, const char *name, const char *attribute, void *out, size_t size)
{
    char path[sizeof "/proc/self/fd/" + 16 + PATH_NAME_MAX];
    if (!*name)
        return fgetxattr(dirfd, attribute, out, size);
    ssize_t got = getxattrat_nofollow(dirfd, name, attribute, out, size);
    if (got >= 0 || (errno != ENOSYS && errno != EPERM))
        return got;
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dirfd, name);
    ssize_t n = lgetxattr(path, attribute, out, size);
    if (n < 0 && errno == ENOENT) {
        /* Without /proc every entry would look as if it were gone. */
        struct stat st;
        errno = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? ENOTDIR : ENOENT;
    }
    return n;
}

static int read_acl(int dirfd, const char *name, bool of_default, struct names *names,
    uint8_t store[ENTRY_ACL_MAX], struct bytes *out, struct err *err)
{
    uint8_t raw[ENTRY_ACL_MAX];
    const char *attribute = of_default ? XATTR_NAME_POSIX_ACL_DEFAULT : XATTR_NAME_POSIX_ACL_ACCESS;
    /* Mostly there is none, and to be asked for the length alone costs the kernel no memory. */
    ssize_t n = entry_attribute(dirfd, name, attribute, NULL, 0);
    if (n > 0)
        n = entry_attribute(dirfd, name, attribute, raw, sizeof raw);
    if (n < 0 && acl_is_none(errno))
        return 0;
    if (n < 0)
        return err_sys(err, errno, "read its ACL%s", errno == ENOTDIR ? " through /proc" : "");
    size_t len = 0;
    if (acl_to_text(raw, (size_t)n, of_default, names, store, &len, err) != 0)
        return -1;
    if (len > 0)
        *out = (struct bytes){store, len};
    return 0;
}

static int read_target(
    int dirfd, const char *name, struct entry_store *store, struct bytes *out, struct err *err)
{
    ssize_t n = readlinkat(dirfd, name, store->target, sizeof store->target);
    if (n < 0)
        return err_sys(err, errno, "readlink");
    if (n == 0 || n > PATH_TARGET_MAX)
        return err_sys(err, ENAMETOOLONG, "readlink");
    *out = (struct bytes){store->target, (size_t)n};
    return 0;
}

static int read_details(int dirfd, const char *name, struct names *names, struct entry_store *store,
    struct entry *e, struct err *err)
{
    if (e->type == ENTRY_LINK)
        return read_target(dirfd, name, store, &e->target, err);
    if (read_acl(dirfd, name, false, names, store->acl, &e->acl, err) != 0)
        return -1;
    if (e->type == ENTRY_DIR)
        return read_acl(dirfd, name, true, names, store->default_acl, &e->default_acl, err);
    return 0;
}

static enum entry_type type_of(mode_t mode)
{
    return S_ISREG(mode)   ? ENTRY_FILE
           : S_ISDIR(mode) ? ENTRY_DIR
           : S_ISLNK(mode) ? ENTRY_LINK
                           : ENTRY_NONE;
}

int entry_read(int dirfd, const char *name, const struct stat *st, struct names *names,
    bool keep_special, struct entry_store *store, struct entry *out, struct err *err)
{
    struct entry e = {
        .type = (uint8_t)type_of(st->st_mode),
        .mtime = st->st_mtim.tv_sec,
        .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
    };
    if (e.type == ENTRY_NONE)
        return 1;
    if (e.type != ENTRY_LINK)
        e.mode = st->st_mode & 07777;
    if (e.type == ENTRY_FILE) {
        e.size = (uint64_t)st->st_size;
        if (!keep_special)
            e.mode &= (uint16_t) ~(S_ISUID | S_ISGID);
    }
    e.owner = names_user(names, st->st_uid);
    e.group = names_group(names, st->st_gid);
    if (read_details(dirfd, name, names, store, &e, err) != 0)
        return -1;
    *out = e;
    return 0;
}

int entry_set_acl(int fd, bool of_default, struct bytes acl, struct names *names, struct err *err)
{
    const char *attribute = of_default ? XATTR_NAME_POSIX_ACL_DEFAULT : XATTR_NAME_POSIX_ACL_ACCESS;
    void *raw CLEANUP_FREE = NULL;
    size_t len = 0;
    if (acl.len == 0) {
        if (fremovexattr(fd, attribute) == 0 || acl_is_none(errno))
            return 0;
        return err_sys(err, errno, "remove its ACL");
    }
    if (acl_from_text(acl, names, &raw, &len, err) != 0)
        return -1;
    if (fsetxattr(fd, attribute, raw, len, 0) == 0)
        return 0;
    return errno == EOPNOTSUPP ? 1 : err_sys(err, errno, "set its ACL");
}

bool entry_meta_equal(const struct entry *a, const struct entry *b)
{
    return a->type == b->type && a->mode == b->mode && a->mtime == b->mtime &&
           a->mtime_nsec == b->mtime_nsec && (a->type != ENTRY_FILE || a->size == b->size) &&
           bytes_equal(a->target, b->target) && bytes_equal(a->acl, b->acl) &&
           bytes_equal(a->default_acl, b->default_acl);
}

bool entry_owner_equal(const struct entry *a, const struct entry *b)
{
    return bytes_equal(a->owner, b->owner) && bytes_equal(a->group, b->group);
}

bool entry_content_equal(const struct entry *a, const struct entry *b)
{
    if (a->type != ENTRY_FILE && b->type != ENTRY_FILE)
        return true;
    if (a->type != b->type || a->size != b->size)
        return false;
    return !a->has_digest || !b->has_digest || digest_equal(&a->digest, &b->digest);
}

enum {
    DIGESTED_MAX = 64 + 2 * ENTRY_OWNER_MAX + PATH_NAME_MAX + PATH_TARGET_MAX + 2 * ENTRY_ACL_MAX
};

/* A writer over memory that never grows: an entry within its limits always fits. */
static struct wire_writer writer_over(uint8_t *buf, size_t size)
{
    return (struct wire_writer){.data = buf, .cap = size, .max = size};
}

void entry_digest_meta(struct bytes name, const struct entry *e, struct digest *out)
{
    uint8_t buf[DIGESTED_MAX];
    struct wire_writer w = writer_over(buf, sizeof buf);
    wire_u8(&w, 'm');
    wire_short(&w, name);
    wire_u8(&w, e->type);
    wire_u16(&w, e->mode);
    wire_u64(&w, (uint64_t)e->mtime);
    wire_u32(&w, e->mtime_nsec);
    wire_u64(&w, e->type == ENTRY_FILE ? e->size : 0);
    wire_short(&w, e->target);
    wire_short(&w, e->acl);
    wire_short(&w, e->default_acl);
    digest_plain(buf, w.len, out);
}

void entry_digest_owner(struct bytes name, const struct entry *e, struct digest *out)
{
    uint8_t buf[DIGESTED_MAX];
    struct wire_writer w = writer_over(buf, sizeof buf);
    wire_u8(&w, 'o');
    wire_short(&w, name);
    wire_short(&w, e->owner);
    wire_short(&w, e->group);
    digest_plain(buf, w.len, out);
}

void entry_digest_content(struct bytes name, const struct entry *e, struct digest *out)
{
    uint8_t buf[DIGESTED_MAX];
    struct wire_writer w = writer_over(buf, sizeof buf);
    memset(out, 0, sizeof *out);
    if (e->type != ENTRY_FILE || !e->has_digest)
        return;
    wire_u8(&w, 'c');
    wire_short(&w, name);
    wire_raw(&w, e->digest.b, sizeof e->digest.b);
    digest_plain(buf, w.len, out);
}
