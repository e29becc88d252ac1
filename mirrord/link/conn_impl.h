/* What a kind of link provides to conn.c; private to this folder. */
#ifndef LINK_CONN_IMPL_H
#define LINK_CONN_IMPL_H

#include <poll.h>

#include "link/conn.h"
#include "link/net/patience.h"
#include "link/target.h"

struct conn_ops {
    void (*close)(struct conn *c);
    ssize_t (*read)(struct conn *c, void *p, size_t n, struct err *err);
    ssize_t (*write)(struct conn *c, const void *p, size_t n, struct err *err);
    int (*flush)(struct conn *c, struct err *err);
    size_t (*pending)(const struct conn *c);
    int (*poll)(struct conn *c, struct pollfd fds[2]);
    int (*shutdown)(struct conn *c, struct err *err);
    const char *(*stderr_text)(struct conn *c);
    int (*exit_status)(struct conn *c);
    void (*settle)(struct conn *c, int ms); /* the stream has ended: waits up to ms for the rest of
                                               standard error and the exit status */
    const char *(*kind)(const struct conn *c);
};

struct conn { /* the first member of each kind's own struct */
    const struct conn_ops *ops;
    uint64_t sent, received;
    char *host, *command, *known_hosts; /* for conn_explain, filled by conn_open; the first is NULL
                                           for a child, the last where none was given */
    bool via_ssh; /* exit status 255 and standard error may be the ssh client's own */
};

/* Positive result of ssh_open: libssh2 cannot do this (no algorithm in common, a kind of key it
 * does not have), err says what; openssh may. */
enum { CONN_NO_ALGORITHM = 1 };

/* Positive result of openssh_open: no ssh program here. */
enum { CONN_NO_SSH = 1 };

/* What conn_open chooses from. Each waits until it is connected as far as it can tell (openssh and
 * child: started). 0 with *out, or -1 with err, besides what is said above. */
int ssh_open(const struct target *t, char *const *argv, const struct patience *p, struct conn **out,
    struct err *err);
int openssh_open(
    const struct conn_options *o, unsigned timeout_ms, struct conn **out, struct err *err);
int child_open(const struct conn_options *o, struct conn **out, struct err *err);

/* A link that is this process; `kind` must be a literal. 1: no such program. */
int child_start(char *const *argv, const char *kind, struct conn **out, struct err *err);

#endif
