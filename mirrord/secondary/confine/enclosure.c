/*
 * An empty filesystem in memory becomes the root directory, with the directories that are shown
 * mounted in it; see enclosure.h. Each is cloned as a mount whose root it is, so that ".." ends
 * there also for who has a descriptor. They stay slaves of the host's mounts: what is mounted or
 * unmounted in them there is so here.
 */
#include "secondary/confine/enclosure.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* Mounts; with more directories the ones above them are shown instead. */
enum { SHOWN_MAX = 256 };

struct link {
    char *path, *real;
};

struct enclosure {
    char **shown;
    size_t shown_count;
    struct link *links;
    size_t link_count;
    char *lacks; /* NULL */
};

static bool may_mount(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & 1U << CAP_SYS_ADMIN);
}

struct enclosure *enclosure_new(void)
{
    struct enclosure *e = mem_alloc(sizeof *e);
    if (!may_mount())
        enclosure_forgo(e, "without CAP_SYS_ADMIN there is none; containers often lack it");
    return e;
}

void enclosure_free(struct enclosure *e)
{
    for (size_t i = 0; i < e->shown_count; i++)
        free(e->shown[i]);
    for (size_t i = 0; i < e->link_count; i++) {
        free(e->links[i].path);
        free(e->links[i].real);
    }
    free(e->shown);
    free(e->links);
    free(e->lacks);
    free(e);
}

void enclosure_show(struct enclosure *e, const char *real)
{
    if (strcmp(real, "/") == 0) {
        enclosure_forgo(e, "everything would be in it");
        return;
    }
    e->shown = mem_resize(e->shown, e->shown_count + 1, sizeof *e->shown);
    e->shown[e->shown_count++] = mem_copy_string(real);
}

void enclosure_link(struct enclosure *e, const char *path, const char *real)
{
    e->links = mem_resize(e->links, e->link_count + 1, sizeof *e->links);
    e->links[e->link_count++] = (struct link){mem_copy_string(path), mem_copy_string(real)};
}

void enclosure_forgo(struct enclosure *e, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!e->lacks)
        e->lacks = mem_copy_string(text);
}

const char *enclosure_lacks(const struct enclosure *e)
{
    return e->lacks;
}

/* --- which directories --- */

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_link(const void *a, const void *b)
{
    return strcmp(((const struct link *)a)->path, ((const struct link *)b)->path);
}

static bool is_shown(const struct enclosure *e, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (io_path_beneath(path, e->shown[i]))
            return true;
    return false;
}

/* In order, those above first, and none that is in another one. A directory "a-b" sorts between "a"
 * and "a/b": so all before it are looked at. */
static void tidy(struct enclosure *e)
{
    size_t kept = 0;
    if (e->shown_count)
        qsort(e->shown, e->shown_count, sizeof *e->shown, by_path);
    for (size_t i = 0; i < e->shown_count; i++) {
        if (kept && (io_path_beneath(e->shown[i], e->shown[kept - 1]) ||
                        (kept <= SHOWN_MAX && is_shown(e, kept, e->shown[i]))))
            free(e->shown[i]);
        else
            e->shown[kept++] = e->shown[i];
    }
    e->shown_count = kept;
}

static size_t depth(const char *path)
{
    size_t n = 0;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

/* The deepest ones are replaced by what they are in. False: that is the root directory. */
static bool go_up(struct enclosure *e)
{
    size_t deepest = 0;
    for (size_t i = 0; i < e->shown_count; i++)
        if (depth(e->shown[i]) > deepest)
            deepest = depth(e->shown[i]);
    for (size_t i = 0; deepest > 1 && i < e->shown_count; i++)
        if (depth(e->shown[i]) == deepest)
            *strrchr(e->shown[i], '/') = '\0';
    return deepest > 1;
}

static int choose(struct enclosure *e, struct err *err)
{
    tidy(e);
    while (e->shown_count > SHOWN_MAX) {
        if (!go_up(e))
            return err_set(
                err, ERR_FAILED, "the roots are in more than %d directories of /", SHOWN_MAX);
        tidy(e);
    }
    return 0;
}

/* --- what propagates --- */

/* The kernel writes blanks and backslashes as \\ and three octal digits. */
static void unescape(char *path)
{
    char *to = path;
    for (const char *p = path; *p; to++) {
        unsigned byte;
        if (*p == '\\' && sscanf(p + 1, "%3o", &byte) == 1) {
            *to = (char)byte;
            p += 4;
        } else {
            *to = *p++;
        }
    }
    *to = '\0';
}

/* Does this mount hold the directory, or is it in it? */
static bool concerns(const char *point, const char *shown)
{
    return strcmp(point, "/") == 0 || io_path_beneath(shown, point) ||
           io_path_beneath(point, shown);
}

/* A line of mountinfo, "36 35 98:0 /root /point options shared:7 … - type …": what it says of a
 * mount that concerns what is shown. Of those that hold a directory the last and deepest one
 * counts. */
static void look_at_mount(const struct enclosure *e, char *line, size_t *deepest, bool *private)
{
    char point[4096];
    if (sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
        return;
    unescape(point);
    char *end = strstr(line, " - ");
    if (end)
        *end = '\0';
    bool is_private = !strstr(line, " shared:");
    for (size_t i = 0; i < e->shown_count; i++) {
        size_t len = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (!concerns(point, e->shown[i]))
            continue;
        if (len > strlen(e->shown[i])) {
            private[i] |= is_private;
        } else if (len >= deepest[i]) {
            deepest[i] = len;
            private[i] = is_private;
        }
    }
}

/* What is mounted in a private mount later would not be seen in the enclosure, and a rename there
 * could take the host's mount away. */
static int check_propagation(const struct enclosure *e, struct err *err)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    size_t *deepest CLEANUP_FREE = mem_array(e->shown_count + 1, sizeof *deepest);
    bool *private CLEANUP_FREE = mem_array(e->shown_count + 1, sizeof *private);
    char *line CLEANUP_FREE = NULL;
    size_t room = 0;
    if (!f)
        return err_sys(err, errno, "/proc/self/mountinfo");
    while (getline(&line, &room, f) > 0)
        look_at_mount(e, line, deepest, private);
    fclose(f);
    for (size_t i = 0; i < e->shown_count; i++)
        if (private[i])
            return err_set(err, ERR_FAILED,
                "what is mounted in %s later would not be seen there: its mounts are private, see "
                "mount --make-shared",
                e->shown[i]);
    return 0;
}

/* --- mounting --- */

/* A mount of its own of what is there, without a link on the way: a user may have put one there. */
static int clone_tree(const char *path)
{
    struct open_how how = {
        .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd CLEANUP_FD = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 ? -1
                  : open_tree(
                        fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* Makes it and what it is in, beneath the new root directory. No links are there yet. */
static int make_place(int top, const char *path, bool is_dir)
{
    char *part CLEANUP_FREE = mem_copy_string(path + 1);
    for (char *p = strchr(part, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdirat(top, part, 0755) < 0 && errno != EEXIST)
            return -1;
        *p = '/';
    }
    if (is_dir)
        return mkdirat(top, part, 0755) < 0 && errno != EEXIST ? -1 : 0;
    int fd CLEANUP_FD = openat(top, part, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
    return fd < 0 ? -1 : 0;
}

/* What is gone by now is gone in the enclosure, too. */
static void show_at(int top, const char *from, const char *at)
{
    struct stat st;
    int tree CLEANUP_FD = clone_tree(from);
    if (tree < 0 && errno == ENOENT)
        return;
    if (tree < 0 || fstat(tree, &st) < 0 || make_place(top, at, S_ISDIR(st.st_mode)) < 0 ||
        move_mount(tree, "", top, at + 1, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        log_warn("%s cannot be put into the receiver's mount namespace: %s", at, strerror(errno));
}

/* Kernels before 6.13 have attributes of links by /proc/self/fd only (tree/entry.c). */
static void show_all(const struct enclosure *e, int top)
{
    char own[sizeof "/proc//fd" + 16];
    snprintf(own, sizeof own, "/proc/%d/fd", (int)getpid());
    for (size_t i = 0; i < e->shown_count; i++)
        show_at(top, e->shown[i], e->shown[i]);
    show_at(top, own, "/proc/self/fd");
    show_at(top, BOOT_ID, BOOT_ID);
}

/* The filesystem in memory, over the root directory of this process, where no path leads to it. */
static int make_top(struct err *err)
{
    int fs CLEANUP_FD = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_sys(err, errno, "tmpfs");
    int top CLEANUP_FD =
        fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (top < 0 || move_mount(top, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, errno, "mount a tmpfs");
    return TAKE_FD(top);
}

/* Both by way of the current directory, as pivot_root(2) has it. */
static int change_root(int top, struct err *err)
{
    int old CLEANUP_FD = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int here CLEANUP_FD = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || here < 0 || fchdir(top) < 0)
        return err_sys(err, errno, "change the directory");
    if (syscall(SYS_pivot_root, ".", ".") < 0) {
        err_sys(err, errno, "pivot_root");
        return umount2(".", MNT_DETACH) < 0 || fchdir(here) < 0
                   ? err_sys(err, errno, "take back what was mounted")
                   : ENCLOSURE_NONE;
    }
    if (fchdir(old) < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_sys(err, errno, "leave the old root directory");
    return 0;
}

/* As far as the way is not there, or leads through a link that was made before. */
static void make_link(const struct link *l)
{
    char *part CLEANUP_FREE = mem_copy_string(l->path);
    struct stat st;
    for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        bool there = lstat(part, &st) == 0;
        if ((there && S_ISLNK(st.st_mode)) || (!there && mkdir(part, 0755) < 0))
            return;
        *p = '/';
    }
    if (symlink(l->real, l->path) < 0 && errno != EEXIST)
        log_debug("%s: %s", l->path, strerror(errno));
}

static void make_links(struct enclosure *e)
{
    if (e->link_count)
        qsort(e->links, e->link_count, sizeof *e->links, by_link);
    for (size_t i = 0; i < e->link_count; i++)
        if (!is_shown(e, e->shown_count, e->links[i].path))
            make_link(&e->links[i]);
}

static int none(const char *what, struct err *err)
{
    err_sys(err, errno, "%s", what);
    return ENCLOSURE_NONE;
}

static int enter(struct enclosure *e, struct err *err)
{
    if (choose(e, err) < 0 || check_propagation(e, err) < 0)
        return ENCLOSURE_NONE;
    if (unshare(CLONE_NEWNS) < 0)
        return none("unshare", err);
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return none("make / a slave", err);
    int top CLEANUP_FD = make_top(err);
    if (top < 0)
        return ENCLOSURE_NONE;
    show_all(e, top);
    int failed = change_root(top, err);
    if (failed)
        return failed;
    make_links(e);
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
        log_debug("the enclosure's own root directory stays writable: %s", strerror(errno));
    return 0;
}

int enclosure_enter(struct enclosure *e, struct err *err)
{
    int result = e->lacks ? ENCLOSURE_NONE : enter(e, err);
    if (result == ENCLOSURE_NONE && !e->lacks)
        enclosure_forgo(e, "%s", err->text);
    return result;
}
