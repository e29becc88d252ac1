/*
 * Notices that something may match a glob that did not, or the reverse: a directory came or went
 * where the pattern has its '*' or behind it, or something was mounted. One inotify instance for
 * all globs, since instances are scarce. What cannot be watched (a network filesystem, no watches
 * left) is looked at by time. It does not expand anything: it says when to.
 */
#ifndef PRIMARY_DAEMON_GLOB_WATCH_H
#define PRIMARY_DAEMON_GLOB_WATCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

struct glob_watch;

/* Never NULL. Where there is no instance to be had it goes by time alone, which is said in the log,
 * and tries for one again. */
struct glob_watch *glob_watch_new(void);
void glob_watch_free(struct glob_watch *w); /* NULL is fine */

/* These count from now on: absolute paths with one '*'. Copied. */
void glob_watch_set(struct glob_watch *w, const char *const *globs, size_t count);

/* What to poll for; when that was done, what came of it. */
enum { GLOB_WATCH_FDS = 2 };
void glob_watch_fds(const struct glob_watch *w, struct pollfd fds[GLOB_WATCH_FDS]);
void glob_watch_read(struct glob_watch *w, const struct pollfd fds[GLOB_WATCH_FDS]);

/* Is it time to expand the globs? Then what is to be watched for the next time is watched already,
 * so that nothing falls between. *wait: milliseconds until it is to be called again. */
bool glob_watch_due(struct glob_watch *w, unsigned *wait);

#endif
