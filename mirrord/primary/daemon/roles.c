/*
 * Which sites this host belongs to, and whether somebody wrote their epochs: a promotion here, a
 * receiver that was told of one elsewhere, a push that was refused. Then the plan is made anew.
 * The directories of epochs are watched, and those that they come up in.
 */
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "tree/state/epochs.h"

enum {
    BLIND_MS = 300,  /* between looks where not all can be watched, */
    CALM_MS = 30000, /* and where it is */
    MASK = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MOVE_SELF | IN_ONLYDIR,
};

static void watch(struct daemon *d, const char *path)
{
    d->roles_blind |= inotify_add_watch(d->roles_fd, path, MASK) < 0;
}

/* It is watched before it is looked at. */
static uint64_t stamp_of(struct daemon *d, const char *root)
{
    struct err ignored;
    char path[sizeof "/proc/self/fd/" + 16];
    int fd CLEANUP_FD = epochs_open(d->state_dir, root, false, &ignored);
    if (fd < 0)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    watch(d, path);
    return epoch_stamp(fd);
}

/* What a site's directory may come up in: one of the two, or both, need not be there. */
static void watch_above(struct daemon *d)
{
    static const char *const above[] = {"epochs", "roots"};
    watch(d, d->state_dir);
    for (size_t i = 0; i < sizeof above / sizeof *above; i++) {
        char *path CLEANUP_FREE = mem_format("%s/%s", d->state_dir, above[i]);
        if (access(path, F_OK) == 0)
            watch(d, path);
    }
}

static void begin_watching(struct daemon *d)
{
    if (d->roles_fd >= 0)
        close(d->roles_fd);
    d->roles_fd = d->role_count ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
    d->roles_due_ms = 0;
}

void roles_wake(struct daemon *d)
{
    char events[4096];
    while (read(d->roles_fd, events, sizeof events) > 0)
        continue; /* whatever it is, a look tells */
    d->roles_due_ms = 0;
}

static void add(struct daemon *d, const char *name, const char *root, const char *primary,
    bool idle, bool fenced, uint64_t stamp)
{
    d->roles[d->role_count++] = (struct role_site){.name = mem_copy_string(name),
        .root = mem_copy_string(root),
        .primary = mem_copy_string(primary),
        .idle = idle,
        .fenced = fenced,
        .stamp = stamp};
}

void roles_free(struct daemon *d)
{
    for (size_t i = 0; i < d->role_count; i++) {
        free(d->roles[i].name);
        free(d->roles[i].root);
        free(d->roles[i].primary);
    }
    free(d->roles);
    d->roles = NULL;
    d->role_count = 0;
    begin_watching(d);
}

void roles_apply(struct daemon *d, const struct daemon_plan *plan)
{
    roles_free(d);
    d->roles = mem_array(plan->site_count + plan->idle_count, sizeof *d->roles);
    for (size_t i = 0; i < plan->site_count; i++) {
        const struct site_options *o = &plan->sites[i].options;
        add(d, o->name, o->root, d->self, false, false, plan->sites[i].stamp);
    }
    for (size_t i = 0; i < plan->idle_count; i++) {
        const struct daemon_idle *s = &plan->idle[i];
        add(d, s->name, s->root, s->primary, true, s->fenced, s->stamp);
        d->roles[d->role_count - 1].health_lag_ms = s->health_lag_ms;
        d->roles[d->role_count - 1].health_orphaned_ms = s->health_orphaned_ms;
    }
    begin_watching(d);
}

bool roles_changed(struct daemon *d, unsigned *wait)
{
    uint64_t now = io_now_ms();
    bool changed = false;
    if (d->role_count && now < d->roles_due_ms) {
        *wait = (unsigned)(d->roles_due_ms - now);
        return false;
    }
    d->roles_blind = false;
    if (d->role_count)
        watch_above(d);
    for (size_t i = 0; i < d->role_count; i++) {
        uint64_t stamp = stamp_of(d, d->roles[i].root);
        changed |= stamp != d->roles[i].stamp;
        d->roles[i].stamp = stamp;
    }
    *wait = d->roles_blind ? BLIND_MS : CALM_MS;
    d->roles_due_ms = now + *wait;
    return changed;
}

int roles_not_ours(const struct daemon *d, const char *name, struct err *err)
{
    for (size_t i = 0; i < d->role_count; i++)
        if (strcmp(d->roles[i].name, name) == 0)
            return err_set(err, ERR_USAGE,
                "%s is a secondary of %s: its primary is %s, type it there", d->self, name,
                d->roles[i].primary);
    return err_set(err, ERR_USAGE,
        "%s is not a site that is mirrored from here: mirrord status --all names those that are",
        QUOTED(name, strlen(name)));
}
