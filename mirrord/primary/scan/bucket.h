/* How often something may happen: a bucket of tokens that fills with time. Pure arithmetic. */
#ifndef PRIMARY_SCAN_BUCKET_H
#define PRIMARY_SCAN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    unsigned per_s, most; /* tokens a second, and how many are kept: the caller's to set */
    uint64_t at_ms;       /* when it was looked at last; 0: never, and it is full */
    uint64_t level;       /* thousandths of a token */
};

/* Takes so many tokens (at most `most`); false: there are fewer, and none is taken. now_ms never
 * falls, and is not 0. */
bool bucket_take(struct bucket *b, unsigned tokens, uint64_t now_ms);

#endif
