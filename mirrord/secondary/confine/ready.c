/* Directories that are made ready beside a root; see ready.h. */
#include "secondary/confine/ready.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/site/marker.h"
#include "secondary/stage/stage.h"

/* In the state directory: the names of what is made ready, in case that nobody takes it away. */
#define READY_FILE "ready"

enum { READY_TEXT_MAX = 2 * (PATH_NAME_MAX + 1) };

static void close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The directory that holds the root; -1 where there is none, or it cannot be opened. */
static int open_above(const char *real)
{
    const char *name = strrchr(real, '/') + 1;
    char *above CLEANUP_FREE = mem_copy_bytes(real, (size_t)(name - real));
    return *name ? open(above, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

void ready_init(struct ready *r, const char *real)
{
    *r = (struct ready){.above = open_above(real), .root = {.fd = -1}, .stage = {.fd = -1}};
}

void ready_leave(struct ready *r)
{
    close_at(&r->root.fd);
    close_at(&r->stage.fd);
    close_at(&r->above);
}

/* Where a killed receiver left one. */
static void sweep(int above, const char *name)
{
    int fd CLEANUP_FD = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (path_is_reserved(bytes_of(name)) && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(above, name, AT_REMOVEDIR);
}

static void sweep_all(const struct ready *r, int state)
{
    char *text CLEANUP_FREE = NULL, *rest = NULL;
    struct err ignored;
    if (io_slurp(state, READY_FILE, READY_TEXT_MAX, &text, NULL, &ignored) != 0)
        return;
    for (char *p = strtok_r(text, " /\n", &rest); p; p = strtok_r(NULL, " /\n", &rest))
        sweep(r->above, p);
}

static void keep_names(const struct ready *r, int state)
{
    char text[READY_TEXT_MAX + 1];
    struct err why;
    int n = snprintf(text, sizeof text, "%s %s", r->root.name, r->stage.name);
    if (io_replace(state, READY_FILE, text, (size_t)n, &why) < 0)
        log_debug("cannot note that %s is made ready: %s", text, why.text);
}

static void make_dir(const struct ready *r, struct ready_dir *d, mode_t mode)
{
    mode_t before = umask(0);
    if (mkdirat(r->above, d->name, mode) == 0)
        d->fd = openat(r->above, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    umask(before);
    if (d->fd >= 0)
        flock(d->fd, LOCK_SH);
    else
        d->name[0] = '\0';
}

/* The stage of a root that has one. False: it is still to be made, under the name that is in
 * r->stage, if any. */
static bool find_stage(struct ready *r, struct sandbox *box, int root, int state)
{
    struct marker m;
    struct stat st;
    struct err ignored;
    if (root < 0 || state < 0 || marker_read(root, state, &m, &ignored) != 1)
        return false;
    strcpy(r->stage.name, m.stage);
    if (fstatat(root, m.stage, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return true; /* inside, that is */
    int fd CLEANUP_FD = openat(r->above, m.stage, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
        return false;
    sandbox_allow(box, fd, SANDBOX_TREE);
    return true;
}

static void allow(struct sandbox *box, const struct ready_dir *d)
{
    if (d->fd >= 0)
        sandbox_allow(box, d->fd, SANDBOX_TREE);
}

void ready_make(struct ready *r, struct sandbox *box, int root, int state)
{
    if (state >= 0)
        sweep_all(r, state);
    bool staged = find_stage(r, box, root, state);
    if (root < 0)
        stage_invent(r->root.name);
    if (!staged && !r->stage.name[0])
        stage_invent(r->stage.name);
    if (state >= 0 && (!staged || root < 0))
        keep_names(r, state);
    if (root < 0)
        make_dir(r, &r->root, 0755);
    if (!staged)
        make_dir(r, &r->stage, 0700);
    allow(box, &r->root);
    allow(box, &r->stage);
}

void ready_take_away(struct ready *r, int state)
{
    if (r->stage.fd >= 0)
        unlinkat(r->above, r->stage.name, AT_REMOVEDIR);
    if (r->root.fd >= 0)
        unlinkat(r->above, r->root.name, AT_REMOVEDIR);
    if (state >= 0)
        unlinkat(state, READY_FILE, 0);
}

int ready_put_root(struct ready *r, const char *name)
{
    return renameat2(r->above, r->root.name, r->above, name, RENAME_NOREPLACE);
}

static bool is_empty(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    const struct dirent *e;
    bool empty = dir != NULL;
    while (empty && (e = readdir(dir)) != NULL)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (dir)
        closedir(dir);
    return empty;
}

bool ready_take_root_back(struct ready *r, const char *name)
{
    if (!is_empty(r->root.fd) || renameat(r->above, name, r->above, r->root.name) < 0)
        return false;
    return is_empty(r->root.fd) || renameat(r->above, r->root.name, r->above, name) < 0;
}
