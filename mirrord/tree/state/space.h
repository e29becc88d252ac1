/*
 * The room on a filesystem, and how much of it is to stay free: `min-free`, the same arithmetic at
 * both ends.
 */
#ifndef TREE_STATE_SPACE_H
#define TREE_STATE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

enum { SPACE_PERCENT = 5 }; /* that stay free when nobody says */

struct space {
    uint64_t free_bytes, all_bytes;
    uint64_t free_files, all_files; /* inodes; all_files 0: as many as fit the bytes */
};

/* What is to stay free: a part of the bytes and of the inodes, or so many bytes; zeroed: nothing.
 */
struct space_rule {
    unsigned percent;
    uint64_t bytes;
};

struct space_keep {
    uint64_t bytes, files;
};

/* Of the filesystem that this descriptor is on, for who is not root. 0, or -1 with errno. */
int space_look(int fd, struct space *out);

struct space_keep space_keep(const struct space_rule *rule, const struct space *s);

/* The greater of both in each respect. */
struct space_keep space_keep_both(struct space_keep a, struct space_keep b);

/* Would `keep` still be free when this came? Of a file system that was never reported: yes. */
bool space_fits(const struct space *s, struct space_keep keep, uint64_t bytes, uint64_t files);

/* Is it too full by now? Once it is (`low`), until an eighth more than `keep` is free again. */
bool space_is_low(const struct space *s, struct space_keep keep, bool low);

#endif
