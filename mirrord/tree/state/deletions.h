/*
 * How much was deleted lately: entries, summed over the last ten minutes, and of how many there
 * were before. Kept by minutes, so that a removal in many small batches is seen for what it is.
 */
#ifndef TREE_STATE_DELETIONS_H
#define TREE_STATE_DELETIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { DELETIONS_MINUTES = 10 };

struct deletions { /* a zeroed one is empty */
    struct deletions_minute {
        int64_t minute; /* since 1970 */
        uint64_t deleted;
        uint64_t before; /* entries before the first deletion of this minute */
    } minutes[DELETIONS_MINUTES];
};

struct deletions_limit { /* only what passes both is too much */
    unsigned percent;
    uint64_t count;
};

/* `seconds`: CLOCK_REALTIME. */
void deletions_add(struct deletions *d, int64_t seconds, uint64_t deleted, uint64_t before);

/* So many came back: what was deleted last counts no more. */
void deletions_take_back(struct deletions *d, int64_t seconds, uint64_t came);

/* The sum; *before is what it is held against (`now` where nothing was deleted). */
uint64_t deletions_sum(const struct deletions *d, int64_t seconds, uint64_t now, uint64_t *before);

bool deletions_too_many(const struct deletions_limit *limit, uint64_t deleted, uint64_t before);

/* Kept in a root's state directory; a file that is missing or of another version is empty. Written
 * without a sync: after a loss of power it may be an older one. */
void deletions_load(struct deletions *d, int state_fd);
int deletions_store(const struct deletions *d, int state_fd, struct err *err);

#endif
