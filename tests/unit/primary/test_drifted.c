/* The set of paths that drifted: what is news, what is left alone, what status says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "primary/push/compare/drifted.h"

static struct entry file(uint64_t size)
{
    return (struct entry){.type = ENTRY_FILE, .mode = 0644, .size = size, .owner = bytes_of("web")};
}

static int take(struct drifted *d, uint8_t kind, const char *path, struct entry committed)
{
    struct err err;
    struct msg_drift m = {1, kind, bytes_of(path), committed};
    return drifted_take(d, &m, &err);
}

static void test_news(void **state)
{
    (void)state;
    struct drifted *d = drifted_new(true);
    struct drifted_status s;
    struct entry none = {0}, dir = {.type = ENTRY_DIR, .mode = 0755};
    drifted_opening(d);
    assert_int_equal(take(d, DRIFT_CHANGED, "a", file(1)), 1);
    assert_int_equal(take(d, DRIFT_CHANGED, "a", file(1)), 0);
    assert_int_equal(take(d, DRIFT_REMOVED, "a", file(1)), 1);
    assert_int_equal(take(d, DRIFT_ADDED, "b\n", none), 1);
    assert_int_equal(take(d, DRIFT_TIMES, "c", dir), 1);
    drifted_opened(d);
    drifted_status(d, &s);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.shown, 2);
    assert_string_equal(s.paths[0].what, "removed");
    assert_string_equal(s.paths[0].path, "a");
    assert_string_equal(s.paths[1].what, "added");
    assert_null(strchr(s.paths[1].path, '\n'));
    /* What is not told again is over. */
    drifted_opening(d);
    assert_int_equal(take(d, DRIFT_REMOVED, "a", file(1)), 0);
    drifted_opened(d);
    drifted_status(d, &s);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.healed, 0);
    drifted_healed(d, bytes_of("a"));
    drifted_healed(d, bytes_of("never heard of"));
    drifted_status(d, &s);
    assert_int_equal(s.count, 0);
    assert_int_equal(s.healed, 1);
    drifted_free(d);
    drifted_free(NULL);
}

static bool is_theirs(struct drifted *d, const char *path, struct entry ours)
{
    return drifted_leave(d, bytes_of(path), ours.type ? &ours : NULL, true);
}

/* Theirs alone is what we have as it was committed; all else is owed. */
static void test_whose_it_is(void **state)
{
    (void)state;
    struct drifted *d = drifted_new(true);
    struct entry none = {0}, other = file(1);
    take(d, DRIFT_CHANGED, "changed", file(1));
    take(d, DRIFT_ADDED, "added", none);
    take(d, DRIFT_REMOVED, "removed", file(1));
    assert_true(is_theirs(d, "changed", file(1)));
    assert_false(is_theirs(d, "changed", file(2)));
    assert_false(is_theirs(d, "changed", none));
    assert_true(is_theirs(d, "added", none));
    assert_false(is_theirs(d, "added", file(1)));
    assert_true(is_theirs(d, "removed", file(1)));
    assert_false(is_theirs(d, "removed", none));
    assert_false(is_theirs(d, "other", file(1)));
    other.owner = bytes_of("root");
    assert_false(is_theirs(d, "changed", other));
    assert_true(drifted_leave(d, bytes_of("changed"), &other, false));
    other = file(1);
    other.has_digest = true;
    assert_true(is_theirs(d, "changed", other)); /* what was committed is not known so well */
    take(d, DRIFT_CHANGED, "proven", other);
    other.digest.b[0] = 1;
    assert_false(is_theirs(d, "proven", other));
    drifted_free(d);
}

/* Once all is level, what was not left differs no more. */
static void test_level(void **state)
{
    (void)state;
    struct drifted *d = drifted_new(true);
    struct drifted_status s;
    take(d, DRIFT_CHANGED, "left", file(1));
    take(d, DRIFT_CHANGED, "the same change was made here", file(1));
    assert_true(is_theirs(d, "left", file(1)));
    assert_int_equal(take(d, DRIFT_CHANGED, "left", file(1)), 0);
    assert_int_equal(drifted_level(d), 1);
    drifted_status(d, &s);
    assert_int_equal(s.count, 1);
    assert_string_equal(s.paths[0].path, "left");
    drifted_healed(d, bytes_of("left"));
    assert_int_equal(drifted_level(d), 0);
    drifted_opening(d);
    take(d, DRIFT_CHANGED, "left", file(1));
    drifted_opened(d);
    assert_int_equal(drifted_level(d), 0); /* to be seen anew in each opening */
    drifted_free(d);
}

/* Where drift is healed, what is kept is bounded; the count is not. */
static void test_many(void **state)
{
    (void)state;
    struct drifted *d = drifted_new(false);
    struct drifted_status s;
    char path[32];
    for (int i = 0; i < DRIFTED_KEPT + 5; i++) {
        snprintf(path, sizeof path, "f%d", i);
        assert_int_equal(take(d, DRIFT_CHANGED, path, file(1)), i < DRIFTED_KEPT);
    }
    drifted_status(d, &s);
    assert_int_equal(s.count, DRIFTED_KEPT + 5);
    assert_int_equal(s.shown, DRIFTED_SHOWN);
    assert_false(drifted_leave(d, bytes_of(path), NULL, true));
    drifted_opening(d);
    drifted_opened(d);
    drifted_status(d, &s);
    assert_int_equal(s.count, 0);
    drifted_free(d);
}

/* Names and entries may be long: what they take is bounded, too. */
static void number(char *path, unsigned i)
{
    for (int k = 0; k < 8; k++, i /= 10)
        path[k] = (char)('0' + i % 10);
}

static void test_long(void **state)
{
    enum { NAME = 30000, ACL = 8000 };
    (void)state;
    struct drifted *d = drifted_new(false), *all = drifted_new(true);
    struct drifted_status s;
    char *path = calloc(1, NAME + 1), *acl = calloc(1, ACL);
    struct entry long_one = file(1);
    long_one.acl = (struct bytes){acl, ACL};
    memset(path, 'x', NAME);
    int kept = 0, told = 0, taken = 1;
    for (; told < 1000; told++) {
        number(path, (unsigned)told);
        kept += take(d, DRIFT_CHANGED, path, long_one);
    }
    assert_in_range(kept, DRIFTED_KEPT_BYTES / 50000, DRIFTED_KEPT_BYTES / 38000 + 1);
    drifted_status(d, &s);
    assert_int_equal(s.count, told);
    for (int i = 0; i < kept; i++) {
        number(path, (unsigned)i);
        drifted_healed(d, bytes_of(path));
    }
    assert_int_equal(take(d, DRIFT_CHANGED, path, long_one), 1); /* there is room again */
    for (told = 0; taken == 1 && told < 10000; told++) {
        number(path, (unsigned)told);
        taken = take(all, DRIFT_CHANGED, path, long_one);
    }
    assert_int_equal(taken, -1);
    assert_in_range(told, DRIFTED_MAX_BYTES / 50000, DRIFTED_MAX_BYTES / 38000 + 2);
    drifted_free(d);
    drifted_free(all);
    free(path);
    free(acl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_whose_it_is),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
