/* Hints: coalescing, the order in which they come due, and the maps under them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "primary/scan/batch.h"
#include "primary/scan/number_map.h"

static struct hint_key key(uint64_t dir, const char *name)
{
    return (struct hint_key){dir, bytes_of(name)};
}

static void test_coalesces(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    struct hint *h = batch_add(b, key(7, "x"), HINT_CREATE, 100, 150);
    assert_ptr_equal(batch_add(b, key(7, "x"), HINT_CLOSE, 110, 110), h);
    assert_int_equal(batch_count(b), 1);
    assert_int_equal(h->flags, HINT_CREATE | HINT_CLOSE);
    assert_int_equal(h->first_ms, 100);
    assert_int_equal(h->last_ms, 110);
    assert_int_equal(h->due_ms, 110);
    batch_add(b, key(7, "x"), HINT_META, 120, 500); /* never later by a hint */
    assert_int_equal(h->due_ms, 110);
    assert_ptr_not_equal(batch_add(b, key(8, "x"), 0, 120, 120), h);
    assert_ptr_not_equal(batch_add(b, key(7, ""), 0, 120, 120), h);
    assert_ptr_equal(batch_find(b, key(7, "x")), h);
    assert_null(batch_find(b, key(7, "y")));
    assert_int_equal(h->key.dir, 7);
    assert_true(bytes_equal(h->key.name, bytes_of("x")));
    batch_free(b);
}

static void test_order(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    enum { COUNT = 500 };
    uint64_t before = 0;
    for (uint64_t i = 1; i <= COUNT; i++)
        batch_add(b, key(i, "n"), 0, 0, 1 + i * 7919 % 1000);
    assert_null(batch_due(b, 0));
    for (uint64_t i = 1; i <= COUNT; i += 3) /* some are moved, some leave from the middle */
        batch_postpone(b, batch_find(b, key(i, "n")), 1 + i * 31 % 1000);
    for (uint64_t i = 2; i <= COUNT; i += 7)
        batch_remove(b, batch_find(b, key(i, "n")));
    size_t left = batch_count(b);
    for (struct hint *h; (h = batch_due(b, 1000)); left--) {
        assert_true(h->due_ms >= before);
        assert_int_equal(h->due_ms, batch_next_ms(b));
        before = h->due_ms;
        batch_remove(b, h);
    }
    assert_int_equal(left, 0);
    assert_int_equal(batch_next_ms(b), UINT64_MAX);
    batch_free(b);
}

static void test_marks(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    batch_add(b, key(1, "a"), 0, 0, 0);
    uint64_t mark = batch_mark(b);
    batch_add(b, key(1, "b"), 0, 0, 0);
    batch_add(b, key(1, "a"), 0, 0, 0); /* still the old one */
    unsigned old = 0, all = 0;
    for (struct hint *h = batch_each(b, NULL); h; h = batch_each(b, h), all++)
        old += h->seq <= mark;
    assert_int_equal(old, 1);
    assert_int_equal(all, 2);
    batch_remove(b, batch_find(b, key(1, "a")));
    assert_true(batch_add(b, key(1, "a"), 0, 0, 0)->seq > mark);
    batch_free(b);
}

static void test_names(void **state)
{
    (void)state;
    struct batch *b = batch_new();
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    struct hint *h = batch_add(b, key(1, longest), HINT_MOVED, 0, 0);
    batch_set_from(h, key(2, "former"));
    batch_set_from(h, key(3, "the one before"));
    assert_int_equal(h->from.dir, 3);
    assert_true(bytes_equal(h->from.name, bytes_of("the one before")));
    assert_int_equal(h->key.name.len, 255);
    struct hint_key odd = {1, {"a\nb\0c", 5}};
    batch_add(b, odd, 0, 0, 0);
    assert_non_null(batch_find(b, odd));
    batch_free(b);
}

static void test_number_map(void **state)
{
    (void)state;
    struct number_map m = {0};
    enum { COUNT = 3000 };
    assert_int_equal(number_map_get(&m, 5), 0);
    number_map_remove(&m, 5);
    for (uint64_t i = 1; i <= COUNT; i++)
        number_map_put(&m, i * 16, i);
    number_map_put(&m, 16, 77);
    assert_int_equal(m.count, COUNT);
    assert_int_equal(number_map_get(&m, 16), 77);
    for (uint64_t i = 1; i <= COUNT; i += 2)
        number_map_remove(&m, i * 16);
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_int_equal(number_map_get(&m, i * 16), i % 2 ? 0 : i);
    uint64_t number, value, sum = 0;
    for (size_t at = 0; number_map_each(&m, &at, &number, &value);)
        sum += value;
    assert_int_equal(sum, (uint64_t)(COUNT / 2) * (COUNT / 2 + 1));
    number_map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coalesces),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_number_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
