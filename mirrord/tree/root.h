/*
 * The one place where a peer's path becomes a descriptor: openat2 beneath the root, no symbolic
 * links and no magic links on the way. Nothing else opens by a name that came over the wire or out
 * of a manifest. Paths longer than the kernel's PATH_MAX are opened in pieces.
 */
#ifndef TREE_ROOT_H
#define TREE_ROOT_H

#include <sys/stat.h>

#include "base/err.h"
#include "protocol/path.h"

struct root;

/* Opens the directory at an absolute or relative path; a symbolic link as its last component is
 * refused with advice. ERR_USAGE where it is missing or not a directory. */
int root_open(const char *path, struct root **out, struct err *err);
void root_close(struct root *r); /* NULL is fine */
int root_fd(const struct root *r);
const char *root_path(const struct root *r); /* absolute, resolved once at opening */

/* Is root_path still this directory? 1 yes, 0 no (replaced, unmounted, gone). */
int root_in_place(const struct root *r);

/* A new O_RDONLY|O_DIRECTORY descriptor of a directory beneath the root ("" is the root itself),
 * the caller's to close; -1 with errno (ELOOP: a link on the way, EXDEV: a mount point or an
 * escape, ENOTDIR, ENOENT, …). Mount points are never crossed. */
int root_open_dir(struct root *r, struct bytes path);

/* The same for the directory above `path`, and where the last component starts (NUL-terminated
 * copy in name). `path` must not be "". */
int root_open_parent(struct root *r, struct bytes path, char name[PATH_NAME_MAX + 1]);

/* Like root_open_parent, but the descriptor is the root's (do not close), kept in a small cache
 * for the next path in the same directory. Forget the cache whenever directories may have been
 * renamed or removed, and before each batch is committed. */
int root_borrow_parent(struct root *r, struct bytes path, char name[PATH_NAME_MAX + 1]);
void root_forget(struct root *r);

/* A regular file for reading: O_RDONLY|O_NONBLOCK|O_NOFOLLOW|O_NOCTTY beneath the root, checked to
 * be regular (else -1, errno ENXIO). *st is filled. Never blocks on a FIFO. */
int root_open_file(struct root *r, struct bytes path, struct stat *st);
/* The same for a name in a directory that was opened beneath the root, of whatever kind it is. */
int root_open_name(int dirfd, const char *name);

/* fstatat without following: 0, or -1 with errno. */
int root_stat(struct root *r, struct bytes path, struct stat *st);

#endif
