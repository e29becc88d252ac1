/*
 * A mount namespace in which nothing is but named directories: absolute paths and ".." lead nowhere
 * else, for whatever goes by a path, what Landlock does not govern included. Only root can make
 * one.
 *
 * What renames and links are to go between must lie in one directory that is shown: two that are
 * shown apart are two mounts, and the kernel answers EXDEV.
 */
#ifndef SECONDARY_CONFINE_ENCLOSURE_H
#define SECONDARY_CONFINE_ENCLOSURE_H

#include <stdbool.h>

#include "base/err.h"

struct enclosure;

struct enclosure *enclosure_new(void); /* never NULL */
void enclosure_free(struct enclosure *e);

/* The directory (or file) of this absolute path, in which no links are, is shown with all that is
 * in it, mount points too. */
void enclosure_show(struct enclosure *e, const char *real);

/* This path is a symbolic link on the way to what is shown: it is made anew. */
void enclosure_link(struct enclosure *e, const char *path, const char *real);

/* There will be none, for this reason. The first one counts. */
void enclosure_forgo(struct enclosure *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Why there is none, NULL: nothing speaks against it. */
const char *enclosure_lacks(const struct enclosure *e);

enum { ENCLOSURE_NONE = 1 };

/* For the rest of this process's life: it has one thread and CAP_SYS_ADMIN still, and no descriptor
 * of a directory. What cannot be shown is left out (logged). ENCLOSURE_NONE: nothing has changed,
 * and enclosure_lacks says why; -1 with err: it must not go on. */
int enclosure_enter(struct enclosure *e, struct err *err);

#endif
