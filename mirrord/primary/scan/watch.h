/*
 * The inotify instance of one site: which watch stands for which directory number. Watches are
 * added through a descriptor opened beneath the root, so that no path is resolved twice; paths come
 * from the manifest's parent links. Used by the scanner alone; another thread may read from
 * watch_fd.
 */
#ifndef PRIMARY_SCAN_WATCH_H
#define PRIMARY_SCAN_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct watch;

/* No number of a directory of the tree: the directory that flush's cookies appear in. */
#define WATCH_COOKIES UINT64_MAX

enum { WATCH_NO_INSTANCE = 1 };

/* A limit of inotify(7) for a user: "max_user_instances" or "max_user_watches". UINT64_MAX: it
 * cannot be read. */
uint64_t watch_limit(const char *name);

/* How many instances sites may take so that others of the same user find some: half of all, but for
 * those that a daemon has besides. */
enum { WATCH_OTHERS = 2 }; /* of globs, of epochs */
uint64_t watch_instances_fair(void);

/* WATCH_NO_INSTANCE: none is left; err names fs.inotify.max_user_instances. */
int watch_new(struct watch **out, struct err *err);

/* Another site's watches in the instance of `other`: each reads all events and takes its own. An
 * overflow then concerns both. */
struct watch *watch_share(struct watch *other);
unsigned watch_sharers(const struct watch *w); /* of its instance, itself included */

void watch_free(struct watch *w); /* NULL is fine */
int watch_fd(const struct watch *w);

/* False: the descriptor is of another site that shares the instance. */
bool watch_owns(const struct watch *w, int wd);

enum { WATCH_ADDED = 0, WATCH_FULL = 1 };

/* Watches the directory open at dirfd as number `dir`. Where its watch stood for another number,
 * the directory has moved (or was found again): the watch stands for `dir` from now on and *before
 * is that number, else 0. WATCH_FULL: no more watches are to be had (err names the sysctl). */
int watch_add(struct watch *w, int dirfd, uint64_t dir, uint64_t *before, struct err *err);

/* The cookie directory: only what appears in it is reported. */
int watch_add_cookies(struct watch *w, int dirfd, struct err *err);

/* The number that the directory open at dirfd is watched as, or 0. May leave a watch that stands
 * for nothing yet, until watch_add or watch_drop_wd. */
uint64_t watch_claim(struct watch *w, int dirfd);

uint64_t watch_dir(const struct watch *w, int wd); /* 0: stands for nothing */
bool watch_has(const struct watch *w, uint64_t dir);
size_t watch_count(const struct watch *w);

void watch_forget(struct watch *w, int wd);     /* the kernel has removed it (IN_IGNORED) */
void watch_drop_wd(struct watch *w, int wd);    /* and asks the kernel to */
void watch_drop(struct watch *w, uint64_t dir); /* by number; no watch is fine */

/* Calls keep for every number; watches for which it answers false are removed. */
void watch_sweep(struct watch *w, bool (*keep)(void *ctx, uint64_t dir), void *ctx);

#endif
