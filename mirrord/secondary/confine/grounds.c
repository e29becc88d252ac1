/* Roots, stages and state directories of one receiver, as the sandbox is to know them; see
 * grounds.h. Decides nothing: who may ask for what is the fence's. */
#include "secondary/confine/grounds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/confine/enclosure.h"
#include "secondary/confine/ready.h"
#include "secondary/confine/states.h"
#include "tree/root.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

enum { PINS_MAX = 64 /* filesystems */ };

struct ground {
    char *path; /* as the fence has it */
    char *real; /* its links resolved, as far as it is there */
    bool beneath;
    bool there; /* as this inode */
    dev_t device;
    ino_t inode;
    bool read_only; /* as it is mounted: a mount namespace keeps what it began with */
    struct ready ready;
    struct states *states; /* of the roots beneath; NULL: none may be asked for */
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

static const char *name_in(const char *path)
{
    return strrchr(path, '/') + 1;
}

static void allow(struct grounds *all, int fd)
{
    if (fd >= 0)
        sandbox_allow(all->box, fd, SANDBOX_TREE);
}

static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);
    return real ? real : mem_copy_string(path);
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
    if (g->ready.above >= 0 && (g->there || missing))
        ready_make(&g->ready, all->box, root, state);
    if (g->ready.root.fd < 0 && g->ready.stage.fd < 0)
        ready_leave(&g->ready);
    if (g->beneath)
        g->states = states_find(all->options->state_dir, g->real, all->box);
}

static void add(void *ctx, const char *path, bool beneath)
{
    struct grounds *all = ctx;
    all->all = mem_resize(all->all, all->count + 1, sizeof *all->all);
    struct ground *g = &all->all[all->count++];
    *g = (struct ground){.path = mem_copy_string(path), .real = resolve(path), .beneath = beneath};
    ready_init(&g->ready, g->real);
    prepare(all, g);
}

struct grounds *grounds_prepare(const struct receive_options *o, struct sandbox *box)
{
    struct grounds *all = mem_alloc(sizeof *all);
    *all = (struct grounds){.options = o, .box = box};
    o->fence->each(o->fence->ctx, add, all);
    show_state(all);
    int boot CLEANUP_FD = open("/proc/sys/kernel/random/boot_id", O_PATH | O_CLOEXEC);
    if (boot >= 0)
        sandbox_allow(box, boot, SANDBOX_READ);
    return all;
}

void grounds_leave(struct grounds *all)
{
    for (size_t i = 0; i < all->count; i++)
        ready_leave(&all->all[i].ready);
    for (; all->pin_count > 0; all->pin_count--)
        close(all->pins[all->pin_count - 1].fd);
}

static void take_away(const struct grounds *all, struct ground *g)
{
    struct err ignored;
    if (g->ready.root.fd < 0 && g->ready.stage.fd < 0)
        return;
    int state CLEANUP_FD = state_make_dir(all->options->state_dir, g->real, &ignored);
    ready_take_away(&g->ready, state);
}

void grounds_free(struct grounds *all)
{
    for (size_t i = 0; i < all->count; i++)
        take_away(all, &all->all[i]);
    grounds_leave(all);
    for (size_t i = 0; i < all->count; i++) {
        states_free(all->all[i].states);
        free(all->all[i].path);
        free(all->all[i].real);
    }
    free(all->all);
    free(all);
}

/* The ground for exactly this root comes before one for what is beneath. */
static struct ground *find(const struct grounds *all, const char *root)
{
    struct ground *found = NULL;
    for (size_t i = 0; i < all->count; i++) {
        struct ground *g = &all->all[i];
        if (strcmp(g->path, root) == 0)
            return g;
        if (g->beneath && io_path_beneath(root, g->path))
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

/* Of a root beneath: is its state in the sandbox, as far as it has or gets one? */
static int has_state(
    const struct grounds *all, const struct ground *g, const char *root, bool make, struct err *err)
{
    struct stat st;
    struct err ignored;
    bool there = stat(root, &st) == 0;
    if (there ? !S_ISDIR(st.st_mode) : !make || !can_be(root))
        return 1;
    char *real CLEANUP_FREE = grounds_resolve(all, root, &ignored);
    return real ? states_know(g->states, real, err) : 1;
}

int grounds_cover(const struct grounds *all, const char *root, bool make,
    char stage[PATH_NAME_MAX + 1], struct err *err)
{
    const struct ground *g = find(all, root);
    stage[0] = '\0';
    if (!g)
        return !can_be(root);
    if (!is_covered(g))
        return 0;
    if (strcmp(g->path, root) != 0)
        return has_state(all, g, root, make, err);
    if (g->ready.stage.fd >= 0)
        strcpy(stage, g->ready.stage.name);
    return 1;
}

bool grounds_in_place(const struct grounds *all, const char *root)
{
    const struct ground *g = find(all, root);
    struct stat st;
    return g && g->there && lstat(g->path, &st) == 0 && st.st_dev == g->device &&
           st.st_ino == g->inode;
}

char *grounds_resolve(const struct grounds *all, const char *root, struct err *err)
{
    const struct ground *g = find(all, root);
    char *real = realpath(root, NULL);
    if (!real)
        real = mem_copy_string(root);
    if (g && (!g->beneath || io_path_beneath(real, g->real)))
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
        if (strcmp(name_in(path), name) == 0 || (g->states && states_has(g->states, name)))
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

static int put_back(struct ground *g, struct err *err)
{
    if (!g->there || !ready_take_root_back(&g->ready, name_in(g->real)))
        return err_set(err, ERR_FAILED, "%s stays", g->path);
    g->there = false;
    return 0;
}

int grounds_make_root(struct grounds *all, const char *root, bool away, struct err *err)
{
    struct ground *g = find(all, root);
    struct stat st;
    if (g && g->beneath && strcmp(g->path, root) != 0)
        return make_beneath(g, root, away, err);
    if (!g || g->ready.root.fd < 0)
        return make_at(AT_FDCWD, root, root, away, err);
    if (away)
        return put_back(g, err);
    if (ready_put_root(&g->ready, name_in(g->real)) < 0)
        return err_sys(err, errno, "create %s", root);
    if (fstat(g->ready.root.fd, &st) < 0)
        return err_sys(err, errno, "stat %s", root);
    g->there = true;
    g->device = st.st_dev;
    g->inode = st.st_ino;
    return 0;
}
