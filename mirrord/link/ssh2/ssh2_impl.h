/*
 * What the parts of a session share: ssh2.c (the library), ssh2_calls.c (what the library calls),
 * ssh2_negotiate.c (on which algorithms the two ends agree), ssh2_stream.c (the conn that is made
 * of it). Private to them.
 */
#ifndef LINK_SSH2_IMPL_H
#define LINK_SSH2_IMPL_H

#include "link/net/sock.h"
#include "link/process/tail.h"
#include "link/ssh2/heap.h"
#include "link/ssh2/kexinit.h"
#include "link/ssh2/ssh2.h"

enum { SSH2_STAGE = 32700 }; /* the most the library puts in one packet */

struct ssh2 {
    struct conn conn; /* first */
    struct _LIBSSH2_SESSION *session;
    struct _LIBSSH2_CHANNEL *channel;
    struct heap heap;          /* of the library: it forgets a key at each key exchange */
    struct patience *patience; /* while opening, else NULL */
    struct sock sock;
    int always; /* an eventfd that is always readable: to poll when the library holds input */
    bool handshaking;
    bool shut, eof_sent; /* by our side */
    bool ended;          /* the reader has been told of the end of the stream */
    bool closing;
    unsigned char stage[SSH2_STAGE];
    size_t staged, stage_at;
    struct tail said;     /* on standard error */
    struct tail farewell; /* in the server's disconnect message */
    struct buf first;     /* what the server sent first, until the handshake is done */
    char kind[80];
};

/* ssh2.c: algorithms. */
/* The part of the list that the library has, in the list's order; the caller frees it. Handing it
 * what it lacks is not safe: 1.10 strips it with an overlapping memcpy. */
char *ssh2_supported(struct ssh2 *s, enum kexinit_list which, const char *list);
int ssh2_prefer(struct ssh2 *s, enum kexinit_list which, const char *list, struct err *err);

/* The handshake itself, over s->sock. 0, -1; SSH2_DISAGREE with err: most likely one of the lists
 * has nothing in common with the server's. */
enum { SSH2_DISAGREE = 1 };
int ssh2_agree(struct ssh2 *s, struct err *err);

/* ssh2_calls.c: *abstract is the struct ssh2; numbers below 0 are errnos. */
void *ssh2_on_alloc(size_t n, void **abstract);
void *ssh2_on_realloc(void *p, size_t n, void **abstract);
void ssh2_on_free(void *p, void **abstract);
ssize_t ssh2_on_send(int fd, const void *p, size_t n, int flags, void **abstract);
ssize_t ssh2_on_receive(int fd, void *p, size_t n, int flags, void **abstract);
void ssh2_on_disconnect(struct _LIBSSH2_SESSION *session, int reason, const char *message,
    int message_len, const char *language, int language_len, void **abstract);

/* ssh2.c: the channel. CONN_AGAIN: the far end's window is full, keys are exchanged, or there is
 * nothing yet. */
ssize_t ssh2_put(struct ssh2 *s, const void *p, size_t n, struct err *err); /* how much it took */
ssize_t ssh2_get(struct ssh2 *s, void *p, size_t n, struct err *err);       /* 0 at the end */
int ssh2_put_end(struct ssh2 *s, struct err *err); /* of our side's stream: 0, CONN_AGAIN, -1 */
bool ssh2_has_input(const struct ssh2 *s);         /* that was not read: the socket will not tell */
bool ssh2_has_ended(const struct ssh2 *s);         /* the far end's stream */
const char *ssh2_said(struct ssh2 *s);             /* on standard error, so far */
int ssh2_exit_status(struct ssh2 *s);              /* 128 and more: a signal; -1: not known (yet) */

/* What went wrong with this session; rc is the library's answer. Always -1. */
int ssh2_fail(struct ssh2 *s, int rc, const char *doing, struct err *err);

#endif
