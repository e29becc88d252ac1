/* The set: a map by name, a queue by order, and no names that all fall into one chain. */
#include "base/set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct set_item *add(struct set *s, const char *key)
{
    return set_add(s, key, strlen(key));
}

static struct set_item *find(const struct set *s, const char *key)
{
    return set_find(s, key, strlen(key));
}

/* The keys in order, each followed by a space; forwards and backwards must agree. */
static void assert_order(const struct set *s, const char *expected)
{
    char text[256] = "";
    size_t count = 0;
    const struct set_item *last = NULL;
    for (const struct set_item *i = set_first(s); i; last = i, i = i->next, count++) {
        assert_ptr_equal(i->prev, last);
        strcat(strcat(text, i->key), " ");
    }
    assert_string_equal(text, expected);
    assert_int_equal(set_count(s), count);
}

static void test_empty(void **state)
{
    (void)state;
    struct set *s = set_new();
    assert_null(set_first(s));
    assert_null(find(s, "a"));
    assert_null(set_find(s, NULL, 0));
    assert_order(s, "");
    set_free(s);
    set_free(NULL);
}

static void test_add_and_find(void **state)
{
    (void)state;
    struct set *s = set_new();
    int value;
    struct set_item *a = add(s, "a");
    assert_null(a->value);
    a->value = &value;
    add(s, "b");
    assert_ptr_equal(add(s, "a"), a);
    assert_ptr_equal(find(s, "a")->value, &value);
    assert_null(find(s, "c"));
    assert_order(s, "a b ");
    set_free(s);
}

static void test_keys_are_bytes(void **state)
{
    (void)state;
    struct set *s = set_new();
    char key[] = "x\0y";
    struct set_item *nul = set_add(s, key, 3), *cut = set_add(s, key, 1);
    struct set_item *empty = set_add(s, NULL, 0);
    key[0] = 'z'; /* keys are copies */
    assert_ptr_not_equal(nul, cut);
    assert_ptr_equal(set_find(s, "x\0y", 3), nul);
    assert_ptr_equal(set_find(s, "x", 1), cut);
    assert_ptr_equal(set_find(s, "", 0), empty);
    assert_ptr_equal(set_find(s, NULL, 0), empty);
    assert_int_equal(nul->key[3], 0);
    assert_int_equal(set_count(s), 3);
    set_free(s);
}

static void test_order(void **state)
{
    (void)state;
    struct set *s = set_new();
    struct set_item *a = add(s, "a"), *b = add(s, "b"), *c = add(s, "c");
    set_requeue(s, a);
    assert_order(s, "b c a ");
    set_requeue(s, a);
    assert_order(s, "b c a ");
    set_requeue(s, c);
    assert_order(s, "b a c ");
    set_remove(s, a);
    assert_order(s, "b c ");
    set_remove(s, b);
    set_remove(s, c);
    assert_order(s, "");
    add(s, "b");
    assert_order(s, "b ");
    set_free(s);
}

/* Against a plain array, through several doublings. */
static void test_many(void **state)
{
    (void)state;
    enum { NAMES = 5000, STEPS = 60000 };
    static bool in[NAMES];
    struct set *s = set_new();
    uint32_t x = 1;
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        x = x * 1664525 + 1013904223;
        size_t k = (x >> 8) % NAMES;
        char key[32];
        snprintf(key, sizeof key, "wp-content/%zu", k);
        struct set_item *i = find(s, key);
        assert_true((i != NULL) == in[k]);
        if (i && x >> 30 == 0) {
            set_remove(s, i);
            in[k] = false;
            count--;
        } else if (!i) {
            add(s, key);
            in[k] = true;
            count++;
        }
        assert_int_equal(set_count(s), count);
    }
    assert_true(count > 1000);
    set_free(s);
}

/* Two names that differ so that a multiplication's highest bits cancel out: a keyed
 * multiply-and-xor hash gives them one value whatever its key. */
static void test_no_collisions_by_design(void **state)
{
    (void)state;
    struct set *s = set_new();
    char one[16] = "aaaaaaaaaaaaaaa", two[16];
    memcpy(two, one, sizeof two);
    two[7] ^= (char)0x80;
    two[15] ^= (char)0x80;
    assert_true(set_add(s, one, 16)->hash != set_add(s, two, 16)->hash);
    two[11] ^= (char)0x80;
    assert_true(set_add(s, one, 16)->hash != set_add(s, two, 16)->hash);
    set_free(s);
}

/* Another key in each set, and names that count up do not pile up in the low bits. */
static void test_hash_spreads(void **state)
{
    (void)state;
    enum { SLOTS = 256, EACH = 16 };
    int seen[SLOTS] = {0};
    struct set *s = set_new(), *other = set_new();
    for (int i = 0; i < SLOTS * EACH; i++) {
        char key[16];
        snprintf(key, sizeof key, "img-%d.jpg", i);
        seen[add(s, key)->hash % SLOTS]++;
    }
    for (int i = 0; i < SLOTS; i++)
        assert_true(seen[i] < 5 * EACH);
    assert_true(add(s, "a")->hash != add(other, "a")->hash);
    set_free(s);
    set_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_add_and_find),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_no_collisions_by_design),
        cmocka_unit_test(test_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
