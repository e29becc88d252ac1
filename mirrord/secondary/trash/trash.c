/* The trash of one root; see trash.h. What an item is, aside.h says. */
#include "secondary/trash/trash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/site/marker.h"
#include "secondary/trash/aside.h"
#include "tree/state/state.h"

struct trash {
    struct root *root;
    struct stage *stage;
};

int trash_open(const char *state_dir, const char *root, struct trash **out, struct err *err)
{
    struct marker marker;
    struct trash *t = mem_alloc(sizeof *t);
    *out = NULL;
    int dir CLEANUP_FD = state_open_dir(state_dir, root, err);
    int state CLEANUP_FD = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir == -1 ? -1 : 0;
    if (r == 0 && dir >= 0 && state < 0)
        r = err_sys(err, errno, "open the state of %s", root);
    if (r == 0)
        r = root_open(root, &t->root, err);
    if (r == 0 && state >= 0 && marker_read(root_fd(t->root), state, &marker, err) == 1)
        r = stage_find(t->root, marker.stage, &t->stage, err);
    if (r == 1 && (aside_open(t->stage, ASIDE_FOREIGN, false) >= 0 ||
                      aside_open(t->stage, ASIDE_KEPT, false) >= 0))
        *out = TAKE_PTR(t);
    trash_close(t);
    return r < 0 ? -1 : 0;
}

void trash_close(struct trash *t)
{
    if (!t)
        return;
    stage_close(t->stage);
    root_close(t->root);
    free(t);
}

/* An item of a listing. */
struct found {
    enum aside which;
    struct aside_name name;
    char text[ASIDE_NAME_MAX];
};

struct listing {
    struct found *list;
    size_t count, cap;
};

static int by_time(const void *a, const void *b)
{
    const struct aside_name *x = &((const struct found *)a)->name;
    const struct aside_name *y = &((const struct found *)b)->name;
    if (x->since != y->since)
        return x->since < y->since ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void append(struct listing *l, enum aside which, const char *text)
{
    struct found f = {.which = which};
    if (!aside_parse(text, &f.name) || strlen(text) >= sizeof f.text)
        return;
    snprintf(f.text, sizeof f.text, "%s", text);
    if (l->count == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->list = mem_resize(l->list, l->cap, sizeof *l->list);
    }
    l->list[l->count++] = f;
}

static int gather(struct trash *t, enum aside which, struct listing *l, struct err *err)
{
    int place = aside_open(t->stage, which, false);
    if (place < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", aside_place(which));
    int fd = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    if (!dir) {
        err_sys(err, errno, "list the trash");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    while ((e = readdir(dir)) != NULL)
        append(l, which, e->d_name);
    closedir(dir);
    return 0;
}

/* The path that is noted, without its newline. */
static char *read_path(int item, size_t *len)
{
    char *path = NULL;
    struct err ignored;
    if (io_slurp(item, ASIDE_PATH, PATH_TOTAL_MAX + 1, &path, len, &ignored) != 0)
        return NULL;
    if (*len && path[*len - 1] == '\n')
        path[--*len] = '\0';
    return path;
}

static int open_item(struct trash *t, enum aside which, const char *id)
{
    int place = aside_open(t->stage, which, false);
    return place < 0 ? -1 : openat(place, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void show(struct trash *t, const struct found *f,
    void (*each)(void *ctx, const struct trash_item *i), void *ctx)
{
    struct stat st;
    size_t len = 0;
    int fd CLEANUP_FD = open_item(t, f->which, f->text);
    char *path CLEANUP_FREE = fd < 0 ? NULL : read_path(fd, &len);
    if (!path || fstatat(fd, ASIDE_CONTENT, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    char *content CLEANUP_FREE = mem_format(
        "%s/%s/%s/" ASIDE_CONTENT, root_path(t->stage->root), aside_place(f->which), f->text);
    each(ctx, &(struct trash_item){.id = f->text,
                  .own = f->which == ASIDE_KEPT,
                  .since = f->name.since,
                  .until = f->name.since + (int64_t)f->name.days * 86400,
                  .path = {path, len},
                  .mode = st.st_mode,
                  .size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0,
                  .content = content});
}

int trash_list(struct trash *t, void (*each)(void *ctx, const struct trash_item *i), void *ctx,
    struct err *err)
{
    struct listing l = {0};
    int r = 0;
    for (enum aside i = 0; i < ASIDES && r == 0; i++)
        r = gather(t, i, &l, err);
    if (l.count)
        qsort(l.list, l.count, sizeof *l.list, by_time);
    for (size_t i = 0; i < l.count && r == 0; i++)
        show(t, &l.list[i], each, ctx);
    free(l.list);
    return r;
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
    if (renameat2(item, ASIDE_CONTENT, to ? AT_FDCWD : dir, to ? to : name, RENAME_NOREPLACE) == 0)
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
    struct aside_name name;
    if (strchr(id, '/') || !aside_parse(id, &name))
        return err_set(err, ERR_USAGE, "%s is not the name of anything in the trash", id);
    enum aside which = name.state ? ASIDE_KEPT : ASIDE_FOREIGN;
    int item CLEANUP_FD = open_item(t, which, id);
    if (item < 0)
        return errno == ENOENT ? err_set(err, ERR_USAGE, "there is no %s in the trash", id)
                               : err_sys(err, errno, "open %s", id);
    if (move(t, item, to, err) < 0)
        return -1;
    unlinkat(item, ASIDE_PATH, 0);
    unlinkat(aside_open(t->stage, which, false), id, AT_REMOVEDIR);
    return 0;
}
