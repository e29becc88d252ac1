/*
 * A Unix socket in the file system that somebody listens at: made under its name only when nobody
 * but its owner may connect and somebody serves it, replaced when it was left behind, and removed
 * when it still is ours. Knows nothing of who connects.
 */
#ifndef PRIMARY_DAEMON_LISTENER_H
#define PRIMARY_DAEMON_LISTENER_H

#include <sys/types.h>

#include "base/err.h"

struct listener;

/* Listens at this path (0600, this process's; its directory is made if missing). The file of a dead
 * daemon is replaced; ERR_TEMPORARY when somebody answers there. */
int listener_open(const char *path, struct listener **out, struct err *err);
void listener_close(struct listener *l); /* removes the socket if it still is ours; NULL is fine */

int listener_fd(const struct listener *l); /* non-blocking */

/* Gives the socket to another user and group. */
int listener_own(struct listener *l, uid_t owner, gid_t group, struct err *err);

/* Does it still stand at its path? */
bool listener_stands(const struct listener *l);

#endif
