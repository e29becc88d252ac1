/*
 * What pushing to one secondary counts, for metrics and the hourly line: written by its thread
 * alone, read by any. Plain stores and loads: no number waits for another.
 */
#ifndef PRIMARY_PUSH_PEER_TALLY_H
#define PRIMARY_PUSH_PEER_TALLY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { TALLY_BOUNDS = 16 };

/* Counts by size: bucket i holds what is at most its bound, the last one the rest. */
struct tally_histogram {
    atomic_uint_fast64_t buckets[TALLY_BOUNDS + 1];
    atomic_uint_fast64_t sum;
};

struct tally {
    struct tally_histogram latency;  /* ms from owed to acknowledged, of live changes */
    struct tally_histogram batches;  /* paths of each that was acknowledged */
    atomic_uint_fast64_t live_bytes; /* of the live changes' files */
};

extern const uint64_t tally_latency_bounds[TALLY_BOUNDS]; /* milliseconds */
extern const uint64_t tally_batch_bounds[TALLY_BOUNDS];   /* paths */

/* t may be NULL. */
void tally_change(struct tally *t, uint64_t ms, uint64_t bytes);
void tally_batch(struct tally *t, uint64_t paths);

/* A copy that does not move. */
struct tally_count {
    uint64_t buckets[TALLY_BOUNDS + 1];
    uint64_t count, sum;
};
void tally_read(const struct tally_histogram *h, struct tally_count *out);

/* Adds what came since `before` to *to. */
void tally_add_since(
    struct tally_count *to, const struct tally_count *now, const struct tally_count *before);

/* The bound that this part (0 to 1) of all is not above; 0 of nothing, UINT64_MAX above the last.
 */
uint64_t tally_quantile(const struct tally_count *c, const uint64_t *bounds, double part);

#endif
