/*
 * conn: a byte stream to a `mirrord receive` on another host, with non-blocking read and write and
 * a descriptor to poll. Three kinds: libssh2; openssh (a child `ssh` process, for what libssh2
 * lacks: ProxyJump, hardware keys, certificates, modern algorithms); child (a local process, for
 * tests and containers). Opening blocks, with a time limit; everything after it does not.
 */
#ifndef LINK_CONN_H
#define LINK_CONN_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum conn_transport { TRANSPORT_AUTO, TRANSPORT_LIBSSH2, TRANSPORT_OPENSSH, TRANSPORT_CHILD };

struct conn_options {
    enum conn_transport transport;
    const char *host;     /* name, IPv4 or IPv6 address without brackets; not for CHILD */
    const char *user;     /* NULL: what `ssh -G` says, else the current user */
    unsigned port;        /* 0: what `ssh -G` says, else 22 */
    const char *identity; /* private key file; NULL: ssh -G's, then the agent, then ~/.ssh/id_* */
    const char *known_hosts; /* NULL: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts */
    char *const *argv;       /* the far end's command and arguments, NULL-terminated; quoted for the
                                far shell here */
    unsigned timeout_ms;     /* for connecting, authenticating and starting the command; 0: 20 s */
    const atomic_bool *stop; /* may be NULL: gives up early once true */
};

struct conn;

enum { CONN_AGAIN = -2 };

/* Connects, checks the host key strictly, authenticates, starts the command; with openssh only
 * starts ssh, whose failures show as an early end of the stream (conn_explain). Every failure has a
 * sentence of its own and says what to do: unreachable and refused (ERR_TEMPORARY), unknown host
 * key (ERR_FAILED, prints the SHA256 fingerprint and the command that adds it), changed host
 * key (ERR_REFUSED), no usable key, key file missing or readable by others, no common algorithm.
 * With TRANSPORT_AUTO libssh2 is tried unless `ssh -G` shows a ProxyJump, ProxyCommand, certificate
 * or the like; where no algorithm is common, openssh is used and that is logged once a process and
 * host with what libssh2 said. */
int conn_open(const struct conn_options *o, struct conn **out, struct err *err);

/* Closes without waiting for the far end (a child is ended by closing its pipes, then SIGTERM and
 * SIGKILL, and reaped). NULL is fine. */
void conn_close(struct conn *c);

/* > 0 bytes read; 0 at the end of the stream; CONN_AGAIN; -1 with err. */
ssize_t conn_read(struct conn *c, void *p, size_t n, struct err *err);

/* How many bytes (≥ 1) were taken, which is then promised: they leave by themselves as conn_flush
 * is called. CONN_AGAIN when nothing can be taken now; -1 with err. */
ssize_t conn_write(struct conn *c, const void *p, size_t n, struct err *err);

/* Gives what was taken to the kernel. 0: all of it; CONN_AGAIN: poll and call again; -1. */
int conn_flush(struct conn *c, struct err *err);

/* Bytes taken by conn_write that the kernel does not have yet. */
size_t conn_pending(const struct conn *c);

/* What to poll: descriptors and events for them (at most 2 filled). Returns how many. Call before
 * every poll: it depends on what waits. After poll just call read, flush and write again. */
int conn_poll(struct conn *c, struct pollfd fds[2]);

/* The far end will get no more; read until 0. */
int conn_shutdown(struct conn *c, struct err *err);

/* What the far end printed on its standard error so far (the last 4 KiB, one string, valid until
 * the next call on c), and how its command ended (-1: not known). Good for explaining a stream that
 * ended too early: 127 and "mirrord: not found". */
const char *conn_stderr(struct conn *c);
int conn_exit_status(struct conn *c);

/* For a stream that ended too early (conn_read gave 0 or -1): fills err with the best sentence that
 * exit status and standard error allow ("mirrord is not installed on web2 (sh: 1: mirrord: not
 * found): …"; with openssh, whose connection is made only after conn_open, also refused, denied,
 * unknown and changed host keys, with the codes conn_open has for them). May wait up to a second
 * for the command's end. Always -1. */
int conn_explain(struct conn *c, struct err *err);

/* Names the kind for status and logs: "libssh2 (aes256-ctr)", "openssh", "child". */
const char *conn_kind(const struct conn *c);

/* Bytes of the stream each way. */
void conn_counts(const struct conn *c, uint64_t *sent, uint64_t *received);

#endif
