/*
 * The sandboxed process's side of the socket to its parent (parent.h): what it cannot do itself it
 * asks for, and its last word.
 */
#ifndef SECONDARY_CONFINE_CHILD_H
#define SECONDARY_CONFINE_CHILD_H

#include "secondary/confine/outside.h"

/* Everything is asked of the parent, and waited for. `socket` is borrowed for as long. */
struct outside child_outside(int *socket);

/* The last word: as parent_serve returns it; err counts below 0. */
void child_report(int socket, int result, const struct err *err);

/* The same, of a refused system call, from a signal handler (sandbox.h). */
void child_refused(int socket, int call);

#endif
