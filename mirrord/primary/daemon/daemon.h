/*
 * The daemon: sites that are scanned and watched, peers they are pushed to, the control socket.
 * It knows nothing of configuration files: command/run.c translates.
 */
#ifndef PRIMARY_DAEMON_DAEMON_H
#define PRIMARY_DAEMON_DAEMON_H

#include "primary/push/peer/peer.h"
#include "primary/site.h"

struct daemon;

struct daemon_target { /* one secondary of a site */
    const char *peer;
    const char *remote_root;      /* NULL: the far end's configuration says */
    const struct filter *without; /* what is not mirrored there besides; NULL: nothing */
};

enum daemon_presence {
    DAEMON_SITE_THERE,
    DAEMON_SITE_GONE,     /* somebody removed it: it is not opened, and its copies stay */
    DAEMON_SITE_ALL_GONE, /* as all that its glob matched: that is not believed */
};

struct daemon_site {
    struct site_options options;
    enum daemon_presence presence;
    int64_t gone_since; /* CLOCK_REALTIME seconds; 0: it is there */
    const char *glob;   /* the pattern that it is of; NULL: none */
    const struct daemon_target *targets;
    size_t target_count;
    uint64_t identity;       /* a hash over everything above: equal means unchanged */
    uint64_t stamp;          /* epoch_stamp from before the epoch was read */
    const char *socket_user; /* whose the site's own socket is; NULL: the root's owner's */
};

/* A site of the configuration that is not pushed from here. */
struct daemon_idle {
    const char *name, *root;
    const char *primary; /* the host that is its primary */
    bool fenced;         /* this host was, until that one was promoted */
    uint64_t stamp;      /* epoch_stamp from before the epoch was read */
    const char *socket_user;
    unsigned health_lag_ms, health_orphaned_ms; /* the configuration's; for the hook */
};

/* How such a site is here, for status: as `mirrord health` says. */
struct daemon_health {
    bool up;
    const char *state; /* a word */
    char why[512];
    uint64_t owed_paths, behind_ms;
};

/* What should be; strings are the caller's and copied where kept. */
struct daemon_plan {
    const char *state_dir;
    const char *control;      /* path of the socket */
    const char *site_sockets; /* directory of the sites' own; NULL: they have none */
    const char *self;
    uint64_t rescan_ms;                 /* scan_options.rescan_ms; counts from daemon_new on */
    uint64_t scan_rate, reread_every_s; /* as in scan_options; likewise */
    const char *metrics;                /* the file for a monitoring system; NULL: none */
    unsigned metrics_ms;                /* between two of them */
    uint64_t hour_ms; /* between lines that sum up; 0: an hour; counts from daemon_new on */
    const struct peer_options *peers;
    size_t peer_count;
    const struct daemon_site *sites;
    size_t site_count;
    const struct daemon_idle *idle;
    size_t idle_count;
    const char *const *globs; /* paths with one '*', of which new sites may come up */
    size_t glob_count;
};

struct daemon_hooks {
    /* SIGHUP, `mirrord reload`, or a site's epoch is another one: reads the configuration again and
     * calls daemon_apply. On failure err says file:line and the old plan stays. */
    int (*reload)(void *ctx, struct daemon *d, struct err *err);
    /* Something may match the plan's globs that did not, or the reverse: looks, and where it is so
     * calls daemon_apply, with the configuration as it was read. */
    void (*expand)(void *ctx, struct daemon *d);
    /* This site, which is gone, is not to be known any more: calls daemon_apply without it. */
    int (*forget)(void *ctx, struct daemon *d, const char *site, struct err *err);
    /* Looks at a site that is not pushed from here; false: it could not. May be NULL. */
    bool (*health)(void *ctx, const struct daemon_idle *s, struct daemon_health *out);
    void *ctx;
};

/* Locks the state directory against a second daemon and opens the control socket (0600; a stale
 * socket file is replaced, a live one is an error that names it), before any site. */
int daemon_new(const struct daemon_plan *plan, const struct daemon_hooks *hooks,
    struct daemon **out, struct err *err);

/* Makes the running set equal to the plan: new sites are opened, scanned and pushed, vanished ones
 * closed, unchanged ones neither walked nor disconnected. A site that cannot be opened is shown in
 * status and tried again; it stops none of the others. */
int daemon_apply(struct daemon *d, const struct daemon_plan *plan, struct err *err);

/* Until SIGTERM or SIGINT: 0. Prints the line with "ready" to standard error once. */
int daemon_run(struct daemon *d, struct err *err);
void daemon_free(struct daemon *d);

#endif
