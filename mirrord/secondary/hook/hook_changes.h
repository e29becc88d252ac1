/*
 * What a command after a commit is told: paths with a mark each, as mirrord.conf(5) has them. A
 * record is one mark, the path (of a directory with a '/' behind), one NUL. A set of them is
 * bounded: beyond that it is one record, "everything".
 */
#ifndef SECONDARY_HOOK_HOOK_CHANGES_H
#define SECONDARY_HOOK_HOOK_CHANGES_H

#include <stdbool.h>

#include "protocol/wire.h"

enum hook_mark {
    HOOK_NEW = '+',
    HOOK_CHANGED = '~',
    HOOK_SAME_SECOND = '!', /* changed, and the second of its mtime is the same */
    HOOK_GONE = '-',
    HOOK_LINK = '@', /* a symbolic link that was made or set */
    HOOK_ALL = '*',  /* with an empty path: everything may have changed */
};

enum {
    HOOK_PATH_MAX = 4095, /* what is longer counts as everything */
    HOOK_RECORD_MAX = HOOK_PATH_MAX + 3,
    HOOK_CHANGES_MAX = 100000,
    HOOK_CHANGES_BYTES = 8 * 1024 * 1024,
};

struct hook_changes;

struct hook_changes *hook_changes_new(void);
void hook_changes_free(struct hook_changes *c); /* NULL is fine */

/* Takes whole records; of two of one path what both mean together stays. False: they are none, and
 * what was in front of the fault was taken. */
bool hook_changes_add(struct hook_changes *c, struct bytes records);

void hook_changes_add_all(struct hook_changes *c);   /* "everything", in place of what is there */
bool hook_changes_any(const struct hook_changes *c); /* are there any? */
size_t hook_changes_bytes(const struct hook_changes *c); /* that they hold */
void hook_changes_clear(struct hook_changes *c);

/* Writes all records. 0, -1 with errno. */
int hook_changes_write(const struct hook_changes *c, int fd);

/* A file in memory that has them, to be read from its beginning. -1 with errno. */
int hook_changes_file(const struct hook_changes *c);

#endif
