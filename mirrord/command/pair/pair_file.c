/* Reading and replacing one file; see pair_file.h. */
#include "command/pair/pair_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"

enum { DIRECTORY_MODE = 0755, USER_DIRECTORY_MODE = 0700 };

static int find_user(const char *user, struct passwd *out, char **memory, struct err *err)
{
    enum { ENTRY_MAX = 16 * 1024 };
    struct passwd *found = NULL;
    *memory = mem_alloc(ENTRY_MAX);
    int rc = getpwnam_r(user, out, *memory, ENTRY_MAX, &found);
    if (found)
        return 0;
    free(*memory);
    *memory = NULL;
    return rc ? err_sys(err, rc, "user %s", user)
              : err_set(err, ERR_FAILED,
                    "there is no user %s on that host: make it (useradd --system --create-home "
                    "--shell /bin/sh %s), or name another one in the configuration",
                    user, user);
}

char *pair_file_keys_of(const char *user, struct err *err)
{
    struct passwd p;
    char *memory = NULL;
    if (find_user(user, &p, &memory, err))
        return NULL;
    char *path = mem_format("%s/.ssh/authorized_keys", p.pw_dir);
    free(memory);
    return path;
}

/* ---- one file in a directory that is held ---- */

static int read_at(
    int dir, const char *name, size_t max, struct pair_file_content *out, struct err *err)
{
    struct stat st;
    *out = (struct pair_file_content){0};
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        out->text = mem_copy_string("");
        return 0;
    }
    if (S_ISLNK(st.st_mode))
        return err_set(err, ERR_FAILED, "is a symbolic link: change by hand what it points to");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FAILED, "is no regular file");
    if (io_slurp(dir, name, max, &out->text, &out->len, err))
        return err->code ? -1 : err_set(err, ERR_TEMPORARY, "was removed meanwhile");
    out->there = true;
    out->mode = st.st_mode & 07777;
    return 0;
}

static int open_directory(const char *path, bool users, const char **name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || !slash[1])
        return err_set(err, ERR_USAGE, "is no absolute path of a file");
    char *dir CLEANUP_FREE = mem_copy_bytes(path, slash == path ? 1 : (size_t)(slash - path));
    *name = slash + 1;
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (users ? O_NOFOLLOW : 0));
}

int pair_file_read(const char *path, size_t max, struct pair_file_content *out, struct err *err)
{
    const char *name;
    err_clear(err);
    int dir CLEANUP_FD = open_directory(path, false, &name, err);
    if (dir < 0 && !err->code && errno == ENOENT) {
        *out = (struct pair_file_content){.text = mem_copy_string("")};
        return 0;
    }
    if (dir < 0 && !err->code)
        err_sys(err, errno, "open its directory");
    return dir < 0 || read_at(dir, name, max, out, err) ? err_prefix(err, "%s", path) : 0;
}

/* ---- replacing ---- */

struct owner {
    bool known;
    uid_t uid;
    gid_t gid;
};

/* Gives an empty directory to its user, who may put another one in its place at any moment: what is
 * not empty is not what was made here. */
static int give(const char *path, const struct owner *o)
{
    const struct dirent *e;
    unsigned n = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    while (dir && (e = readdir(dir)))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    int failed = !dir ? errno : n ? ENOTEMPTY : fchown(fd, o->uid, o->gid) < 0 ? errno : 0;
    if (dir)
        closedir(dir);
    return failed;
}

static int make_directory(const struct pair_file_change *f, const struct owner *o, struct err *err)
{
    char *dir CLEANUP_FREE = mem_copy_bytes(f->path, (size_t)(strrchr(f->path, '/') - f->path));
    if (!o->known)
        return *dir ? io_make_path(dir, DIRECTORY_MODE, err) : 0;
    if (mkdir(dir, USER_DIRECTORY_MODE) < 0)
        return errno == EEXIST ? 0 : err_sys(err, errno, "make %s", dir);
    int failed = give(dir, o);
    return failed ? err_sys(err, failed, "make %s", dir) : 0;
}

/* 0, or an errno. */
static int fill(
    int fd, const struct pair_file_change *f, const struct stat *before, const struct owner *o)
{
    unsigned mode = before ? before->st_mode & 07777 : f->mode;
    uid_t uid = before ? before->st_uid : o->uid;
    gid_t gid = before ? before->st_gid : o->gid;
    if (io_write_full(fd, f->text, f->len))
        return errno;
    if ((before || o->known) && fchown(fd, uid, gid) < 0 && (geteuid() == 0 || uid != geteuid()))
        return errno;
    return fchmod(fd, mode) < 0 || fsync(fd) < 0 ? errno : 0;
}

static int put(int dir, const char *name, const struct pair_file_change *f, const struct owner *o,
    struct err *err)
{
    struct stat st;
    bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    char *fresh CLEANUP_FREE = mem_format(".%s.mirrord-%d", name, (int)getpid());
    int fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", fresh);
    int failed = fill(fd, f, there ? &st : NULL, o);
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && renameat(dir, fresh, dir, name) < 0)
        failed = errno;
    if (!failed)
        return fsync(dir) < 0 ? err_sys(err, errno, "sync") : 0;
    unlinkat(dir, fresh, 0);
    return err_sys(err, failed, "write");
}

/* The user's own directory, not one that the user points somewhere else with. */
static int check_owner(int dir, const struct owner *o, struct err *err)
{
    struct stat st;
    if (!o->known || (fstat(dir, &st) == 0 && (st.st_uid == o->uid || st.st_uid == 0)))
        return 0;
    return err_set(err, ERR_FAILED, "its directory is neither the user's nor root's");
}

static int replace(
    const struct pair_file_change *f, const struct owner *o, size_t max, struct err *err)
{
    const char *name;
    struct pair_file_content now;
    err_clear(err);
    if (make_directory(f, o, err))
        return -1;
    int dir CLEANUP_FD = open_directory(f->path, o->known, &name, err);
    if (dir < 0)
        return err->code ? -1 : err_sys(err, errno, "open its directory");
    if (check_owner(dir, o, err) || read_at(dir, name, max, &now, err))
        return -1;
    bool same = now.len == f->was_len && memcmp(now.text, f->was, now.len) == 0;
    free(now.text);
    if (!same)
        return err_set(err, ERR_TEMPORARY, "was changed by somebody else meanwhile: try again");
    return put(dir, name, f, o, err);
}

int pair_file_replace(const struct pair_file_change *f, size_t max, struct err *err)
{
    struct owner o = {0};
    if (f->path[0] != '/')
        return err_set(err, ERR_USAGE, "%s is no absolute path", f->path);
    if (f->user && *f->user) {
        struct passwd p;
        char *memory = NULL;
        if (find_user(f->user, &p, &memory, err))
            return -1;
        o = (struct owner){true, p.pw_uid, p.pw_gid};
        free(memory);
    }
    return replace(f, &o, max, err) ? err_prefix(err, "%s", f->path) : 0;
}
