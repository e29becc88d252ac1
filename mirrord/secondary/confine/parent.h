/*
 * The receiver's two processes, seen from the parent: it keeps what must stay outside the sandbox
 * and serves a fixed list of requests (asks.h, answer.h). The child (child.h) does everything else,
 * speaks to the parent through a socket of its own, and dies with it.
 */
#ifndef SECONDARY_CONFINE_PARENT_H
#define SECONDARY_CONFINE_PARENT_H

#include <sys/types.h>

#include "secondary/confine/outside.h"

/* The parent's whole life: answers the child's requests until it is gone, passes SIGTERM on, reaps
 * it. What the child reported: 0, 1 (SESSION_RENEW), -1; -1 also when it was killed. `out` (-1:
 * none) is given up with the child's last word, unless another child goes on with it. */
int parent_serve(int socket, pid_t child, const struct outside *outside, int out, struct err *err);

/* Gives up a descriptor that the other end hears of only when nobody has it: a part of the stream,
 * which is the child's, or standard error, which sshd takes for one. Its number stays taken. */
void parent_leave(int fd);

#endif
