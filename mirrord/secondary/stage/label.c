/* Which label, and setting it; see label.h. */
#include "secondary/stage/label.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "protocol/path.h"
#include "tree/entry.h"
#include "tree/root.h"

#define LABEL "security.selinux"

struct value {
    char text[512];
    ssize_t len; /* ≤ 0: none */
};

static void get(int dirfd, const char *name, struct value *out)
{
    out->len = entry_attribute(dirfd, name, LABEL, out->text, sizeof out->text);
}

static int set(int fd, const struct value *v)
{
    struct value now;
    get(fd, "", &now);
    if (now.len == v->len && memcmp(now.text, v->text, (size_t)v->len) == 0)
        return 0;
    return fsetxattr(fd, LABEL, v->text, (size_t)v->len, 0);
}

struct label label_of(int root_fd)
{
    struct value v;
    get(root_fd, "", &v);
    return (struct label){.used = v.len > 0};
}

int label_copy(int from, int to)
{
    struct value v;
    get(from, "", &v);
    return v.len > 0 ? set(to, &v) : 0;
}

/* Of what stands there, if it is of the same kind as what comes. */
static bool get_replaced(int dirfd, const char *name, mode_t type, struct value *out)
{
    struct stat st;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (st.st_mode & S_IFMT) != type)
        return false;
    get(dirfd, name, out);
    return out->len > 0;
}

/* The directories above that are not there yet come with it. */
static void get_wanted(struct root *root, struct bytes path, mode_t type, struct value *out)
{
    char name[PATH_NAME_MAX + 1];
    bool itself = true;
    for (struct bytes at = path; at.len; at = path_parent(at)) {
        int above = root_borrow_parent(root, at, name);
        if (above >= 0 && itself && get_replaced(above, name, type, out))
            return;
        itself = false;
        if (above < 0)
            continue;
        get(above, "", out);
        return;
    }
    get(root_fd(root), "", out);
}

static void tell(struct label *l, struct root *root, struct bytes path, int failed)
{
    if (l->told)
        return;
    l->told = true;
    log_warn(
        "%s: %s, and what comes after it, cannot be given the security label of its place: %s. "
        "They keep the label of files made beside the root; allow it in the policy, or type: "
        "restorecon -R %s",
        root_path(root), QUOTED(path.data, path.len), strerror(failed), root_path(root));
}

void label_place(struct label *l, struct root *root, struct bytes path, int fd)
{
    struct value v;
    struct stat st;
    if (!l->used || fstat(fd, &st) < 0)
        return;
    get_wanted(root, path, st.st_mode & S_IFMT, &v);
    if (v.len > 0 && set(fd, &v) < 0)
        tell(l, root, path, errno);
}

void label_place_directory(
    struct label *l, struct root *root, struct bytes path, int dirfd, const char *name)
{
    if (!l->used)
        return;
    int fd CLEANUP_FD = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        label_place(l, root, path, fd);
}
