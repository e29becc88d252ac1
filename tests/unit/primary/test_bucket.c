/* How often something may happen, by a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "primary/scan/bucket.h"

static unsigned taken(struct bucket *b, uint64_t now)
{
    unsigned n = 0;
    while (bucket_take(b, 1, now))
        n++;
    return n;
}

static void test_it_fills_with_time(void **state)
{
    (void)state;
    struct bucket b = {.per_s = 10, .most = 50};
    assert_int_equal(taken(&b, 1000), 50);
    assert_int_equal(taken(&b, 1000), 0);
    assert_int_equal(taken(&b, 1099), 0);
    assert_int_equal(taken(&b, 1100), 1);
    assert_int_equal(taken(&b, 2100), 10);
    assert_int_equal(taken(&b, 5 * 1000 + 2100), 50);
    assert_int_equal(taken(&b, UINT64_MAX), 50); /* and no more than that */
}

static void test_all_or_none(void **state)
{
    (void)state;
    struct bucket b = {.per_s = 10, .most = 50};
    assert_true(bucket_take(&b, 40, 1000));
    assert_false(bucket_take(&b, 11, 1000));
    assert_true(bucket_take(&b, 10, 1000));
    assert_false(bucket_take(&b, 1, 1000));
}

static void test_looking_often_loses_nothing(void **state)
{
    (void)state;
    struct bucket b = {.per_s = 10, .most = 50};
    unsigned n = 0;
    taken(&b, 1);
    for (uint64_t now = 2; now <= 3001; now++)
        n += bucket_take(&b, 1, now);
    assert_int_equal(n, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_fills_with_time),
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_looking_often_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
