/* One inotify instance and a map, watch descriptor ↔ directory number; see watch.h. Knows
 * nothing of events, paths or the manifest. */
#include "primary/scan/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/scan/number_map.h"
#include "primary/scan/pair_map.h"

/* No IN_DONT_FOLLOW: the link /proc/self/fd/N has to be followed, and leads to what was opened. */
enum {
    TREE_MASK = IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM |
                IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK,
    COOKIE_MASK = IN_CREATE | IN_ONLYDIR,
};

struct instance {
    int fd;
    LIST_HEAD(, watch) users;
    uint64_t last_id;
    /* Descriptor → id of the user it belongs to: of those that stand for nothing yet, and, where
     * there are several users, of all. */
    struct number_map owners;
};

struct watch {
    LIST_ENTRY(watch) order;
    struct instance *instance;
    uint64_t id;
    struct pair_map pairs;
};

uint64_t watch_limit(const char *name)
{
    char *path CLEANUP_FREE = mem_format("/proc/sys/fs/inotify/%s", name);
    char *text CLEANUP_FREE = NULL;
    size_t len;
    if (io_slurp(AT_FDCWD, path, 64, &text, &len, NULL))
        return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

uint64_t watch_instances_fair(void)
{
    uint64_t half = watch_limit("max_user_instances") / 2;
    return half > WATCH_OTHERS ? half - WATCH_OTHERS : 1;
}

static struct watch *join(struct instance *i)
{
    struct watch *w = mem_alloc(sizeof *w);
    w->instance = i;
    w->id = ++i->last_id;
    LIST_INSERT_HEAD(&i->users, w, order);
    return w;
}

static bool is_shared(const struct instance *i)
{
    return LIST_NEXT(LIST_FIRST(&i->users), order) != NULL;
}

static void own_all(struct watch *w)
{
    uint64_t dir;
    int wd;
    for (size_t at = 0; pair_map_each(&w->pairs, &at, &wd, &dir);)
        number_map_put(&w->instance->owners, (uint64_t)wd, w->id);
}

int watch_new(struct watch **out, struct err *err)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 && errno == EMFILE) {
        err_set(err, ERR_TEMPORARY,
            "no inotify instance is left: raise the sysctl fs.inotify.max_user_instances (or the "
            "limit of open files)");
        return WATCH_NO_INSTANCE;
    }
    if (fd < 0)
        return err_sys(err, errno, "inotify");
    struct instance *i = mem_alloc(sizeof *i);
    i->fd = fd;
    *out = join(i);
    return 0;
}

struct watch *watch_share(struct watch *other)
{
    if (!is_shared(other->instance))
        own_all(other);
    return join(other->instance);
}

unsigned watch_sharers(const struct watch *w)
{
    const struct watch *user;
    unsigned n = 0;
    LIST_FOREACH (user, &w->instance->users, order)
        n++;
    return n;
}

/* What the site watched goes; the last one closes the instance. */
static void leave(struct watch *w)
{
    struct instance *i = w->instance;
    uint64_t dir;
    int wd;
    LIST_REMOVE(w, order);
    if (LIST_EMPTY(&i->users)) {
        close(i->fd);
        number_map_free(&i->owners);
        free(i);
        return;
    }
    for (size_t at = 0; pair_map_each(&w->pairs, &at, &wd, &dir);) {
        number_map_remove(&i->owners, (uint64_t)wd);
        inotify_rm_watch(i->fd, wd);
    }
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    leave(w);
    pair_map_free(&w->pairs);
    free(w);
}

int watch_fd(const struct watch *w)
{
    return w->instance->fd;
}

bool watch_owns(const struct watch *w, int wd)
{
    uint64_t owner = number_map_get(&w->instance->owners, (uint64_t)wd);
    return owner == 0 || owner == w->id;
}

static int add(struct watch *w, int dirfd, uint32_t mask)
{
    char path[sizeof "/proc/self/fd/" + 16];
    snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
    int wd = inotify_add_watch(w->instance->fd, path, mask);
    if (wd >= 0 && (is_shared(w->instance) || !pair_map_dir(&w->pairs, wd)))
        number_map_put(&w->instance->owners, (uint64_t)wd, w->id);
    return wd;
}

static void remove_watch(struct watch *w, int wd)
{
    number_map_remove(&w->instance->owners, (uint64_t)wd);
    inotify_rm_watch(w->instance->fd, wd);
}

static int refused(const struct watch *w, struct err *err)
{
    if (errno != ENOSPC)
        return err_sys(err, errno, "watch");
    err_set(err, ERR_TEMPORARY,
        "no inotify watch is left (%zu in use here): raise the sysctl fs.inotify.max_user_watches",
        watch_count(w));
    return WATCH_FULL;
}

static uint64_t tie(struct watch *w, int wd, uint64_t dir)
{
    uint64_t before = pair_map_dir(&w->pairs, wd);
    int old_wd = pair_map_wd(&w->pairs, dir);
    if (!is_shared(w->instance))
        number_map_remove(&w->instance->owners, (uint64_t)wd);
    if (before == dir)
        return 0;
    pair_map_remove(&w->pairs, wd);
    if (old_wd) { /* the number stands for another inode now */
        pair_map_remove(&w->pairs, old_wd);
        remove_watch(w, old_wd);
    }
    pair_map_put(&w->pairs, wd, dir);
    return before;
}

int watch_add(struct watch *w, int dirfd, uint64_t dir, uint64_t *before, struct err *err)
{
    int wd = add(w, dirfd, TREE_MASK);
    if (wd < 0)
        return refused(w, err);
    *before = tie(w, wd, dir);
    return WATCH_ADDED;
}

int watch_add_cookies(struct watch *w, int dirfd, struct err *err)
{
    int wd = add(w, dirfd, COOKIE_MASK);
    if (wd < 0)
        return refused(w, err);
    tie(w, wd, WATCH_COOKIES);
    return WATCH_ADDED;
}

uint64_t watch_claim(struct watch *w, int dirfd)
{
    int wd = add(w, dirfd, TREE_MASK);
    return wd < 0 ? 0 : watch_dir(w, wd);
}

uint64_t watch_dir(const struct watch *w, int wd)
{
    return pair_map_dir(&w->pairs, wd);
}

bool watch_has(const struct watch *w, uint64_t dir)
{
    return pair_map_wd(&w->pairs, dir) != 0;
}

size_t watch_count(const struct watch *w)
{
    return w->pairs.count;
}

void watch_forget(struct watch *w, int wd)
{
    pair_map_remove(&w->pairs, wd);
    number_map_remove(&w->instance->owners, (uint64_t)wd);
}

void watch_drop_wd(struct watch *w, int wd)
{
    watch_forget(w, wd);
    remove_watch(w, wd);
}

void watch_drop(struct watch *w, uint64_t dir)
{
    int wd = pair_map_wd(&w->pairs, dir);
    if (wd)
        watch_drop_wd(w, wd);
}

void watch_sweep(struct watch *w, bool (*keep)(void *ctx, uint64_t dir), void *ctx)
{
    size_t count = 0;
    uint64_t *stale CLEANUP_FREE = mem_array(w->pairs.count, sizeof *stale);
    uint64_t dir;
    int wd;
    for (size_t at = 0; pair_map_each(&w->pairs, &at, &wd, &dir);)
        if (dir != WATCH_COOKIES && !keep(ctx, dir))
            stale[count++] = dir;
    for (size_t i = 0; i < count; i++)
        watch_drop(w, stale[i]);
}
