/*
 * The secondary's end of a session: `mirrord receive`, started by sshd, speaking the protocol on
 * its standard input and output. Two processes: a parent that keeps what must stay outside a
 * sandbox, and a child that does everything else.
 */
#ifndef SECONDARY_RECEIVE_H
#define SECONDARY_RECEIVE_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/wire.h"

/* What may be asked for, whatever the other end says. */
struct receive_fence {
    /* Turns a site's name and the root it asked for into the local root. 0 with *root (the
     * caller frees) and whether the configuration has this host as the site's primary; -1 with
     * err: refused, with the reason. */
    int (*resolve)(void *ctx, struct bytes name, struct bytes asked, char **root, bool *primary,
        struct err *err);
    /* Names each root that may be asked for, and (beneath) the directories whose subtrees may. What
     * `resolve` gives without having been named here is served by the next session. */
    void (*each)(void *ctx, void (*root)(void *to, const char *path, bool beneath), void *to);
    void *ctx;
};

struct receive_options {
    const struct receive_fence *fence;
    const char *state_dir;
    const char *host; /* what this host calls itself */
    int in, out;      /* the stream */
    int unit_grace;   /* seconds that a replaced unit is kept for who has it open; 0: the default,
                         below 0: none */
    unsigned keepalive_ms; /* the primary's; three without a byte end the session */
};

enum { RECEIVE_UNIT_GRACE = 60 };

/* Serves one session to its end. 0 after BYE or a clean end of the stream; -1 with err. Forks. */
int receive_run(const struct receive_options *o, struct err *err);

/* A fence of one directory: the root asked for must be it or lie beneath it (or be empty: it). */
int receive_fence_root(const char *root, struct receive_fence *out, struct err *err);
void receive_fence_free(struct receive_fence *f);

/* Finishes what a killed receiver left in the state of this root: complete journals are rolled
 * forward, incomplete stages removed. 0, also when there is nothing to do. */
int receive_recover(const char *state_dir, const char *root, struct err *err);

#endif
