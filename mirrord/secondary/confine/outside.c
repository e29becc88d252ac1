/* What is done outside of the sandbox; see outside.h. In the receiver's parent every argument may
 * be a taken-over child's: a path is only ever what the fence makes of a site, a descriptor only
 * what that child was able to open, and what is done through it is done to a link or a directory.
 */
#include "secondary/confine/outside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/grounds.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook.h"
#include "secondary/site/marker.h"
#include "tree/content/digest.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

static int resolve(struct outside_direct *d, const struct outside_site *s,
    struct receive_grant *out, struct err *err)
{
    const struct receive_fence *f = d->options->fence;
    return f->resolve(f->ctx, s->name, s->asked, out, err);
}

/* The same, as the state directory knows it. */
static char *resolve_links(
    struct outside_direct *d, const struct outside_site *s, bool *primary_here, struct err *err)
{
    struct receive_grant grant;
    if (resolve(d, s, &grant, err) < 0)
        return NULL;
    char *root CLEANUP_FREE = grant.root;
    *primary_here = grant.primary;
    if (d->grounds)
        return grounds_resolve(d->grounds, root, err);
    char *real = realpath(root, NULL);
    return real ? real : TAKE_PTR(root);
}

/* Where mirrord put something there before, what is missing is rather the volume. */
static bool was_filled(const struct outside_direct *d, const char *root, size_t fixed)
{
    char *top CLEANUP_FREE = mem_copy_bytes(root, fixed);
    char *real_top CLEANUP_FREE = realpath(top, NULL);
    char *real CLEANUP_FREE = mem_format("%s%s", real_top ? real_top : top, root + fixed);
    char *state CLEANUP_FREE = state_root_dir(d->options->state_dir, real);
    char *marker CLEANUP_FREE = mem_format("%s/" MARKER_FILE, state);
    return access(marker, F_OK) == 0;
}

static int make_one(int above, const char *name)
{
    mode_t before = umask(0);
    int made = mkdirat(above, name, 0755);
    umask(before);
    if (made < 0 && errno != EEXIST)
        return -1;
    return openat(above, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The directories between the fixed part of a glob and a root of it that is new here. One that
 * cannot be made is missed by whoever makes the root. */
static void make_way(const struct outside_direct *d, const char *root, size_t fixed)
{
    if (!fixed || root[fixed] != '/' || access(root, F_OK) == 0 || was_filled(d, root, fixed))
        return;
    char *path CLEANUP_FREE = mem_copy_string(root);
    path[fixed] = '\0';
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *name = path + fixed + 1, *slash;
    for (; fd >= 0 && (slash = strchr(name, '/')); name = slash + 1) {
        *slash = '\0';
        int next = make_one(fd, name);
        if (next < 0)
            log_warn("%s: cannot make the directory %s above it: %s", root, name, strerror(errno));
        close(fd);
        fd = next;
    }
    if (fd >= 0)
        close(fd);
}

/* Is the directory that the root is in there, or would make_way make it? */
static bool has_way(const struct outside_direct *d, const char *root, size_t fixed)
{
    char *above CLEANUP_FREE = mem_copy_bytes(root, (size_t)(strrchr(root, '/') - root) + 1);
    if (access(above, F_OK) == 0 || errno != ENOENT)
        return true;
    if (!fixed || root[fixed] != '/' || was_filled(d, root, fixed))
        return false;
    above[fixed] = '\0';
    return access(above, F_OK) == 0;
}

static int place(
    void *ctx, const struct outside_site *s, bool make, struct outside_place *out, struct err *err)
{
    struct outside_direct *d = ctx;
    struct receive_grant grant;
    *out = (struct outside_place){0};
    if (resolve(d, s, &grant, err) < 0)
        return -1;
    out->root = grant.root;
    out->policy = grant.policy;
    if (make)
        make_way(d, grant.root, grant.fixed);
    out->no_way = !has_way(d, grant.root, grant.fixed);
    int covered = d->grounds ? grounds_cover(d->grounds, out->root, make, out->stage, err) : 1;
    out->barred = covered == 0;
    if (covered < 0)
        free(TAKE_PTR(out->root));
    return covered < 0 ? -1 : 0;
}

static int exclude(
    void *ctx, const struct outside_site *s, unsigned number, char **pattern, struct err *err)
{
    struct receive_grant grant = {0};
    struct msg_rule rule;
    if (resolve(ctx, s, &grant, err) < 0)
        return -1;
    free(grant.root);
    if (!grant.excludes || number >= filter_count(grant.excludes))
        return 0;
    filter_rule(grant.excludes, number, &rule);
    *pattern = mem_copy_bytes(rule.pattern.data, rule.pattern.len);
    return 1;
}

static int in_place(void *ctx, const char *root)
{
    const struct outside_direct *d = ctx;
    return !d->grounds || grounds_in_place(d->grounds, root) ? 0 : -1;
}

static int make(void *ctx, const struct outside_site *s, bool away, struct err *err)
{
    struct outside_direct *d = ctx;
    struct receive_grant grant;
    if (resolve(d, s, &grant, err) < 0)
        return -1;
    char *root CLEANUP_FREE = grant.root;
    if (d->grounds)
        return grounds_make_root(d->grounds, root, away, err);
    return (away ? rmdir(root) : mkdir(root, 0755)) < 0 ? err_sys(err, errno, "create %s", root)
                                                        : 0;
}

/* A lock that the child holds on the epoch of this directory holds for whoever has its descriptor,
 * too. */
static int check_lock(int dir, int lock, struct err *err)
{
    struct stat given, own;
    if (fstat(lock, &given) < 0 || fstatat(dir, EPOCH_LOCK, &own, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "the epoch's lock");
    if (given.st_dev != own.st_dev || given.st_ino != own.st_ino)
        return err_set(err, ERR_FAILED, "the epoch's lock is another one");
    return flock(lock, LOCK_EX) < 0 ? err_sys(err, errno, "lock the epoch") : 0;
}

/* The primary hands over: this host raises the epoch. Repeated, it has done so already. */
static int take(const struct receive_options *o, int dir, int lock, const struct epoch *presented,
    struct epoch *now, struct err *err)
{
    struct digest self;
    int own CLEANUP_FD = lock < 0 ? epoch_lock(dir, err) : -1;
    if (lock < 0 ? own < 0 : check_lock(dir, lock, err) < 0)
        return -1;
    if (epoch_read(dir, now, err) < 0 || state_host_id(o->state_dir, &self, err) < 0)
        return -1;
    if (now->role == ROLE_PRIMARY && now->counter > presented->counter &&
        digest_equal(&now->id, &self))
        return 0;
    enum epoch_order order = epoch_compare(now, presented->counter, &presented->id);
    if (order == EPOCH_LOWER || order == EPOCH_SPLIT || now->role == ROLE_PRIMARY ||
        !epoch_is_near(now, presented->counter)) {
        err_set(err, ERR_REFUSED, "fenced: %s is the primary (epoch %llu)", now->primary,
            (unsigned long long)now->counter);
        return 1;
    }
    *now = (struct epoch){.counter = presented->counter + 1, .id = self, .role = ROLE_PRIMARY};
    snprintf(now->primary, sizeof now->primary, "%s", o->host ? o->host : "?");
    return epoch_write(dir, now, err);
}

static int epoch(void *ctx, const struct outside_site *s, bool raise, int lock,
    const struct epoch *presented, struct epoch *now, struct err *err)
{
    struct outside_direct *d = ctx;
    bool primary_here = false;
    *now = (struct epoch){0};
    char *root CLEANUP_FREE = resolve_links(d, s, &primary_here, err);
    if (!root)
        return -1;
    int dir CLEANUP_FD = epochs_open_resolved(d->options->state_dir, root, true, err);
    if (dir < 0)
        return -1;
    if (raise)
        return take(d->options, dir, lock, presented, now, err);
    return epoch_present(
        dir, primary_here, presented->counter, &presented->id, presented->primary, now, err);
}

static void yield(void *ctx, const struct outside_site *s, const struct digest *owner)
{
    struct outside_direct *d = ctx;
    bool primary_here;
    struct err ignored;
    char *root CLEANUP_FREE = resolve_links(d, s, &primary_here, &ignored);
    if (root)
        state_ask_to_yield(d->options->state_dir, root, owner);
}

/* The thing of this kind, and a path to it that nobody can turn elsewhere. O_PATH would let a
 * sandboxed process name what it must not open. */
static int open_thing(int dirfd, const char *name, mode_t kind)
{
    struct stat st;
    int flags = fcntl(dirfd, F_GETFL);
    if (flags < 0 || (flags & O_PATH) || !*name || strchr(name, '/') || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        errno = EINVAL;
        return -1;
    }
    int fd CLEANUP_FD = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if ((st.st_mode & S_IFMT) != kind) {
        errno = EINVAL;
        return -1;
    }
    return TAKE_FD(fd);
}

static int set_link(
    void *ctx, int dirfd, const char *name, uid_t uid, gid_t gid, const struct timespec *mtime)
{
    (void)ctx;
    int fd CLEANUP_FD = open_thing(dirfd, name, S_IFLNK);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
    if (fd < 0)
        return -1;
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
        return -1;
    return utimensat(fd, "", times, AT_EMPTY_PATH);
}

static int loosen(void *ctx, int dirfd, const char *name)
{
    char path[sizeof "/proc/self/fd/" + 16];
    struct stat st;
    (void)ctx;
    int fd CLEANUP_FD = open_thing(dirfd, name, S_IFDIR);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return chmod(path, (st.st_mode & 07777) | 0700);
}

static int write_mark(void *ctx, const char *name, const struct mark *m, struct err *err)
{
    struct outside_direct *d = ctx;
    if (!*name || *name == '.' || strchr(name, '/') ||
        (d->grounds && !grounds_has_state(d->grounds, name)))
        return err_sys(err, EINVAL, "write");
    char *path CLEANUP_FREE = mem_format("%s/roots/%s", d->options->state_dir, name);
    int dir CLEANUP_FD = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return dir < 0 ? err_sys(err, errno, "write") : mark_write(dir, m, err);
}

static int number_of(void *ctx, bool group, const char *name, unsigned *id)
{
    struct outside_direct *d = ctx;
    uid_t uid = 0;
    gid_t gid = 0;
    int known = group ? names_gid(d->names, bytes_of(name), &gid)
                      : names_uid(d->names, bytes_of(name), &uid);
    *id = group ? gid : uid;
    return known;
}

static int name_of(void *ctx, bool group, unsigned id, char name[256])
{
    struct outside_direct *d = ctx;
    struct bytes found = group ? names_group(d->names, id) : names_user(d->names, id);
    snprintf(name, 256, "%.*s", (int)found.len, found.len ? (const char *)found.data : "");
    return found.len > 0;
}

/* The site's command, once. A site without one, or without state, is left out. */
static void know_hook(struct outside_direct *d, const struct outside_site *s)
{
    const struct receive_fence *f = d->options->fence;
    struct receive_hook hook;
    struct err ignored;
    bool primary;
    char *root CLEANUP_FREE = resolve_links(d, s, &primary, &ignored);
    if (!root || !f->hook(f->ctx, s->name, RECEIVE_ON_COMMIT, &hook))
        return;
    int dir CLEANUP_FD = state_open_resolved(d->options->state_dir, root, &ignored);
    if (dir >= 0)
        hooks_know(d->hooks, s->name, root, &hook, dir);
    receive_hook_clear(&hook);
}

static bool hook(void *ctx, const struct outside_site *s, struct bytes records)
{
    struct outside_direct *d = ctx;
    if (!d->hooks || !d->options->fence->hook)
        return true;
    if (!hooks_knows(d->hooks, s->name))
        know_hook(d, s);
    return hooks_add(d->hooks, s->name, records);
}

static int hook_state(void *ctx, const struct outside_site *s, bool opened, struct hook_state *out)
{
    struct outside_direct *d = ctx;
    if (!d->hooks || !d->options->fence->hook)
        return -1;
    if (!hooks_knows(d->hooks, s->name))
        know_hook(d, s);
    else if (opened)
        hooks_look_again(d->hooks, s->name);
    hooks_state(d->hooks, s->name, out);
    return 0;
}

static bool told(void *ctx, const struct outside_site *s, uint64_t ticket, uint64_t *now)
{
    struct outside_direct *d = ctx;
    *now = 0;
    if (!d->hooks || !d->options->fence->hook)
        return true;
    if (!hooks_knows(d->hooks, s->name))
        know_hook(d, s);
    return hooks_told(d->hooks, s->name, ticket, now);
}

static void know_hold(struct outside_direct *d, struct holds *holds, const struct outside_site *s)
{
    const struct receive_fence *f = d->options->fence;
    struct receive_hook order;
    struct err ignored;
    bool primary;
    char *root CLEANUP_FREE = resolve_links(d, s, &primary, &ignored);
    if (!root || !f->hook(f->ctx, s->name, RECEIVE_ON_SWITCH, &order))
        return;
    holds_know(holds, s->name, root, &order);
    receive_hook_clear(&order);
}

static unsigned hold(void *ctx, const struct outside_site *s)
{
    struct outside_direct *d = ctx;
    struct holds *holds = d->hooks ? hooks_holds(d->hooks) : NULL;
    if (!holds || !d->options->fence->hook)
        return HOLD_NONE;
    if (!holds_knows(holds, s->name))
        know_hold(d, holds, s);
    return holds_begin(holds, s->name);
}

static bool let_go(void *ctx, const struct outside_site *s, struct bytes records, bool last)
{
    struct outside_direct *d = ctx;
    return !d->hooks || holds_end(hooks_holds(d->hooks), s->name, records, last);
}

struct outside outside_direct(struct outside_direct *d)
{
    return (struct outside){.names = {number_of, name_of, d},
        .marks = {write_mark, d},
        .place = place,
        .exclude = exclude,
        .in_place = in_place,
        .make = make,
        .epoch = epoch,
        .yield = yield,
        .set_link = set_link,
        .loosen = loosen,
        .hook = hook,
        .hook_state = hook_state,
        .told = told,
        .hold = hold,
        .let_go = let_go,
        .hooks = d->hooks,
        .ctx = d};
}
