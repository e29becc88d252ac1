/*
 * Validators that mirrord's own steps moved: linking, renaming and unlinking all change an inode's
 * ctime. Who makes such a step first sees that the manifest's validators still hold, and notes what
 * they are afterwards; so that what somebody else changed is never taken for right.
 */
#ifndef SECONDARY_COMMIT_REFRESH_H
#define SECONDARY_COMMIT_REFRESH_H

#include "secondary/site/replica.h"
#include "tree/arena.h"

struct refresh_item {
    struct bytes path;
    struct validators was, is; /* in the manifest; on the disk */
};

struct refresh { /* zeroed: nothing is noted */
    struct arena paths;
    struct refresh_item *items;
    size_t count, cap, done; /* done: are written */
};

/* The item, for as long as nothing is added. */
struct refresh_item *refresh_add(struct refresh *f, struct bytes path, const struct validators *was,
    const struct validators *is);

/* Takes what was noted into the manifest, where the record is still as it was and the disk as it
 * was left. 1 there is more, 0, -1. */
int refresh_some(struct refresh *f, struct replica *r, struct err *err);
/* All of it; then nothing is noted any more. */
int refresh_write(struct refresh *f, struct replica *r, struct err *err);
void refresh_clear(struct refresh *f);

#endif
