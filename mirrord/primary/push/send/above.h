/*
 * The directory above the path that was looked at last, kept open for the next path in it. Not to
 * be kept for long: who renames directories meanwhile is not heard.
 */
#ifndef PRIMARY_PUSH_SEND_ABOVE_H
#define PRIMARY_PUSH_SEND_ABOVE_H

#include "tree/root.h"

struct above {
    struct root *root;
    char path[PATH_TOTAL_MAX];
    size_t len;
    int fd; /* -1: none is kept */
};

/* Is it the directory above this path that is kept? */
bool above_is_kept(const struct above *a, const struct root *root, struct bytes path);

/* The directory above `path` (which is not "") and the last component, as root_open_parent; the
 * descriptor stays the keeper's. */
int above_open(struct above *a, struct root *root, struct bytes path, char name[PATH_NAME_MAX + 1]);

void above_forget(struct above *a); /* before a first use, .fd is -1 */

#endif
