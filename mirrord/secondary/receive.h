/*
 * The secondary's end of a session: `mirrord receive`, started by sshd, speaking the protocol on
 * its standard input and output. Two processes: a parent that keeps what must stay outside a
 * sandbox, and a child that does everything else. When a site is to be served that the child's
 * sandbox does not have, another child takes its place (RENEW), and the session goes on.
 */
#ifndef SECONDARY_RECEIVE_H
#define SECONDARY_RECEIVE_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/wire.h"
#include "tree/filter.h"
#include "tree/state/deletions.h"
#include "tree/state/space.h"

enum receive_owner {
    RECEIVE_OWNER_MIRRORED, /* as the primary has it, where it wants that and this host can */
    RECEIVE_OWNER_LEFT,     /* whoever has it by itself here */
    RECEIVE_OWNER_FIXED,    /* uid and gid */
};

/* What this host's configuration says of a site, whatever the primary wants; zeroed: nothing. */
struct receive_policy {
    bool said;
    enum receive_owner owner;
    uint32_t uid, gid;
    struct deletions_limit limit;
    unsigned keep_days;         /* that what is deleted and overwritten is kept; 0: not */
    unsigned unit_grace;        /* seconds that a replaced unit is kept for who has it open */
    bool hook;                  /* a command is run after commits */
    bool on_switch;             /* one holds the readers while units are switched */
    bool special_bits;          /* setuid and setgid of files are kept where the primary has them */
    struct space_rule min_free; /* what bulk is to leave free */
};

struct receive_grant {
    char *root;   /* the local one; the caller frees it */
    size_t fixed; /* so many bytes of it are a directory that has to be there, and what is between
                     that and the root is made where it is missing; 0: nothing is made */
    bool primary; /* the configuration has this host as the site's primary */
    const struct filter
        *excludes; /* of this host besides the site's; until the next call, or NULL */
    struct receive_policy policy;
};

/* Commands that this host's configuration runs for a site. */
enum receive_command {
    RECEIVE_ON_COMMIT, /* after commits */
    RECEIVE_ON_SWITCH, /* around the switch of units */
};

struct receive_hook {
    char **argv; /* NULL-terminated, the first one an absolute path */
    char *user;  /* NULL: the root directory's owner */
    unsigned timeout_ms;
};

/* What may be asked for, whatever the other end says. */
struct receive_fence {
    /* Turns a site's name and the root it asked for into *out. 0; -1 with err: refused, with the
     * reason, and *out is untouched. */
    int (*resolve)(void *ctx, struct bytes name, struct bytes asked, struct receive_grant *out,
        struct err *err);
    /* Names each root that may be asked for, and (beneath) the directories whose subtrees may. What
     * `resolve` gives without having been named here is served by the next process. */
    void (*each)(void *ctx, void (*root)(void *to, const char *path, bool beneath), void *to);
    /* Reads again what all this is taken from; -1 with err: it stays as it was. May be NULL. */
    int (*reload)(void *ctx, struct err *err);
    /* The site's command, which the caller clears (receive_hook_clear); false: it has none. NULL:
     * no site has. */
    bool (*hook)(
        void *ctx, struct bytes name, enum receive_command which, struct receive_hook *out);
    void *ctx;
};

struct receive_options {
    const struct receive_fence *fence;
    const char *state_dir;
    const char *host;        /* what this host calls itself */
    int in, out;             /* the stream */
    unsigned look_every_s;   /* seconds between walks that look for drift; 0: a day */
    uint64_t scan_rate;      /* bytes of content that are read again a second; 0: none */
    unsigned reread_every_s; /* seconds between passes of that; 0: as reread_new has it */
    unsigned keepalive_ms;   /* the primary's; three without a byte end the session */
};

/* Serves one session to its end. 0 after BYE or a clean end of the stream; -1 with err. Forks. */
int receive_run(const struct receive_options *o, struct err *err);

/* A fence of one directory: the root asked for must be it or lie beneath it (or be empty: it). */
int receive_fence_root(const char *root, struct receive_fence *out, struct err *err);
void receive_fence_free(struct receive_fence *f);

/* Finishes what a killed receiver left in the state of this root: complete journals are rolled
 * forward, incomplete stages removed, and what is overwritten is kept as `policy` has it. 0, also
 * when there is nothing to do. */
int receive_recover(
    const char *state_dir, const char *root, const struct receive_policy *policy, struct err *err);

#endif
