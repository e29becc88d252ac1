/*
 * What the parts of the daemon share: daemon.c (beginning, loop, end), roster.c (which sites
 * there are), roster_peers.c, roster_open.c, status.c, flush/ (requests that wait),
 * site_sockets.c. All on the main thread; the roster's lock is for the scanner's thread, which
 * tells the peers of a site what is owed.
 */
#ifndef PRIMARY_DAEMON_DAEMON_IMPL_H
#define PRIMARY_DAEMON_DAEMON_IMPL_H

#include <pthread.h>
#include <sys/queue.h>

#include "primary/daemon/control.h"
#include "primary/daemon/daemon.h"
#include "primary/daemon/metrics/metrics.h"
#include "primary/scan/scan.h"

struct set;

struct roster_peer {
    TAILQ_ENTRY(roster_peer) order;
    char *name;
    char *key; /* all its options: another key is another peer */
    struct peer *peer;
    struct tally_count told; /* by hourly.c: as it was at the last line */
    uint64_t told_bytes;
};

struct roster_target {
    char *name;
    char *remote_root;        /* or NULL */
    struct filter *without;   /* or NULL */
    struct roster_peer *peer; /* NULL: none of that name */
};

/* A site of the plan. */
struct roster_site {
    TAILQ_ENTRY(roster_site) order;
    struct site_options options; /* own copies */
    struct filter *filter;
    uint64_t identity;
    enum daemon_presence presence; /* not there: it is never opened, and `error` says why */
    int64_t gone_since;
    struct roster_target *targets;
    size_t target_count;
    struct site *site;        /* NULL: not open */
    char error[ERR_TEXT_MAX]; /* why not; empty: not tried yet */
    int64_t error_time;
    bool refused; /* held: the root is not what it was */
    uint64_t open_due_ms;
    uint64_t back_due_ms; /* when to look whether its root is back */
    struct set *force;    /* names of hosts whose holds are overruled when it is open; or NULL */
};

/* A site that is no longer in the plan, until its last user has let go of it. */
struct roster_leaving {
    TAILQ_ENTRY(roster_leaving) order;
    struct site *site;
};

/* A site that this host belongs to, pushed from here or not: its epoch says. */
struct role_site {
    char *name, *root, *primary;
    bool idle, fenced;
    uint64_t stamp;
    unsigned health_lag_ms, health_orphaned_ms;
};

struct flush_wait;
struct forget_wait;
struct glob_watch;
struct pauses;
struct site_sockets;

struct metrics { /* metrics/metrics.c */
    char *path;  /* NULL: none */
    unsigned every_ms;
    uint64_t due_ms, written_ms, said_ms;
    uint64_t seen; /* which secondaries were there */
};
enum { METRICS_NEVER_MS = 60000 };

struct daemon {
    char *state_dir, *self;
    struct daemon_hooks hooks;
    int lock_fd, signal_fd, wake_fd;
    bool stopping, ready;
    struct role_site *roles;
    size_t role_count;
    uint64_t roles_due_ms;
    int roles_fd;     /* tells when an epoch may have been written; below 0: not to be had */
    bool roles_blind; /* it does not tell all */
    struct pauses *pauses;
    unsigned manager_ms; /* how often the service manager hears from the loop */
    uint64_t manager_due_ms;
    int64_t started; /* CLOCK_REALTIME seconds */
    struct metrics metrics;
    uint64_t hour_ms, hour_due_ms;
    struct control *control;
    struct site_sockets *site_sockets; /* or NULL */
    struct glob_watch *globs;
    struct scan *scan;
    struct shelf *shelf;  /* of all peers */
    pthread_mutex_t lock; /* over the lists' shape, sites' pointers and targets */
    TAILQ_HEAD(, roster_peer) peers;
    TAILQ_HEAD(, roster_site) sites;
    TAILQ_HEAD(, roster_leaving) leaving;
    TAILQ_HEAD(, flush_wait) waits;
    TAILQ_HEAD(, forget_wait) forgets;
};

/* roster.c: the sites of the plan */
int roster_apply(struct daemon *d, const struct daemon_plan *plan, struct err *err);
void roster_free(struct daemon *d); /* stops all peers, closes all sites */
struct roster_site *roster_find(struct daemon *d, const char *name);   /* or NULL */
struct roster_site *roster_of(struct daemon *d, const struct site *s); /* or NULL */
/* Closed, and opened again as soon as its users have let go of it. */
void roster_reopen(struct daemon *d, struct roster_site *s, bool accept_root);
/* Gives a site the peers of its targets, where it has none yet. */
void roster_attach_peers(struct daemon *d, struct roster_site *s);

/* roster_peers.c */
struct roster_peer *roster_find_peer(struct daemon *d, const char *name); /* or NULL */
void roster_add_peer(struct daemon *d, const struct peer_options *o);     /* and starts it */
/* Stops those that the plan has not, or has otherwise; NULL: all. */
void roster_remove_peers(struct daemon *d, const struct daemon_plan *plan);
const struct peer_options *roster_planned_peer(const struct daemon_plan *plan, const char *name);
extern const struct scan_sink roster_sink; /* ctx: the daemon */

/* roster_open.c */
/* Opens what is due, lets go of what has left. Milliseconds until there is something to do. */
unsigned roster_tick(struct daemon *d);

/* The operator overrules all holds of the site at these hosts (names; none: all). */
void roster_force(struct daemon *d, struct roster_site *s, const struct json *hosts);
/* The operator lets it take over what is there, on these hosts (none: all). */
void roster_adopt(struct roster_site *s, const struct json *hosts);

/* Is what was opened at this site's root still in use? */
bool roster_is_leaving(struct daemon *d, const struct roster_site *s);

/* Has everything been brought level, as far as it can be reached? */
bool roster_is_ready(struct daemon *d);

/* roles.c */
void roles_apply(struct daemon *d, const struct daemon_plan *plan);
void roles_free(struct daemon *d);
/* The roles_fd is readable. */
void roles_wake(struct daemon *d);
/* Has an epoch been written since the plan was made? *wait: milliseconds until the next look. */
bool roles_changed(struct daemon *d, unsigned *wait);
/* -1: the site of this name is not pushed from here, since another host is its primary, or there is
 * none. */
int roles_not_ours(const struct daemon *d, const char *name, struct err *err);

/* pausing.c: what the operator has paused */
void pause_request(struct daemon *d, struct control_client *client, const struct json *request);
void resume_request(struct daemon *d, struct control_client *client, const struct json *request);
void pausing_site(struct daemon *d, const struct roster_site *s); /* before its first push */
void pausing_peer(struct daemon *d, const struct roster_peer *p);
unsigned pausing_tick(struct daemon *d); /* milliseconds until it has to be called again */
/* "paused", and where it is so "pause_reason", "paused_since", "paused_until" (0: until resumed) */
void pausing_describe(const struct daemon *d, bool host, const char *name, struct json *to);

/* status.c */
struct json *status_json(struct daemon *d);
/* What concerns this site alone, for those who may know no more. */
struct json *status_site_json(struct daemon *d, const char *name);

/* site_sockets.c: a socket for each site, which the site's user may ask. What cannot be opened is
 * said in the log and stops nothing. */
void site_sockets_apply(struct daemon *d, const struct daemon_plan *plan);
int site_sockets_fd(const struct daemon *d); /* readable: call site_sockets_serve; or -1 */
void site_sockets_serve(struct daemon *d);
unsigned site_sockets_tick(struct daemon *d); /* milliseconds until it has to be called again */
void site_sockets_free(struct daemon *d);

/* hourly.c: a line for the log. Milliseconds until it has to be called again. */
unsigned hourly_tick(struct daemon *d);

/* flush/: requests that are answered later, and (resync) those that nobody waits for. */
void flush_request(struct daemon *d, struct control_client *client, const struct json *request);
void resync_request(struct daemon *d, struct control_client *client, const struct json *request);
void flush_gone(struct daemon *d, struct control_client *client);
unsigned flush_tick(struct daemon *d); /* milliseconds until it has to be called again */
void flush_free(struct daemon *d);

/* forget.c: likewise. */
void forget_request(struct daemon *d, struct control_client *client, const struct json *request);
void forget_gone(struct daemon *d, struct control_client *client);
unsigned forget_tick(struct daemon *d); /* milliseconds until it has to be called again */
void forget_free(struct daemon *d);

#endif
