/* The sliding sum of deletions, its limits and its file. */
#include "tree/state/deletions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/tree/scratch.h"

enum { NOW = 1700000000 };

static void sums_and_slides(void **state)
{
    struct deletions d = {0};
    uint64_t before;
    (void)state;
    assert_int_equal(deletions_sum(&d, NOW, 77, &before), 0);
    assert_int_equal(before, 77);
    deletions_add(&d, NOW, 10, 1000);
    deletions_add(&d, NOW + 1, 5, 990);
    deletions_add(&d, NOW + 120, 20, 985);
    assert_int_equal(deletions_sum(&d, NOW + 120, 965, &before), 35);
    assert_int_equal(before, 1000);
    assert_int_equal(deletions_sum(&d, NOW + 600, 965, &before), 20);
    assert_int_equal(before, 985);
    assert_int_equal(deletions_sum(&d, NOW + 720, 965, &before), 0);
    assert_int_equal(before, 965);
    /* The same place in the ring, an hour later. */
    deletions_add(&d, NOW + 3600, 1, 500);
    assert_int_equal(deletions_sum(&d, NOW + 3600, 499, &before), 1);
    assert_int_equal(before, 500);
}

static void what_comes_back_counts_no_more(void **state)
{
    struct deletions d = {0};
    uint64_t before;
    (void)state;
    deletions_add(&d, NOW, 10, 100);
    deletions_add(&d, NOW + 60, 10, 90);
    deletions_take_back(&d, NOW + 60, 15);
    assert_int_equal(deletions_sum(&d, NOW + 60, 95, &before), 5);
    assert_int_equal(before, 100);
    deletions_take_back(&d, NOW + 60, 1000);
    assert_int_equal(deletions_sum(&d, NOW + 60, 95, &before), 0);
    /* What was there in excess is no credit. */
    deletions_add(&d, NOW + 61, 3, 95);
    assert_int_equal(deletions_sum(&d, NOW + 61, 92, &before), 3);
}

static void both_limits_must_be_passed(void **state)
{
    const struct deletions_limit limit = {20, 200};
    (void)state;
    assert_false(deletions_too_many(&limit, 200, 200));
    assert_true(deletions_too_many(&limit, 201, 1000));
    assert_true(deletions_too_many(&limit, 201, 1004));
    assert_false(deletions_too_many(&limit, 201, 1005));
    assert_true(deletions_too_many(&limit, UINT64_MAX / 2, UINT64_MAX));
    assert_false(deletions_too_many(&(struct deletions_limit){100, 0}, 5, 5));
    assert_true(deletions_too_many(&(struct deletions_limit){0, 10}, 11, 1000000));
}

static void comes_back_from_its_file(void **state)
{
    struct deletions d = {0}, again;
    struct err err;
    uint64_t before;
    (void)state;
    char *path = scratch_new();
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    deletions_load(&again, dir);
    assert_int_equal(deletions_sum(&again, NOW, 1, &before), 0);
    deletions_add(&d, NOW, UINT64_MAX / 3, UINT64_MAX);
    for (int i = 1; i < DELETIONS_MINUTES; i++)
        deletions_add(&d, NOW + 60 * i, 1, 10);
    assert_int_equal(deletions_store(&d, dir, &err), 0);
    deletions_load(&again, dir);
    assert_memory_equal(&again, &d, sizeof d);
    /* One minute alone, in each place. */
    for (int i = 0; i < DELETIONS_MINUTES; i++) {
        d = (struct deletions){0};
        deletions_add(&d, NOW + 60 * i, 7, 10);
        assert_int_equal(deletions_store(&d, dir, &err), 0);
        deletions_load(&again, dir);
        assert_int_equal(deletions_sum(&again, NOW + 60 * i, 1, &before), 7);
    }
    close(dir);
    scratch_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_slides),
        cmocka_unit_test(what_comes_back_counts_no_more),
        cmocka_unit_test(both_limits_must_be_passed),
        cmocka_unit_test(comes_back_from_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
