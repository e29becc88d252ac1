/* Counters: which bucket, what is read, what came since, and quantiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include "primary/push/peer/tally.h"

static void test_buckets(void **state)
{
    (void)state;
    struct tally t = {0};
    struct tally_count c;
    tally_change(NULL, 1, 1);
    tally_batch(NULL, 1);
    tally_change(&t, 0, 10);
    tally_change(&t, 5, 20);
    tally_change(&t, 6, 30);
    tally_change(&t, 7200001, 40);
    tally_read(&t.latency, &c);
    assert_true(c.count == 4 && c.sum == 7200012 && t.live_bytes == 100);
    assert_true(c.buckets[0] == 2 && c.buckets[1] == 1 && c.buckets[TALLY_BOUNDS] == 1);
    tally_batch(&t, 3);
    tally_read(&t.batches, &c);
    assert_true(c.count == 1 && c.sum == 3 && c.buckets[2] == 1);
}

static void test_since_and_quantiles(void **state)
{
    (void)state;
    struct tally t = {0};
    struct tally_count before, now, sum = {0};
    tally_change(&t, 9000000, 0);
    tally_read(&t.latency, &before);
    assert_true(tally_quantile(&before, tally_latency_bounds, 0.99) == UINT64_MAX);
    for (int i = 0; i < 99; i++)
        tally_change(&t, 20, 0);
    tally_change(&t, 400, 0);
    tally_read(&t.latency, &now);
    tally_add_since(&sum, &now, &before);
    assert_true(sum.count == 100);
    assert_true(tally_quantile(&sum, tally_latency_bounds, 0.5) == 25);
    assert_true(tally_quantile(&sum, tally_latency_bounds, 0.99) == 25);
    assert_true(tally_quantile(&sum, tally_latency_bounds, 1) == 500);
    assert_true(tally_quantile(&(struct tally_count){0}, tally_latency_bounds, 0.99) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_since_and_quantiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
