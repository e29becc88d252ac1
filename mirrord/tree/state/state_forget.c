/* The end of a root's state; see state.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "tree/state/epoch.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

/* The path with the links of what is there of it resolved: the root itself need not be. */
static char *resolve(const char *path)
{
    char *part CLEANUP_FREE = mem_copy_string(path);
    for (;;) {
        char *real CLEANUP_FREE = realpath(*part ? part : "/", NULL);
        char *slash = strrchr(part, '/');
        if (real)
            return mem_format("%s%s", strcmp(real, "/") == 0 ? "" : real, path + strlen(part));
        if (!slash)
            return mem_copy_string(path);
        *slash = '\0';
    }
}

static bool is_kept(const char *name, const struct epoch *e)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    return e->role != ROLE_CONFIGURED && strcmp(name, STATE_PATH_FILE) == 0;
}

/* Directories in it have files only. */
static int remove_one(int dir, const char *name, struct err *err)
{
    const struct dirent *e;
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return err_sys(err, errno, "remove %s", name);
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    while (entries && (e = readdir(entries)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(fd, e->d_name, 0);
    if (entries)
        closedir(entries);
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? err_sys(err, errno, "remove %s", name) : 0;
}

static int remove_all(int dir, const struct epoch *epoch, struct err *err)
{
    const struct dirent *e;
    int r = 0, fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries)
        return err_sys(err, errno, "open");
    while (r == 0 && (e = readdir(entries)))
        if (!is_kept(e->d_name, epoch))
            r = remove_one(dir, e->d_name, err);
    closedir(entries);
    return r;
}

int state_forget(const char *state_dir, const char *root_path, struct err *err)
{
    struct digest nobody = {0};
    struct epoch epoch;
    struct state *s;
    char *root CLEANUP_FREE = resolve(root_path);
    char *path CLEANUP_FREE = state_root_dir(state_dir, root);
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    int r = state_open(state_dir, root, &nobody, 0, &s, err);
    if (r != 0)
        return r;
    r = epoch_of(state_dir, root, &epoch, err);
    if (r == 0)
        r = remove_all(state_fd(s), &epoch, err);
    if (r == 0 && epoch.role == ROLE_CONFIGURED && rmdir(path) < 0)
        r = err_sys(err, errno, "remove %s", path);
    if (r == 0 && epoch.role == ROLE_CONFIGURED)
        r = epochs_forget(state_dir, root, err);
    state_close(s);
    return r < 0 ? err_prefix(err, "%s", path) : 0;
}
