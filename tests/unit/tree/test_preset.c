/* Presets: what each leaves out and what not, its units and brackets; what can be chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tree/preset.h"

static struct filter *filter_of(const char *preset, unsigned choices)
{
    struct filter *f = filter_new();
    assert_int_equal(preset_add_excludes(preset_find(preset, NULL), choices, f, NULL), 0);
    return f;
}

/* Paths, those of directories with a slash at their end. */
static void expect(const struct filter *f, const char *const *paths, bool excluded)
{
    for (; *paths; paths++) {
        size_t len = strlen(*paths);
        bool is_dir = (*paths)[len - 1] == '/';
        if (filter_excludes_deep(f, (struct bytes){*paths, len - is_dir}, is_dir) != excluded)
            fail_msg("%s is %s", *paths, excluded ? "mirrored" : "left out");
    }
}

static void test_wordpress(void **state)
{
    static const char *const excluded[] = {".maintenance", "wp-content/upgrade/",
        "wp-content/upgrade-temp-backup/", "wp-content/cache/", "wp-content/debug.log",
        "wp-content/wflogs/", "wp-content/uploads/wc-logs/", "wp-content/ai1wm-backups/",
        "wp-content/updraft/", "wp-content/backups-dup-lite/", "wp-content/backwpup-1a2b/",
        "wp-content/wpvividbackups/", "wp-content/x.tmp", ".git/", "a/.git/", "a/.nfs01",
        "wp-content/et-cache/", "wp-content/litespeed/", "wp-content/w3tc-config/",
        "wp-content/uploads/elementor/css/", "error_log", "wp-admin/error_log", "index.php~",
        ".index.php.swp", NULL};
    static const char *const sent[] = {"wp-content/advanced-cache.php",
        "wp-content/object-cache.php", "wp-content/db.php", "wp-content/mu-plugins/",
        "wp-content/languages/", "wp-content/uploads/elementor/", "wp-config.php",
        "wp-content/plugins/x/cache/", "wp-content/plugins/backwpup/", "wp-content/uploads/x.tmp",
        ".htaccess", "wp-content/uploads/2024/05/photo-1024x768.jpg", "index.php",
        "wp-content/plugins/x/wp-config.php", "wp-content/uploads/sites/2/a.jpg", NULL};
    struct filter *f = filter_of("wordpress", 0);
    (void)state;
    expect(f, excluded, true);
    expect(f, sent, false);
    filter_free(f);
}

static void test_choices(void **state)
{
    static const char *const maintenance[] = {".maintenance", NULL};
    static const char *const config[] = {"wp-config.php", NULL};
    struct filter *f = filter_of("wordpress", PRESET_MAINTENANCE | PRESET_LOCAL_CONFIG);
    (void)state;
    expect(f, maintenance, false);
    expect(f, config, true);
    filter_free(f);
}

static void test_bedrock(void **state)
{
    static const char *const excluded[] = {"web/wp/.maintenance", "web/app/upgrade/",
        "web/app/cache/", ".git/", "web/app/debug.log", NULL};
    static const char *const sent[] = {".env", "vendor/autoload.php", "config/application.php",
        "web/app/uploads/2024/x.jpg", "web/app/mu-plugins/bedrock-autoloader.php", "composer.json",
        "web/wp/wp-content/cache/", NULL};
    struct filter *f = filter_of("bedrock", 0);
    (void)state;
    expect(f, excluded, true);
    expect(f, sent, false);
    filter_free(f);
}

static void test_releases(void **state)
{
    static const char *const excluded[] = {"repo/", ".dep/", "releases/7/.git/",
        "releases/7/.maintenance", "shared/wp-content/cache/", "releases/7/web/app/upgrade/",
        "shared/.env", NULL};
    static const char *const sent[] = {"current", "releases/7/wp-config.php",
        "shared/wp-content/uploads/x.jpg", "releases/7/cache/", NULL};
    struct filter *f = filter_of("releases", PRESET_LOCAL_CONFIG);
    (void)state;
    expect(f, excluded, true);
    expect(f, sent, false);
    filter_free(f);
}

static void expect_unit(const char *preset, const char *path, const char *unit)
{
    struct unit_rules *r = unit_rules_new();
    struct bytes key;
    preset_add_units(preset_find(preset, NULL), r);
    bool found = unit_rules_match(r, bytes_of(path), false, &key);
    char *text CLEANUP_FREE = found ? mem_copy_bytes(key.data, key.len) : NULL;
    if (unit)
        assert_string_equal(text ? text : "no unit", unit);
    else
        assert_null(text);
    unit_rules_free(r);
}

static void test_units(void **state)
{
    (void)state;
    expect_unit("none", "wp-content/plugins/x/y", NULL);
    expect_unit("wordpress", "wp-content/plugins/x/y", "wp-content/plugins/x");
    expect_unit("wordpress", "wp-content/uploads/x", NULL);
    expect_unit("bedrock", "web/app/themes/x/y", "web/app/themes/x");
    expect_unit("bedrock", "web/wp/wp-admin/x.php", "web/wp");
    expect_unit("bedrock", "vendor/a/b.php", "vendor");
    expect_unit("bedrock", "web/app/mu-plugins/one.php", NULL);
    expect_unit("releases", "releases/20260101/web/index.php", "releases/20260101");
    expect_unit("releases", "current", NULL);
    expect_unit("releases", "shared/uploads/x", NULL);
}

/* All of them can be put in force, in front of what is there; each has a name that finds it. */
static void test_all(void **state)
{
    (void)state;
    const struct preset *p;
    for (unsigned i = 0; (p = preset_at(i)); i++) {
        struct filter *f = filter_new();
        struct unit_rules *r = unit_rules_new();
        struct msg_rule last;
        assert_ptr_equal(preset_find(preset_name(p), NULL), p);
        assert_int_equal(filter_add(f, true, bytes_of("mine"), NULL), 0);
        assert_int_equal(preset_add_excludes(p, PRESET_LOCAL_CONFIG, f, NULL), 0);
        filter_rule(f, filter_count(f) - 1, &last);
        assert_true(last.include);
        preset_add_units(p, r);
        preset_add_brackets(p, r);
        assert_int_equal(preset_max_size(p), i ? UINT64_C(2) << 30 : 0);
        filter_free(f);
        unit_rules_free(r);
    }
    assert_string_equal(preset_name(preset_at(0)), "none");
}

static void test_unknown(void **state)
{
    (void)state;
    struct err err;
    assert_null(preset_find("drupal", &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.text, "wordpress, bedrock"));
}

static void test_too_many(void **state)
{
    (void)state;
    struct err err;
    struct filter *f = filter_new();
    for (int i = 0; i < MSG_RULES_MAX; i++)
        assert_int_equal(filter_add(f, false, bytes_of("x"), NULL), 0);
    assert_int_equal(preset_add_excludes(preset_find("none", NULL), 0, f, &err), 0);
    assert_int_equal(preset_add_excludes(preset_find("wordpress", NULL), 0, f, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    filter_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wordpress),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_bedrock),
        cmocka_unit_test(test_releases),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
