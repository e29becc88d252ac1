/*
 * Which directory a root is: its inode and birth time, kept in the root's state directory, so that
 * another directory at the same path is known for one. Never the device's number, which a reboot
 * may change.
 */
#ifndef TREE_STATE_ROOTID_H
#define TREE_STATE_ROOTID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rootid {
    uint64_t inode;
    uint64_t birth; /* nanoseconds; 0 where the filesystem keeps none */
};

int rootid_of(int root_fd, struct rootid *out, struct err *err);
bool rootid_equal(const struct rootid *a, const struct rootid *b);

/* The one that was kept. 1, 0 none was, -1. */
int rootid_read(int state_fd, struct rootid *out, struct err *err);
int rootid_write(int state_fd, const struct rootid *id, struct err *err);

#endif
