/* Directories of epochs, and those of before they had any; see epochs.h. */
#include "tree/state/epochs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "tree/state/epoch.h"
#include "tree/state/state.h"

#define EPOCHS "epochs"

enum { DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* What lay in a root's state directory up to version 0.1: the epoch, and a handover that was begun.
 */
static const char *const moved[] = {"epoch", "handover"};

/* The files of one root, by links: where this is interrupted, they are where they were. */
static int link_one(int root, int fresh, const char *name, struct err *err)
{
    int to CLEANUP_FD = -1;
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        if (faccessat(root, moved[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (to < 0 && mkdirat(fresh, name, 0711) < 0)
            return err_sys(err, errno, "create " EPOCHS "/%s", name);
        if (to < 0 && (to = openat(fresh, name, DIRECTORY)) < 0)
            return err_sys(err, errno, "open " EPOCHS "/%s", name);
        if (linkat(root, moved[i], to, moved[i], 0) < 0)
            return err_sys(err, errno, "move %s to " EPOCHS "/%s", moved[i], name);
    }
    return 0;
}

/* Calls `each` for all directories of roots; the first failure ends it. */
static int for_roots(int state, int fresh,
    int (*each)(int root, int fresh, const char *name, struct err *err), struct err *err)
{
    int fd = openat(state, "roots", DIRECTORY);
    DIR *roots = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int bad = 0;
    while (roots && !bad && (e = readdir(roots)) != NULL) {
        int root CLEANUP_FD = e->d_name[0] == '.' ? -1 : openat(fd, e->d_name, DIRECTORY);
        if (root >= 0)
            bad = each(root, fresh, e->d_name, err);
    }
    if (roots)
        closedir(roots);
    return bad;
}

static int unlink_one(int root, int fresh, const char *name, struct err *err)
{
    (void)err;
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        char *path CLEANUP_FREE = mem_format("%s/%s", name, moved[i]);
        if (fresh < 0)
            unlinkat(root, moved[i], 0);
        else
            unlinkat(fresh, path, 0);
    }
    if (fresh >= 0)
        unlinkat(fresh, name, AT_REMOVEDIR);
    return 0;
}

static int fill(int state, int fresh, struct err *err)
{
    if (fchmod(fresh, 0711) < 0)
        return err_sys(err, errno, "chmod " EPOCHS);
    if (for_roots(state, fresh, link_one, err) < 0)
        return -1;
    return syncfs(fresh) < 0 ? err_sys(err, errno, "sync") : 0;
}

/* All at once, by one rename: from then on what a receiver writes in a root's state is no epoch.
 * Two that start at once must agree: the first one's counts. */
static int make_all(const char *state_dir, int state, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/" EPOCHS "-XXXXXX", state_dir);
    if (!mkdtemp(path))
        return err_sys(err, errno, "create %s/" EPOCHS, state_dir);
    const char *name = strrchr(path, '/') + 1;
    int fresh CLEANUP_FD = openat(state, name, DIRECTORY);
    int bad = fresh < 0 ? err_sys(err, errno, "open %s", path) : fill(state, fresh, err);
    if (!bad && renameat2(state, name, state, EPOCHS, RENAME_NOREPLACE) == 0) {
        for_roots(state, -1, unlink_one, err);
        return fsync(state) < 0 ? err_sys(err, errno, "sync %s", state_dir) : 0;
    }
    if (!bad && errno != EEXIST)
        bad = err_sys(err, errno, "rename %s", path);
    for_roots(state, fresh, unlink_one, err);
    unlinkat(state, name, AT_REMOVEDIR);
    return bad;
}

int epochs_open_all(const char *state_dir, struct err *err)
{
    if (io_make_path(state_dir, 0700, err) < 0)
        return -1;
    int state CLEANUP_FD = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return err_sys(err, errno, "open %s", state_dir);
    int fd = openat(state, EPOCHS, DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        if (make_all(state_dir, state, err) < 0)
            return -1;
        fd = openat(state, EPOCHS, DIRECTORY);
    }
    return fd < 0 ? err_sys(err, errno, "open %s/" EPOCHS, state_dir) : fd;
}

/* Whatever the umask was. */
static int let_pass(int dir)
{
    struct stat st;
    if (fstat(dir, &st) < 0)
        return -1;
    return (st.st_mode & 0777) == 0711 ? 0 : fchmod(dir, 0711);
}

static int make(const char *state_dir, const char *name, struct err *err)
{
    int all CLEANUP_FD = epochs_open_all(state_dir, err);
    if (all < 0)
        return -1;
    if (mkdirat(all, name, 0711) < 0 && errno != EEXIST)
        return err_sys(err, errno, "create %s/" EPOCHS "/%s", state_dir, name);
    int fd CLEANUP_FD = openat(all, name, DIRECTORY);
    if (fd < 0)
        return err_sys(err, errno, "open %s/" EPOCHS "/%s", state_dir, name);
    int lock CLEANUP_FD = openat(fd, EPOCH_LOCK, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return err_sys(err, errno, "create %s/" EPOCHS "/%s/" EPOCH_LOCK, state_dir, name);
    int state CLEANUP_FD = open(state_dir, DIRECTORY & ~O_NOFOLLOW);
    if (state < 0 || let_pass(state) < 0 || let_pass(all) < 0 || let_pass(fd) < 0)
        return err_sys(err, errno, "chmod %s", state_dir);
    return TAKE_FD(fd);
}

/* Without making anything. Where epochs still lie in the roots' states, there. */
static int look(const char *state_dir, const char *name, struct err *err)
{
    enum { LOOK = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    char *all CLEANUP_FREE = mem_format("%s/" EPOCHS, state_dir);
    bool before = access(all, F_OK) < 0 && errno == ENOENT;
    char *path CLEANUP_FREE = mem_format("%s/%s/%s", state_dir, before ? "roots" : EPOCHS, name);
    int fd = open(path, LOOK);
    if (fd < 0 && errno == ENOENT)
        return EPOCHS_NONE;
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

int epochs_open_resolved(
    const char *state_dir, const char *root_path, bool make_it, struct err *err)
{
    char *state CLEANUP_FREE = state_root_dir(state_dir, root_path);
    const char *name = strrchr(state, '/') + 1;
    return make_it ? make(state_dir, name, err) : look(state_dir, name, err);
}

int epochs_open(const char *state_dir, const char *root_path, bool make_it, struct err *err)
{
    char *resolved CLEANUP_FREE = realpath(root_path, NULL);
    return epochs_open_resolved(state_dir, resolved ? resolved : root_path, make_it, err);
}

int epochs_forget(const char *state_dir, const char *root_path, struct err *err)
{
    char *state CLEANUP_FREE = state_root_dir(state_dir, root_path);
    char *path CLEANUP_FREE = mem_format("%s/" EPOCHS "%s", state_dir, strrchr(state, '/'));
    static const char *const left[] = {EPOCH_LOCK, "handover", "handover.lock"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char *file CLEANUP_FREE = mem_format("%s/%s", path, left[i]);
        if (unlink(file) < 0 && errno != ENOENT)
            return err_sys(err, errno, "remove %s", file);
    }
    return rmdir(path) < 0 && errno != ENOENT ? err_sys(err, errno, "remove %s", path) : 0;
}
