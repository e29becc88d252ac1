/* Which paths are units: depth, outermost, files at the top, units of parts; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tree/preset.h"

static const char core[] = "wp-admin + wp-includes + *.php";

static struct unit_rules *wordpress(void)
{
    struct unit_rules *r = unit_rules_new();
    const struct preset *p = preset_find("wordpress", NULL);
    preset_add_units(p, r);
    preset_add_brackets(p, r);
    return r;
}

/* The key as text, or NULL; the caller frees. */
static char *key_of(const struct unit_rules *r, const char *path, bool is_dir)
{
    struct bytes key;
    return unit_rules_match(r, bytes_of(path), is_dir, &key) ? mem_copy_bytes(key.data, key.len)
                                                             : NULL;
}

static void expect(const struct unit_rules *r, const char *path, bool is_dir, const char *unit)
{
    char *key CLEANUP_FREE = key_of(r, path, is_dir);
    if (!unit)
        assert_null(key);
    else
        assert_string_equal(key ? key : "none", unit);
}

static void test_plain(void **state)
{
    struct unit_rules *r = wordpress();
    (void)state;
    expect(r, "wp-content/plugins/shop", true, "wp-content/plugins/shop");
    expect(r, "wp-content/plugins/shop/a/b.php", false, "wp-content/plugins/shop");
    expect(r, "wp-content/plugins/hello.php", false, NULL);
    expect(r, "wp-content/plugins", true, NULL);
    expect(r, "wp-content/plugin/shop", true, NULL);
    expect(r, "wp-content/uploads/2025/wp-admin/x", false, NULL);
    expect(r, "wp-content/languages", true, "wp-content/languages");
    expect(r, "wp-content/languages/plugins/x.mo", false, "wp-content/languages");
    expect(r, "", true, NULL);
    unit_rules_free(r);
}

static void test_parts(void **state)
{
    struct unit_rules *r = wordpress();
    (void)state;
    expect(r, "wp-admin", true, core);
    expect(r, "wp-includes/version.php", false, core);
    expect(r, "index.php", false, core);
    expect(r, "readme.html", false, NULL);
    expect(r, "sub/index.php", false, NULL);
    assert_int_equal(unit_rules_parent(r, bytes_of(core)).len, 0);
    unit_rules_free(r);
    r = unit_rules_new();
    struct err err;
    assert_int_equal(unit_rules_add(r, "/blog/wp-admin/ + blog/*.php", &err), 0);
    expect(r, "blog/x.php", false, "/blog/wp-admin/ + blog/*.php");
    struct bytes parent = unit_rules_parent(r, bytes_of("/blog/wp-admin/ + blog/*.php"));
    assert_true(bytes_equal(parent, bytes_of("blog")));
    unit_rules_free(r);
}

static void test_outermost(void **state)
{
    struct unit_rules *r = unit_rules_new();
    struct err err;
    (void)state;
    assert_int_equal(unit_rules_add(r, "a/b/*", &err), 0);
    assert_int_equal(unit_rules_add(r, "a/*", &err), 0);
    expect(r, "a/b/c/d", false, "a/b");
    expect(r, "a/b", false, NULL);
    unit_rules_free(r);
}

static void test_above_and_touches(void **state)
{
    struct unit_rules *r = wordpress();
    (void)state;
    assert_true(unit_rules_above(r, bytes_of("")));
    assert_true(unit_rules_above(r, bytes_of("wp-content")));
    assert_true(unit_rules_above(r, bytes_of("wp-content/plugins")));
    assert_false(unit_rules_above(r, bytes_of("wp-content/plugins/x")));
    assert_false(unit_rules_above(r, bytes_of("wp-content/uploads")));
    struct bytes shop = bytes_of("wp-content/plugins/shop");
    assert_true(unit_rules_touches(r, shop, bytes_of("wp-content/plugins/shop/x")));
    assert_true(unit_rules_touches(r, shop, bytes_of("wp-content")));
    assert_false(unit_rules_touches(r, shop, bytes_of("wp-content/plugins/other")));
    assert_true(unit_rules_touches(r, bytes_of(core), bytes_of("wp-admin/x")));
    assert_true(unit_rules_touches(r, bytes_of(core), bytes_of("")));
    assert_false(unit_rules_touches(r, bytes_of(core), bytes_of("wp-content/uploads")));
    unit_rules_free(r);
}

static void test_refused(void **state)
{
    struct unit_rules *r = unit_rules_new();
    struct err err;
    const char *const bad[] = {
        "", "/", "a/../b", "a//b", "a/**", "a/x + b/y", "a + b/c", "a/*/x + a/*/y", ".mirrord-x"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(unit_rules_add(r, bad[i], &err), -1);
        assert_int_equal(err.code, ERR_USAGE);
    }
    assert_null(unit_rules_unit(r, 0));
    assert_int_equal(unit_rules_add_bracket(r, "../x", &err), -1);
    unit_rules_free(r);
}

static void test_copy(void **state)
{
    struct unit_rules *r = wordpress(), *copy;
    (void)state;
    unit_rules_set_times(r, 1, 2);
    copy = unit_rules_copy(r);
    unit_rules_free(r);
    assert_string_equal(unit_rules_unit(copy, 3), core);
    assert_null(unit_rules_unit(copy, 4));
    assert_string_equal(unit_rules_bracket(copy, 1), "wp-content/upgrade/");
    assert_int_equal(unit_rules_settle(copy), 1);
    assert_int_equal(unit_rules_settle_max(copy), 2);
    unit_rules_free(copy);
    copy = unit_rules_copy(NULL);
    assert_int_equal(unit_rules_settle(copy), UNIT_SETTLE_MS);
    unit_rules_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_outermost),
        cmocka_unit_test(test_above_and_touches),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
