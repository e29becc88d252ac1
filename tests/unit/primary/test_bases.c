/* What a secondary has of large files: by site and path, the least recently used forgotten. */
#include "primary/push/send/bases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static struct site one = {.label = "one"}, two = {.label = "two"};

/* Of a file of this size, with these bytes in its digest. */
static struct outline *file_of(uint64_t size, uint8_t id)
{
    struct outline *k = outline_new(size);
    outline_settle(k, &(struct digest){{id}});
    return k;
}

static void put(struct bases *b, const struct site *s, const char *path, uint64_t size, uint8_t id)
{
    struct outline *k = file_of(size, id);
    bases_put(b, s, bytes_of(path), k);
    outline_unref(k);
}

/* The byte; 0: nothing is known. */
static uint8_t found(struct bases *b, const struct site *s, const char *path)
{
    struct outline *k = bases_find(b, s, bytes_of(path));
    return k ? outline_digest(k)->b[0] : 0;
}

static void test_by_site_and_path(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    assert_int_equal(found(b, &one, "a"), 0);
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    put(b, &two, "a", OUTLINE_MIN_SIZE, 2);
    put(b, &one, "b", OUTLINE_MIN_SIZE, 3);
    assert_int_equal(found(b, &one, "a"), 1);
    assert_int_equal(found(b, &two, "a"), 2);
    assert_int_equal(found(b, &one, "b"), 3);
    assert_int_equal(found(b, &two, "b"), 0);
    put(b, &one, "a", OUTLINE_MIN_SIZE + 1, 4);
    assert_int_equal(found(b, &one, "a"), 4);
    bases_put(b, &one, bytes_of("a"), NULL);
    assert_int_equal(found(b, &one, "a"), 0);
    bases_put(b, &one, bytes_of("a"), NULL);
    assert_int_equal(found(b, &two, "a"), 2);
    bases_free(b);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    uint64_t size = 4 << 20;
    size_t each = outline_memory(size);
    struct bases *b = bases_new(10 * each);
    for (uint8_t i = 1; i <= 200; i++) {
        char path[4] = {(char)('a' + i / 26), (char)('a' + i % 26)};
        put(b, &one, path, size, i);
        put(b, &one, "used", size, 255);
        assert_true(bases_memory(b) <= 10 * each);
        assert_int_equal(found(b, &one, path), i);
    }
    assert_int_equal(found(b, &one, "ab"), 0);
    assert_int_equal(found(b, &one, "used"), 255);
    bases_free(b);
}

static void test_what_is_not_worth_it(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    assert_false(bases_wants(b, OUTLINE_MIN_SIZE - 1));
    assert_true(bases_wants(b, OUTLINE_MIN_SIZE));
    assert_false(bases_wants(b, (uint64_t)1 << 30));
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    put(b, &one, "a", OUTLINE_MIN_SIZE - 1, 2); /* and what was there is not any more */
    assert_int_equal(found(b, &one, "a"), 0);
    assert_int_equal(bases_memory(b), 0);
    bases_free(b);
}

static void test_whoever_uses_it_keeps_it(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    struct outline *k = outline_ref(bases_find(b, &one, bytes_of("a")));
    put(b, &one, "a", OUTLINE_MIN_SIZE, 2);
    assert_int_equal(outline_digest(k)->b[0], 1);
    bases_free(b);
    assert_int_equal(outline_size(k), OUTLINE_MIN_SIZE);
    outline_unref(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_site_and_path),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_what_is_not_worth_it),
        cmocka_unit_test(test_whoever_uses_it_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
