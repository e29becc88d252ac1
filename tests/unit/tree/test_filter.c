#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/io.h"
#include "protocol/path.h"
#include "tree/content/digest.h"
#include "tree/filter.h"

static struct filter *filter_of(const char *pattern)
{
    struct filter *f = filter_new();
    assert_int_equal(filter_add(f, false, bytes_of(pattern), NULL), 0);
    return f;
}

/* Does this one pattern exclude this path? A slash behind the path makes it a directory. */
static bool excludes(const char *pattern, const char *path)
{
    struct filter *f = filter_of(pattern);
    size_t len = strlen(path);
    bool is_dir = len > 0 && path[len - 1] == '/';
    bool answer = filter_excludes(f, (struct bytes){path, len - is_dir}, is_dir);
    filter_free(f);
    return answer;
}

static void test_anchors(void **state)
{
    (void)state;
    assert_true(excludes("/.maintenance", ".maintenance"));
    assert_false(excludes("/.maintenance", "sub/.maintenance"));
    assert_true(excludes("wp-content/cache/", "wp-content/cache/"));
    assert_false(excludes("wp-content/cache/", "wp-content/cache"));
    assert_false(excludes("wp-content/cache/", "x/wp-content/cache/"));
    assert_true(excludes(".git/", "a/b/.git/"));
    assert_false(excludes(".git/", "a/b/.git"));
    assert_true(excludes(".nfs*", "deep/down/.nfs0001"));
    assert_false(excludes(".nfs*", "deep/down/x.nfs"));
}

static void test_globs(void **state)
{
    (void)state;
    assert_true(excludes("a/*.tmp", "a/x.tmp"));
    assert_true(excludes("a/*.tmp", "a/.tmp"));
    assert_false(excludes("a/*.tmp", "a/b/x.tmp"));
    assert_false(excludes("a/*.tmp", "a/x.tmp2"));
    assert_true(excludes("a/?", "a/\xff"));
    assert_false(excludes("a?b/c", "a/b/c"));
    assert_true(excludes("*a*b*c*", "xxaxxbxxcxx"));
    assert_false(excludes("*a*b*c*", "xxaxxcxxbxx"));
    assert_true(excludes("[a-cx]1", "b1"));
    assert_true(excludes("[a-cx]1", "x1"));
    assert_false(excludes("[a-cx]1", "d1"));
    assert_true(excludes("[!a-c]1", "d1"));
    assert_false(excludes("[!a-c]1", "a1"));
    assert_true(excludes("[]]", "]"));
    assert_true(excludes("[-a]", "-"));
    assert_false(excludes("a/[!x]b", "a//b"));
    assert_true(excludes("[open", "[open"));
    assert_true(excludes("\\*", "*"));
    assert_false(excludes("\\*", "a"));
    assert_true(excludes("*\n*", "a\nb"));
}

static void test_double_stars(void **state)
{
    (void)state;
    assert_true(excludes("**/error_log", "error_log"));
    assert_true(excludes("**/error_log", "a/b/error_log"));
    assert_false(excludes("**/error_log", "a/b/my_error_log"));
    assert_true(excludes("a/**", "a/b/c"));
    assert_false(excludes("a/**", "a/"));
    assert_true(excludes("a/**/z", "a/z"));
    assert_true(excludes("a/**/z", "a/b/c/z"));
    assert_false(excludes("a/**/z", "a/b/cz"));
    assert_true(excludes("a**z/x", "a/b/z/x"));
    assert_true(excludes("a/**/m/*/z", "a/b/m/q/m/y/z"));
    assert_false(excludes("a/**/m/*/z", "a/b/m/q/m/y/k/z"));
}

static void test_order_and_inclusion(void **state)
{
    (void)state;
    struct filter *f = filter_of("*.log");
    assert_int_equal(filter_add(f, true, bytes_of("keep.log"), NULL), 0);
    assert_true(filter_excludes(f, bytes_of("a.log"), false));
    assert_false(filter_excludes(f, bytes_of("x/keep.log"), false));
    assert_int_equal(filter_add(f, false, bytes_of("/x/keep.log"), NULL), 0);
    assert_true(filter_excludes(f, bytes_of("x/keep.log"), false));
    assert_false(filter_excludes(f, bytes_of("keep.log"), false));
    assert_false(filter_excludes(f, (struct bytes){0}, true));
    filter_free(f);
}

static void test_beneath_excluded(void **state)
{
    (void)state;
    struct filter *f = filter_of("a/cache/");
    assert_int_equal(filter_add(f, true, bytes_of("keep"), NULL), 0);
    assert_false(filter_excludes(f, bytes_of("a/cache/x/y"), false));
    assert_true(filter_excludes_deep(f, bytes_of("a/cache/x/y"), false));
    assert_true(filter_excludes_deep(f, bytes_of("a/cache/keep"), false));
    assert_true(filter_excludes_deep(f, bytes_of("a/cache"), true));
    assert_false(filter_excludes_deep(f, bytes_of("a/cache"), false));
    assert_false(filter_excludes_deep(f, bytes_of("b/cache/x"), false));
    filter_free(f);
}

static void test_reserved_names(void **state)
{
    (void)state;
    struct filter *f = filter_new();
    assert_int_equal(filter_add(f, true, bytes_of("**"), NULL), 0);
    assert_true(filter_excludes(f, bytes_of("a/" PATH_RESERVED "stage"), true));
    assert_true(filter_excludes_deep(f, bytes_of(PATH_RESERVED "stage/x/y"), false));
    assert_false(filter_excludes(f, bytes_of("a/x" PATH_RESERVED), true));
    filter_free(f);
}

static void test_prepend(void **state)
{
    static const char *const first[] = {"a", "b/", NULL};
    struct filter *f = filter_new();
    (void)state;
    assert_int_equal(filter_add(f, true, bytes_of("b"), NULL), 0);
    assert_int_equal(filter_prepend(f, first, NULL), 0);
    assert_int_equal(filter_count(f), 3);
    assert_true(filter_excludes(f, bytes_of("a"), false));
    assert_false(filter_excludes(f, bytes_of("b"), true)); /* what was there comes last, and wins */
    filter_free(f);
}

static void test_bad_patterns(void **state)
{
    (void)state;
    static const char *const one[] = {"y", NULL};
    char longest[MSG_RULE_MAX + 1];
    struct filter *f = filter_new();
    struct err err;
    memset(longest, 'a', sizeof longest);
    assert_int_equal(filter_add(f, false, (struct bytes){0}, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(filter_add(f, false, bytes_of("/"), &err), -1);
    assert_int_equal(filter_add(f, false, (struct bytes){"a\0b", 3}, &err), -1);
    assert_int_equal(filter_add(f, false, (struct bytes){longest, sizeof longest}, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(filter_count(f), 0);
    assert_int_equal(filter_add(f, false, (struct bytes){longest, MSG_RULE_MAX}, &err), 0);
    for (int i = 1; i < MSG_RULES_MAX; i++)
        assert_int_equal(filter_add(f, false, bytes_of("x"), &err), 0);
    assert_int_equal(filter_add(f, false, bytes_of("x"), &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(filter_prepend(f, one, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(filter_count(f), MSG_RULES_MAX);
    filter_free(f);
}

static void test_copy_and_digest(void **state)
{
    (void)state;
    struct filter *f = filter_of("wp-content/cache/"), *other = filter_of("wp-content/cache");
    struct filter *none = filter_new();
    struct digest a, b;
    assert_int_equal(filter_add(f, true, bytes_of("x"), NULL), 0);
    assert_int_equal(filter_count(none), 0);
    struct filter *copy = filter_copy(f);
    assert_int_equal(filter_count(copy), 2);
    struct msg_rule rule;
    filter_rule(copy, 0, &rule);
    assert_false(rule.include);
    assert_true(bytes_equal(rule.pattern, bytes_of("wp-content/cache/")));
    filter_rule(copy, 1, &rule);
    assert_true(rule.include);
    filter_digest(f, &a);
    filter_digest(copy, &b);
    assert_true(digest_equal(&a, &b));
    filter_digest(other, &b);
    assert_false(digest_equal(&a, &b));
    filter_digest(none, &b);
    assert_false(digest_equal(&a, &b));
    filter_free(f);
    filter_free(copy);
    filter_free(other);
    filter_free(none);
}

/* An exponential matcher would not come back from these. */
static void test_hostile_names(void **state)
{
    (void)state;
    char path[PATH_TOTAL_MAX + 1];
    for (size_t i = 0; i < PATH_TOTAL_MAX; i++)
        path[i] = i % 200 == 199 ? '/' : 'a';
    path[PATH_TOTAL_MAX] = '\0';
    path[PATH_TOTAL_MAX - 1] = 'a';
    uint64_t start = io_now_ms();
    assert_false(excludes("**/*a*a*a*a*a*a*b", path));
    assert_false(excludes("*a*a*a*a*a*a*a*a*b", path + PATH_TOTAL_MAX - 100));
    assert_false(excludes("**a**a**a**a**a**b/x", path));
    assert_true(io_now_ms() - start < 20000);
}

static bool touches(const char *pattern, const char *path)
{
    struct filter *f = filter_new();
    assert_int_equal(filter_add(f, false, bytes_of(pattern), NULL), 0);
    bool result = filter_touches(f, bytes_of(path));
    filter_free(f);
    return result;
}

static void test_touches(void **state)
{
    (void)state;
    assert_true(touches("a/b/", "a/b"));
    assert_true(touches("a/b/", "a"));
    assert_true(touches("a/b/", "a/b/c"));
    assert_true(touches("/a", "a"));
    assert_true(touches("a/*/c", "a/x"));
    assert_true(touches("**/c/d", "x/y"));
    assert_false(touches("a/b/", "a/c"));
    assert_false(touches("a/*/c", "b"));
    assert_false(touches("*.log", "a/b")); /* whatever it is renamed to */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anchors),
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_double_stars),
        cmocka_unit_test(test_order_and_inclusion),
        cmocka_unit_test(test_beneath_excluded),
        cmocka_unit_test(test_reserved_names),
        cmocka_unit_test(test_prepend),
        cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_copy_and_digest),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_touches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
