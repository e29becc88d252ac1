/*
 * The configuration: one identical file for all hosts (DESIGN 10), read with libconfuse
 * (config_file.c alone includes it). Unknown keys and bad values are errors with file and line and
 * the nearest valid key.
 */
#ifndef COMMAND_CONFIG_CONFIG_H
#define COMMAND_CONFIG_CONFIG_H

#include "base/err.h"
#include "link/conn.h"
#include "secondary/receive.h"
#include "tree/filter.h"
#include "tree/preset.h"
#include "tree/state/space.h"
#include "tree/unit_rules.h"

#define CONFIG_DEFAULT_PATH "/etc/mirrord/mirrord.conf"

enum {
    CONFIG_KEEPALIVE = 15, /* seconds: the default, and the most that every receiver bears */
    CONFIG_UNIT_GRACE = 60,
    CONFIG_METRICS_MS = 15000,           /* the default */
    CONFIG_LAG_MS = 5 * 60 * 1000,       /* the default of health-max-lag */
    CONFIG_SCAN_RATE = 10 * 1024 * 1024, /* the default, bytes a second */
};

#define CONFIG_HEALTH_NEVER UINT32_MAX

enum config_compress { COMPRESS_AUTO, COMPRESS_NONE, COMPRESS_ZSTD };

struct config_host {
    char *name;
    char *address;        /* default: the name */
    char *user;           /* NULL: not given */
    unsigned port;        /* 0: not given */
    char *identity;       /* NULL: the global one */
    char *known_hosts;    /* NULL: the global one */
    char *remote_command; /* default "mirrord"; may hold arguments, split at blanks, quotes honoured
                           */
    enum conn_transport transport;
    enum config_compress compress;
    uint64_t bwlimit;   /* bytes per second; 0: none */
    unsigned keepalive; /* seconds */
    char *file;         /* where it is defined, for messages */
    unsigned line;
};

enum config_owner { OWNER_AS_SITE, OWNER_NO, OWNER_YES, OWNER_FIXED };
/* The commands after a commit and around a switch on a secondary; NULL and 0: not said. */
struct config_hook {
    char *command; /* split at blanks, quotes honoured; or "none" */
    char *user;    /* of both; NULL: the root directory's owner */
    unsigned timeout_ms;
    char *on_switch; /* as the other */
    unsigned on_switch_timeout_ms;
};

/* What differs on one host. */
struct config_at {
    char *host;
    char *root; /* NULL: as the site's */
    enum config_owner owner;
    char *user, *group;     /* OWNER_FIXED: of everything there; group NULL: the user's own */
    struct filter *exclude; /* not mirrored there, or, on the primary, from there; NULL: nothing */
    char *file;             /* where it is defined, for messages */
    unsigned line;
    struct config_hook hook;
};

/* Is a site that a `sites` glob matches, or once did, there? (known_sites.h) */
enum config_presence {
    SITE_THERE,
    SITE_GONE,     /* others of the glob are */
    SITE_ALL_GONE, /* none of the glob is any more: its volume may not be mounted */
};

struct config_site {
    char *name;
    const struct config_site *block; /* the `sites` that it is of; NULL: it stands for itself */
    enum config_presence presence;
    int64_t gone_since; /* CLOCK_REALTIME seconds; 0 while it is there */
    char *root;
    char **hosts; /* names, NULL-terminated */
    char *primary;
    struct config_at *at;
    size_t at_count;
    const struct preset *preset;
    bool local_maintenance;   /* the preset's maintenance file is not mirrored; default true */
    bool local_config;        /* nor is its wp-config.php or .env; default false */
    struct filter *filter;    /* preset, exclude, include, and what is excluded on this host, in
                                 this order */
    struct unit_rules *units; /* with their brackets and times */
    bool units_said, brackets_said; /* the preset's do not count */
    bool owner;                     /* mirror owner and group; default true */
    bool fsync_batch;               /* each batch survives a power loss; default false */
    bool drift_report;              /* what others change on a secondary is left; default false */
    bool special_bits;              /* keep setuid and setgid of files; default false */
    unsigned max_delete_percent;    /* default 20 */
    unsigned max_delete_count;      /* default 200: held only when both are passed */
    uint64_t max_size;              /* bytes; 0: no limit */
    unsigned keep_days;             /* that secondaries keep what they delete; default 0: not */
    unsigned unit_grace;            /* seconds; default CONFIG_UNIT_GRACE */
    struct config_hook hook;
    struct space_rule min_free;  /* what bulk leaves free on a secondary; default SPACE_PERCENT */
    unsigned health_lag_ms;      /* what is owed for longer makes it unhealthy */
    unsigned health_orphaned_ms; /* so does a primary away for longer; CONFIG_HEALTH_NEVER */
    char *socket_user;           /* whose the site's own socket is; NULL: the root's owner's */
    char *file;                  /* where it is defined, for messages */
    unsigned line;
};

struct config_source; /* a file that was read, or a directory that was looked in; as it was then */

struct config {
    char *path; /* of the main file, absolute */
    struct config_source *sources;
    size_t source_count, file_count; /* the files come first, the main one of them */
    char *state_dir;
    char *control;      /* path of the control socket */
    char *site_sockets; /* directory of the sites' own; NULL: not said */
    bool no_site_sockets;
    char *identity, *known_hosts;
    uint64_t scan_rate;  /* bytes of content that are read again a second; 0: none */
    char *metrics;       /* the file for a monitoring system; NULL: none */
    unsigned metrics_ms; /* between two of them */
    unsigned rescan;     /* seconds between looks through whole trees; 0: not said */
    struct config_host *hosts;
    size_t host_count;
    struct config_site *sites; /* `sites` globs already expanded for the host `self`, behind those
                                  that stand for themselves */
    size_t site_count;
    struct config_site *globs; /* the `sites` blocks themselves: root is a pattern with one '*' */
    size_t glob_count;
    char *self; /* this host's name in the file, or NULL when it is not in it */
};

/* as: --as, or NULL: the host name (full, then its first label). Glob roots are expanded with the
 * root that `self` has for them. All errors are ERR_USAGE with "file:line: …". */
int config_load(const char *path, const char *as, struct config **out, struct err *err);
void config_free(struct config *c);

/* The files it was read from, the main one first; NULL behind the last. */
const char *config_file_path(const struct config *c, size_t i);

/* Expands the globs again, as they were read; what was gone is not among the sites any more. 0, or
 * -1 with err: the sites stay as they were. */
int config_expand_again(struct config *c, struct err *err);

/* Adds a site of the block (one of c->globs) that is not there. */
void config_add_gone(struct config *c, const struct config_site *block, const char *name,
    enum config_presence presence, int64_t since);

/* Is one of its files not any more what was read, or may its includes find others? Told once: after
 * that, only of another change. Costs a stat of each. */
bool config_has_changed(struct config *c);

const struct config_host *config_host(const struct config *c, const char *name); /* or NULL */
const struct config_site *config_site(const struct config *c, const char *name); /* or NULL */
const char *config_root_at(const struct config_site *s, const char *host);
const struct config_at *config_at(const struct config_site *s, const char *host); /* or NULL */
/* What is excluded on this host besides; NULL: nothing. */
const struct filter *config_exclude_at(const struct config_site *s, const char *host);
/* What counts on this host; its texts are borrowed, a command is NULL where nothing is to be run.
 */
struct config_hook config_hook_at(const struct config_site *s, const char *host);
/* The same for the receiver; false: nothing is to be run, *out is untouched. */
bool config_receive_hook(const struct config_site *s, const char *host, enum receive_command which,
    struct receive_hook *out);
bool config_site_has_host(const struct config_site *s, const char *host);

/* A site, or the `sites` block that gives this name to what its pattern would match although
 * nothing is there yet (a new secondary), and the root of that name on that host. 0, the caller
 * frees *root; 1: no such site. */
int config_find_root(const struct config *c, const char *name, const char *host,
    const struct config_site **site, char **root);

/* That this host, by its name, is none of the file's, which are named. -1 with err (ERR_USAGE). */
int config_no_self(const struct config *c, struct err *err);

/* "there is no site …", and where a glob would have it, if it does. -1 with err (ERR_USAGE). */
int config_unknown_site(const struct config *c, const char *name, struct err *err);

/* Where the control socket is when nobody says: /run/mirrord/control for root, else beneath
 * XDG_RUNTIME_DIR or the state directory. The caller frees it. */
char *config_default_control(const char *state_dir);

/* The directory of the sites' own sockets: what is said, else "sites" beside the control socket.
 * NULL: there are none (or no client could connect: the path is too long). The caller frees it. */
char *config_site_sockets(const struct config *c, const char *control);

/* Where to ask the daemon: `control` if given, else what the configuration says. When nobody named
 * a file (config NULL) and the default one is missing, the default place; a bad one is warned
 * about. 0 with *out (the caller frees it), or -1. */
int config_control_path(const char *control, const char *config, char **out, struct err *err);

/* An absolute path without doubled slashes, "." or a slash at its end; NULL for one that is
 * relative or goes through "..". The caller frees it. */
char *config_clean_path(const char *path);

/* "10", "500K", "20M", "1.5G" bytes (per second); "20%" is the caller's. 0 or -1. */
int config_parse_size(const char *text, uint64_t *out, struct err *err);

/* "100ms", "1.5s", "10m", "2h": milliseconds, at most a week. 0 or -1. */
int config_parse_duration(const char *text, unsigned *out_ms, struct err *err);

/* The same for an option_spec's call: into an unsigned, in seconds, one at least. 0 or -1. */
int config_option_seconds(void *to, const char *argument, struct err *err);

/* What a site without its primary counts as: "up", "down", or the time after which it is down: as
 * health_orphaned_ms. 0 or -1. */
int config_parse_orphaned(const char *text, unsigned *out_ms, struct err *err);

#endif
