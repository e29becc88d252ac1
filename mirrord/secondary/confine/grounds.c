/* Roots, stages and state directories of one receiver, as the sandbox is to know them; see
 * grounds.h. Decides nothing: who may ask for what is the fence's. */
#include "secondary/confine/grounds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/enclosure.h"
#include "secondary/site/marker.h"
#include "secondary/stage/stage.h"
#include "tree/root.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

/* In the state directory: the names of what is made ready, in case that nobody takes it away. */
#define READY_FILE "ready"

enum {
    READY_TEXT_MAX = 2 * (PATH_NAME_MAX + 1),
    PINS_MAX = 64, /* filesystems */
};

struct spare { /* an empty directory under a reserved name; fd < 0: none */
    char name[PATH_NAME_MAX + 1];
    int fd; /* locked, as long as somebody may need it */
};

struct ground {
    char *path; /* as the fence has it */
    char *real; /* its links resolved, as far as it is there */
    bool beneath;
    bool there; /* as this inode */
    dev_t device;
    ino_t inode;
    bool read_only; /* as it is mounted: a mount namespace keeps what it began with */
    int above;      /* the directory that it is in, while something is ready there; else -1 */
    struct spare root, stage;
};

/* A filesystem that cannot be unmounted meanwhile: what a process in a mount namespace of its own
 * has open does not stop that. */
struct pin {
    dev_t device;
    int fd;
};

struct grounds {
    const struct receive_options *options;
    struct sandbox *box;
    struct pin pins[PINS_MAX];
    size_t pin_count;
    struct ground *all;
    size_t count;
};

static void close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static const char *name_in(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* Where a killed receiver left one. */
static void sweep(int above, const char *name)
{
    int fd CLEANUP_FD = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (path_is_reserved(bytes_of(name)) && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(above, name, AT_REMOVEDIR);
}

static void sweep_all(const struct ground *g, int state)
{
    char *text CLEANUP_FREE = NULL, *rest = NULL;
    struct err ignored;
    if (io_slurp(state, READY_FILE, READY_TEXT_MAX, &text, NULL, &ignored) != 0)
        return;
    for (char *p = strtok_r(text, " /\n", &rest); p; p = strtok_r(NULL, " /\n", &rest))
        sweep(g->above, p);
}

static void keep_names(const struct ground *g, int state)
{
    char text[READY_TEXT_MAX + 1];
    struct err why;
    int n = snprintf(text, sizeof text, "%s %s", g->root.name, g->stage.name);
    if (io_replace(state, READY_FILE, text, (size_t)n, &why) < 0)
        log_debug("%s: cannot note what is made ready: %s", g->path, why.text);
}

static void make_spare(const struct ground *g, struct spare *s, mode_t mode)
{
    mode_t before = umask(0);
    if (mkdirat(g->above, s->name, mode) == 0)
        s->fd = openat(g->above, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    umask(before);
    if (s->fd >= 0)
        flock(s->fd, LOCK_SH);
    else
        s->name[0] = '\0';
}

static void allow(struct grounds *all, int fd)
{
    if (fd >= 0)
        sandbox_allow(all->box, fd, SANDBOX_TREE);
}

/* The stage of a root that has one. False: it is still to be made, under the name that is in
 * s->name, if any. */
static bool find_stage(struct grounds *all, struct ground *g, int root, int state)
{
    struct marker m;
    struct stat st;
    struct err ignored;
    if (root < 0 || state < 0 || marker_read(root, state, &m, &ignored) != 1)
        return false;
    strcpy(g->stage.name, m.stage);
    if (fstatat(root, m.stage, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return true; /* inside, that is */
    int fd CLEANUP_FD = openat(g->above, m.stage, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
        return false;
    allow(all, fd);
    return true;
}

static void make_ready(struct grounds *all, struct ground *g, int root, int state)
{
    if (state >= 0)
        sweep_all(g, state);
    bool staged = find_stage(all, g, root, state);
    if (!g->there)
        stage_invent(g->root.name);
    if (!staged && !g->stage.name[0])
        stage_invent(g->stage.name);
    if (state >= 0 && (!staged || !g->there))
        keep_names(g, state);
    if (!g->there)
        make_spare(g, &g->root, 0755);
    if (!staged)
        make_spare(g, &g->stage, 0700);
    allow(all, g->root.fd);
    allow(all, g->stage.fd);
}

static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);
    return real ? real : mem_copy_string(path);
}

/* The directory that holds the root; -1 where there is none, or it cannot be opened. */
static int open_above(const char *real)
{
    const char *name = name_in(real);
    char *above CLEANUP_FREE = mem_copy_bytes(real, (size_t)(name - real));
    return *name ? open(above, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void pin(struct grounds *all, dev_t device, int fd)
{
    for (size_t i = 0; i < all->pin_count; i++)
        if (all->pins[i].device == device)
            return;
    if (all->pin_count < PINS_MAX)
        all->pins[all->pin_count++] =
            (struct pin){.device = device, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
}

static bool is_mount_point(const char *path)
{
    struct stat st, top;
    return lstat(path, &st) == 0 && lstat("/", &top) == 0 && st.st_dev != top.st_dev;
}

/* The directory that a root is in, and its path as the fence has it, where that has links. */
static void show(struct enclosure *e, const struct ground *g)
{
    char *above CLEANUP_FREE = mem_copy_bytes(g->real, (size_t)(name_in(g->real) - g->real));
    char *named CLEANUP_FREE = mem_copy_bytes(g->path, (size_t)(name_in(g->path) - g->path));
    size_t len = strlen(above);
    if (len <= 1 && is_mount_point(g->real))
        enclosure_show(e, g->real); /* its stage is in it */
    else if (len <= 1)
        enclosure_forgo(e, "%s lies in / itself, all of which would have to be shown", g->path);
    if (len <= 1)
        return;
    above[len - 1] = '\0';
    if (access(above, F_OK) == 0)
        enclosure_show(e, above);
    if (strlen(named) <= 1)
        return;
    named[strlen(named) - 1] = '\0';
    if (strcmp(above, named) != 0)
        enclosure_link(e, named, above);
}

static void show_state(const struct grounds *all)
{
    struct enclosure *e = sandbox_enclosure(all->box);
    char *real CLEANUP_FREE = realpath(all->options->state_dir, NULL);
    if (!e || !real)
        return;
    enclosure_show(e, real);
    if (strcmp(real, all->options->state_dir) != 0)
        enclosure_link(e, all->options->state_dir, real);
}

static bool is_read_only(const char *path)
{
    struct statvfs s;
    return statvfs(path, &s) == 0 && (s.f_flag & ST_RDONLY);
}

static void prepare(struct grounds *all, struct ground *g)
{
    struct stat st;
    struct err ignored;
    int root CLEANUP_FD = open(g->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool missing = root < 0 && errno == ENOENT;
    if (root >= 0 && fstat(root, &st) == 0) {
        g->there = true;
        g->device = st.st_dev;
        g->inode = st.st_ino;
        g->read_only = is_read_only(g->path);
        allow(all, root);
        pin(all, st.st_dev, root);
    }
    if (sandbox_enclosure(all->box))
        show(sandbox_enclosure(all->box), g);
    int state CLEANUP_FD = state_make_dir(all->options->state_dir, g->real, &ignored);
    allow(all, state);
    int epoch CLEANUP_FD = epochs_open_resolved(all->options->state_dir, g->real, true, &ignored);
    if (epoch >= 0)
        sandbox_allow(all->box, epoch, SANDBOX_READ);
    if (g->above >= 0 && (g->there || missing))
        make_ready(all, g, root, state);
    if (g->root.fd < 0 && g->stage.fd < 0)
        close_at(&g->above);
}

static void add(void *ctx, const char *path, bool beneath)
{
    struct grounds *all = ctx;
    all->all = mem_resize(all->all, all->count + 1, sizeof *all->all);
    struct ground *g = &all->all[all->count++];
    *g = (struct ground){.path = mem_copy_string(path),
        .real = resolve(path),
        .beneath = beneath,
        .root = {.fd = -1},
        .stage = {.fd = -1}};
    g->above = open_above(g->real);
    prepare(all, g);
}

/* Which roots beneath will be asked for is not known, and so neither which states. */
static void allow_all_states(struct grounds *all)
{
    char *path CLEANUP_FREE = mem_format("%s/roots", all->options->state_dir);
    int fd CLEANUP_FD = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct err ignored;
    int epochs CLEANUP_FD = epochs_open_all(all->options->state_dir, &ignored);
    allow(all, fd);
    if (epochs >= 0)
        sandbox_allow(all->box, epochs, SANDBOX_READ);
}

struct grounds *grounds_prepare(const struct receive_options *o, struct sandbox *box)
{
    struct grounds *all = mem_alloc(sizeof *all);
    bool beneath = false;
    *all = (struct grounds){.options = o, .box = box};
    o->fence->each(o->fence->ctx, add, all);
    for (size_t i = 0; i < all->count; i++)
        beneath |= all->all[i].beneath;
    if (beneath)
        allow_all_states(all);
    show_state(all);
    int boot CLEANUP_FD = open("/proc/sys/kernel/random/boot_id", O_PATH | O_CLOEXEC);
    if (boot >= 0)
        sandbox_allow(box, boot, SANDBOX_READ);
    return all;
}

void grounds_leave(struct grounds *all)
{
    for (size_t i = 0; i < all->count; i++) {
        close_at(&all->all[i].root.fd);
        close_at(&all->all[i].stage.fd);
        close_at(&all->all[i].above);
    }
    for (size_t i = 0; i < all->pin_count; i++)
        close_at(&all->pins[i].fd);
}

static void take_away(const struct grounds *all, struct ground *g)
{
    struct err ignored;
    if (g->root.fd < 0 && g->stage.fd < 0)
        return;
    int state CLEANUP_FD = state_make_dir(all->options->state_dir, g->real, &ignored);
    if (g->stage.fd >= 0)
        unlinkat(g->above, g->stage.name, AT_REMOVEDIR);
    if (g->root.fd >= 0)
        unlinkat(g->above, g->root.name, AT_REMOVEDIR);
    if (state >= 0)
        unlinkat(state, READY_FILE, 0);
}

void grounds_free(struct grounds *all)
{
    for (size_t i = 0; i < all->count; i++)
        take_away(all, &all->all[i]);
    grounds_leave(all);
    for (size_t i = 0; i < all->count; i++) {
        free(all->all[i].path);
        free(all->all[i].real);
    }
    free(all->all);
    free(all);
}

static bool lies_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strcmp(top, "/") == 0 ||
           (strncmp(path, top, n) == 0 && (path[n] == '\0' || path[n] == '/'));
}

/* The ground for exactly this root comes before one for what is beneath. */
static struct ground *find(const struct grounds *all, const char *root)
{
    struct ground *found = NULL;
    for (size_t i = 0; i < all->count; i++) {
        struct ground *g = &all->all[i];
        if (strcmp(g->path, root) == 0)
            return g;
        if (g->beneath && lies_beneath(root, g->path))
            found = g;
    }
    return found;
}

/* What is no directory is nothing to be worked on either: the child says what is wrong with it. */
static bool is_covered(const struct ground *g)
{
    struct stat st;
    if (lstat(g->path, &st) == 0)
        return !S_ISDIR(st.st_mode) ||
               (g->there && st.st_dev == g->device && st.st_ino == g->inode &&
                   g->read_only == is_read_only(g->path));
    return errno != ENOENT || !g->there;
}

/* Where not even the directory above is there, the child says so. */
static bool can_be(const char *root)
{
    char *above CLEANUP_FREE = mem_copy_bytes(root, (size_t)(name_in(root) - root));
    return access(above, F_OK) == 0;
}

bool grounds_cover(const struct grounds *all, const char *root, char stage[PATH_NAME_MAX + 1])
{
    const struct ground *g = find(all, root);
    stage[0] = '\0';
    if (!g)
        return !can_be(root);
    if (!is_covered(g))
        return false;
    if (g->stage.fd >= 0 && strcmp(g->path, root) == 0)
        strcpy(stage, g->stage.name);
    return true;
}

bool grounds_in_place(const struct grounds *all, const char *root)
{
    const struct ground *g = find(all, root);
    struct stat st;
    return g && g->there && lstat(g->path, &st) == 0 && st.st_dev == g->device &&
           st.st_ino == g->inode;
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

/* Back to where it was ready, unless somebody put something in meanwhile. */
static int put_back(struct ground *g, struct err *err)
{
    const char *name = name_in(g->real);
    if (!g->there || !is_empty(g->root.fd) || renameat(g->above, name, g->above, g->root.name) < 0)
        return err_set(err, ERR_FAILED, "%s stays", g->path);
    g->there = false;
    if (is_empty(g->root.fd) || renameat(g->above, g->root.name, g->above, name) < 0)
        return 0;
    g->there = true;
    return err_set(err, ERR_FAILED, "%s stays", g->path);
}

char *grounds_resolve(const struct grounds *all, const char *root, struct err *err)
{
    const struct ground *g = find(all, root);
    char *real = realpath(root, NULL);
    if (!real)
        real = mem_copy_string(root);
    if (g && (!g->beneath || lies_beneath(real, g->real)))
        return real;
    free(real);
    err_set(err, ERR_REFUSED, "%s leads out of what may be asked for", root);
    return NULL;
}

bool grounds_has_state(const struct grounds *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct ground *g = &all->all[i];
        char *path CLEANUP_FREE = state_root_dir(all->options->state_dir, g->real);
        if (g->beneath || strcmp(name_in(path), name) == 0)
            return true;
    }
    return false;
}

/* The directory that a root beneath is in; the child must not be able to turn the way elsewhere. */
static int open_beneath(const struct ground *g, const char *root, char name[PATH_NAME_MAX + 1])
{
    struct root *top;
    struct err ignored;
    const char *path = root + strlen(g->path);
    path += *path == '/';
    if (root_open(g->path, &top, &ignored) < 0) {
        errno = ENOENT;
        return -1;
    }
    int fd = root_open_parent(top, bytes_of(path), name);
    root_close(top);
    return fd;
}

static int make_at(int dirfd, const char *name, const char *root, bool away, struct err *err)
{
    mode_t before = umask(0);
    int failed =
        (away ? unlinkat(dirfd, name, AT_REMOVEDIR) : mkdirat(dirfd, name, 0755)) < 0 ? errno : 0;
    umask(before);
    return failed ? err_sys(err, failed, "create %s", root) : 0;
}

static int make_beneath(const struct ground *g, const char *root, bool away, struct err *err)
{
    char name[PATH_NAME_MAX + 1];
    int fd CLEANUP_FD = open_beneath(g, root, name);
    return fd < 0 ? err_sys(err, errno, "create %s", root) : make_at(fd, name, root, away, err);
}

int grounds_make_root(struct grounds *all, const char *root, bool away, struct err *err)
{
    struct ground *g = find(all, root);
    struct stat st;
    if (g && g->beneath && strcmp(g->path, root) != 0)
        return make_beneath(g, root, away, err);
    if (!g || g->root.fd < 0)
        return make_at(AT_FDCWD, root, root, away, err);
    if (away)
        return put_back(g, err);
    if (renameat2(g->above, g->root.name, g->above, name_in(g->real), RENAME_NOREPLACE) < 0)
        return err_sys(err, errno, "create %s", root);
    if (fstat(g->root.fd, &st) < 0)
        return err_sys(err, errno, "stat %s", root);
    g->there = true;
    g->device = st.st_dev;
    g->inode = st.st_ino;
    return 0;
}
