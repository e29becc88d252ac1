/*
 * Security labels (SELinux). What is staged is made in the stage and would keep the stage's label:
 * a web server that may read httpd_sys_content_t alone then answers 403. So it is given the label
 * that it would have had it been made, or written, where it goes: that of the file or directory it
 * replaces, else that of the nearest directory above.
 *
 * A symbolic link keeps what it got in the stage, which has the root's label, since nothing can be
 * set on a link through a descriptor; and what is moved keeps its own, as with mv(1).
 */
#ifndef SECONDARY_STAGE_LABEL_H
#define SECONDARY_STAGE_LABEL_H

#include <stdbool.h>

#include "protocol/wire.h"

struct label {
    bool used; /* the root has one: there are such labels here */
    bool told; /* that one could not be set */
};

/* Are there labels in this root? */
struct label label_of(int root_fd);

struct root;
/* Before it is published: the new inode of this descriptor is to stand at this path in the root.
 * What cannot be set stays as it is, and that is logged once. Does nothing where there are no
 * labels. */
void label_place(struct label *l, struct root *root, struct bytes path, int fd);

/* The same with the inode's name, for a directory that is not open. */
void label_place_directory(
    struct label *l, struct root *root, struct bytes path, int dirfd, const char *name);

/* `to` gets what `from` has, if it has one. -1 with errno. */
int label_copy(int from, int to);

#endif
