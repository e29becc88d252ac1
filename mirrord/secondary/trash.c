/* The trash of one root; see trash.h. An item is a directory "TIME-SESSION-N" with the file "path"
 * and the thing itself, "content". */
#include "secondary/trash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/marker.h"
#include "tree/state.h"

struct trash {
    struct root *root;
    struct stage *stage;
    int foreign; /* the directory of the items */
};

static int open_foreign(const struct stage *s)
{
    return openat(
        root_fd(s->root), "trash/foreign", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int trash_open(const char *state_dir, const char *root, struct trash **out, struct err *err)
{
    struct marker marker;
    struct trash *t = mem_alloc(sizeof *t);
    t->foreign = -1;
    *out = NULL;
    int dir CLEANUP_FD = state_open_dir(state_dir, root, false, err);
    int state CLEANUP_FD = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir == -1 ? -1 : 0;
    if (r == 0 && dir >= 0 && state < 0)
        r = err_sys(err, errno, "open the state of %s", root);
    if (r == 0)
        r = root_open(root, &t->root, err);
    if (r == 0 && state >= 0 && marker_read(root_fd(t->root), state, &marker, err) == 1)
        r = stage_find(t->root, marker.stage, &t->stage, err);
    if (r == 1)
        t->foreign = open_foreign(t->stage);
    if (t->foreign >= 0)
        *out = TAKE_PTR(t);
    trash_close(t);
    return r < 0 ? -1 : 0;
}

void trash_close(struct trash *t)
{
    if (!t)
        return;
    if (t->foreign >= 0)
        close(t->foreign);
    stage_close(t->stage);
    root_close(t->root);
    free(t);
}

static bool is_item(const struct dirent *e, int64_t *since)
{
    return sscanf(e->d_name, "%" SCNd64 "-", since) == 1;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The path that is noted, without its newline. */
static char *read_path(int item, size_t *len)
{
    char *path = NULL;
    struct err ignored;
    if (io_slurp(item, "path", PATH_TOTAL_MAX + 1, &path, len, &ignored) != 0)
        return NULL;
    if (*len && path[*len - 1] == '\n')
        path[--*len] = '\0';
    return path;
}

static void show(struct trash *t, const char *id, int64_t since,
    void (*each)(void *ctx, const struct trash_item *i), void *ctx)
{
    struct stat st;
    size_t len = 0;
    int fd CLEANUP_FD = openat(t->foreign, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char *path CLEANUP_FREE = fd < 0 ? NULL : read_path(fd, &len);
    if (!path || fstatat(fd, "content", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    char *content CLEANUP_FREE =
        mem_format("%s/trash/foreign/%s/content", root_path(t->stage->root), id);
    each(ctx, &(struct trash_item){.id = id,
                  .since = since,
                  .path = {path, len},
                  .mode = st.st_mode,
                  .size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0,
                  .content = content});
}

int trash_list(struct trash *t, void (*each)(void *ctx, const struct trash_item *i), void *ctx,
    struct err *err)
{
    struct dirent **names;
    int64_t since;
    int n = scandirat(t->foreign, ".", &names, NULL, by_name);
    if (n < 0)
        return err_sys(err, errno, "list the trash");
    for (int i = 0; i < n; i++) {
        if (is_item(names[i], &since))
            show(t, names[i]->d_name, since, each, ctx);
        free(names[i]);
    }
    free(names);
    return 0;
}

static int move(struct trash *t, int item, const char *to, struct err *err)
{
    char name[PATH_NAME_MAX + 1];
    size_t len = 0;
    char *path CLEANUP_FREE = read_path(item, &len);
    if (!to && (!path || !path_valid((struct bytes){path, len}) || !len))
        return err_set(err, ERR_FAILED, "where it was is not noted: say where to");
    int dir CLEANUP_FD = to ? -1 : root_open_parent(t->root, (struct bytes){path, len}, name);
    if (!to && dir < 0)
        return err_sys(err, errno, "open the directory above %s", path);
    if (renameat2(item, "content", to ? AT_FDCWD : dir, to ? to : name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EXDEV)
        return err_set(
            err, ERR_FAILED, "%s is on another filesystem: copy it there", to ? to : path);
    return errno == EEXIST
               ? err_set(err, ERR_REFUSED, "there is something at %s already", to ? to : path)
               : err_sys(err, errno, "move it to %s", to ? to : path);
}

int trash_restore(struct trash *t, const char *id, const char *to, struct err *err)
{
    int64_t since;
    if (strchr(id, '/') || sscanf(id, "%" SCNd64 "-", &since) != 1)
        return err_set(err, ERR_USAGE, "%s is not the name of anything in the trash", id);
    int item CLEANUP_FD = openat(t->foreign, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (item < 0)
        return errno == ENOENT ? err_set(err, ERR_USAGE, "there is no %s in the trash", id)
                               : err_sys(err, errno, "open %s", id);
    if (move(t, item, to, err) < 0)
        return -1;
    unlinkat(item, "path", 0);
    unlinkat(t->foreign, id, AT_REMOVEDIR);
    return 0;
}

void trash_sweep(struct stage *s)
{
    int64_t since, oldest = (int64_t)time(NULL) - (int64_t)TRASH_KEPT_DAYS * 86400;
    int fd = open_foreign(s);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    while (dir && (e = readdir(dir)))
        if (is_item(e, &since) && since < oldest && stage_bury(s, fd, e->d_name) < 0)
            log_warn("cannot remove %s from the trash: %s", e->d_name, strerror(errno));
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}
