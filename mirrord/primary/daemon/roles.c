/*
 * Which sites this host belongs to, and whether somebody wrote their epochs: a promotion here, a
 * receiver that was told of one elsewhere, a push that was refused. Then the plan is made anew.
 */
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "tree/state/epochs.h"

enum { ROLES_LOOK_MS = 300 };

static uint64_t stamp_of(struct daemon *d, const char *root)
{
    struct err ignored;
    int fd CLEANUP_FD = epochs_open(d->state_dir, root, false, &ignored);
    return fd < 0 ? 0 : epoch_stamp(fd);
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
}

bool roles_changed(struct daemon *d, unsigned *wait)
{
    uint64_t now = io_now_ms();
    bool changed = false;
    *wait = d->role_count ? ROLES_LOOK_MS : 60000;
    if (now < d->roles_due_ms)
        return false;
    d->roles_due_ms = now + ROLES_LOOK_MS;
    for (size_t i = 0; i < d->role_count; i++) {
        uint64_t stamp = stamp_of(d, d->roles[i].root);
        changed |= stamp != d->roles[i].stamp;
        d->roles[i].stamp = stamp;
    }
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
