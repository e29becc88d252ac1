/*
 * The receiver's two processes. The parent keeps what must stay outside a sandbox and serves a
 * fixed list of requests: users and groups by name and by number, and the marks of roots. The child
 * does everything else, speaks to the parent through a socket of its own, and dies with it.
 */
#ifndef SECONDARY_PARENT_H
#define SECONDARY_PARENT_H

#include <sys/types.h>

#include "base/err.h"
#include "tree/mark.h"
#include "tree/names.h"

/* The parent's whole life: answers the child's requests until it is gone, passes SIGTERM on, reaps
 * it. 0 or -1 as the child reported; -1 when it was killed. */
int parent_serve(int socket, pid_t child, const char *state_dir, struct err *err);

/* The child's end. `socket` is borrowed for the source's life. */
struct names_source parent_names(int *socket);
struct mark_writer parent_marks(int *socket);
void parent_report(int socket, int result, const struct err *err); /* the child's last word */

#endif
