/*
 * What a session needs from outside its sandbox: each a function that either does it (a process
 * without a sandbox, such as `mirrord recover`, and the receiver's parent), or asks the parent to
 * (child.h).
 */
#ifndef SECONDARY_CONFINE_OUTSIDE_H
#define SECONDARY_CONFINE_OUTSIDE_H

#include <sys/stat.h>

#include "protocol/path.h"
#include "secondary/receive.h"
#include "tree/manifest/mark.h"
#include "tree/names.h"
#include "tree/state/epoch.h"

struct grounds;
struct hooks;
struct hook_state;

/* A site as the primary names it. */
struct outside_site {
    struct bytes name, asked;
};

struct outside_place {
    char *root; /* the caller frees it */
    struct receive_policy policy;
    bool barred;                   /* it came up behind the sandbox: the next process serves it */
    bool no_way;                   /* what it is to be made in is missing, and not made for it */
    char stage[PATH_NAME_MAX + 1]; /* an empty one that is ready beside a root without; or "" */
};

struct outside {
    struct names_source names;
    struct mark_writer marks;

    /* The fence's word on a site; `make`: directories above its root that it says may be made are,
     * unless the root was filled before. 0, -1 refused. */
    int (*place)(void *ctx, const struct outside_site *s, bool make, struct outside_place *out,
        struct err *err);

    /* What is excluded on this host besides what the site excludes, one pattern after the other: 1
     * with *pattern (the caller frees it), 0 there are no more, -1. */
    int (*exclude)(
        void *ctx, const struct outside_site *s, unsigned number, char **pattern, struct err *err);

    /* Is the directory at this path still the one that the sandbox has? 0, -1. */
    int (*in_place)(void *ctx, const char *root);

    /* Makes the site's root, whose parent is there; `away`: removes it when it is still empty and
     * was made so. */
    int (*make)(void *ctx, const struct outside_site *s, bool away, struct err *err);

    /* As epoch_present; `take`: this host raises the epoch above the one presented, under the
     * caller's lock (epoch_lock; below 0: there was nothing to be locked). *now: what is stored by
     * then. */
    int (*epoch)(void *ctx, const struct outside_site *s, bool take, int lock,
        const struct epoch *presented, struct epoch *now, struct err *err);

    /* Asks the process that holds the root's lock on behalf of the same primary to end. */
    void (*yield)(void *ctx, const struct outside_site *s, const struct digest *owner);

    /* Owner (-1: as it is) and mtime of a symbolic link, for which there is no descriptor that
     * could be written through. 0, -1 with errno. */
    int (*set_link)(
        void *ctx, int dirfd, const char *name, uid_t uid, gid_t gid, const struct timespec *mtime);

    /* Gives a directory u+rwx that may not even be opened. */
    int (*loosen)(void *ctx, int dirfd, const char *name);

    /* Records of hook_changes.h: what changed with a commit. False: they are none. */
    bool (*hook)(void *ctx, const struct outside_site *s, struct bytes records);

    /* How the site's command goes; `opened`: what is noted as due becomes so. 0; -1: nobody knows.
     */
    int (*hook_state)(void *ctx, const struct outside_site *s, bool opened, struct hook_state *out);

    /* Is the command through with what had this ticket? *now: the ticket of what came last
     * (hook.h). */
    bool (*told)(void *ctx, const struct outside_site *s, uint64_t ticket, uint64_t *now);

    /* Units are about to be switched: holds the site's readers, asked until it is done or is not
     * (enum hold_state). */
    unsigned (*hold)(void *ctx, const struct outside_site *s);

    /* They are switched, or will not be: records of what changed; after the last of them the
     * readers go on. False: they are no records. */
    bool (*let_go)(void *ctx, const struct outside_site *s, struct bytes records, bool last);

    struct hooks *hooks; /* that are to be stepped; NULL: none, or they are another process's */
    void *ctx;
};

/* Does it all by itself. */
struct outside_direct {
    const struct receive_options *options;
    struct grounds *grounds; /* NULL: no sandbox, nothing is barred */
    struct names *names;
    struct hooks *hooks; /* NULL: none are run */
};
struct outside outside_direct(struct outside_direct *d);

#endif
