/* Counters with one writer; see tally.h. */
#include "primary/push/peer/tally.h"

const uint64_t tally_latency_bounds[TALLY_BOUNDS] = {
    5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 1800000, 7200000};
const uint64_t tally_batch_bounds[TALLY_BOUNDS] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536, 262144};

/* The only writer: no lock prefix is needed. */
static void add(atomic_uint_fast64_t *to, uint64_t n)
{
    uint64_t now = atomic_load_explicit(to, memory_order_relaxed);
    atomic_store_explicit(to, now + n, memory_order_relaxed);
}

static void count(struct tally_histogram *h, const uint64_t *bounds, uint64_t value)
{
    size_t i = 0;
    while (i < TALLY_BOUNDS && value > bounds[i])
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum, value);
}

void tally_change(struct tally *t, uint64_t ms, uint64_t bytes)
{
    if (!t)
        return;
    count(&t->latency, tally_latency_bounds, ms);
    add(&t->live_bytes, bytes);
}

void tally_batch(struct tally *t, uint64_t paths)
{
    if (t)
        count(&t->batches, tally_batch_bounds, paths);
}

void tally_read(const struct tally_histogram *h, struct tally_count *out)
{
    *out = (struct tally_count){.sum = atomic_load_explicit(&h->sum, memory_order_relaxed)};
    for (size_t i = 0; i <= TALLY_BOUNDS; i++) {
        out->buckets[i] = atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        out->count += out->buckets[i];
    }
}

void tally_add_since(
    struct tally_count *to, const struct tally_count *now, const struct tally_count *before)
{
    for (size_t i = 0; i <= TALLY_BOUNDS; i++)
        to->buckets[i] += now->buckets[i] - before->buckets[i];
    to->count += now->count - before->count;
    to->sum += now->sum - before->sum;
}

uint64_t tally_quantile(const struct tally_count *c, const uint64_t *bounds, double part)
{
    uint64_t seen = 0;
    if (c->count == 0)
        return 0;
    for (size_t i = 0; i < TALLY_BOUNDS; i++) {
        seen += c->buckets[i];
        if ((double)seen >= part * (double)c->count)
            return bounds[i];
    }
    return UINT64_MAX;
}
