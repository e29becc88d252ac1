/* The table of names and paths. */
#include "tests/unit/protocol/check.h"

#define TEXT(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

struct row {
    struct bytes path;
    bool name_valid, path_valid;
};

static const struct row rows[] = {
    {TEXT(""), false, true},
    {TEXT("a"), true, true},
    {TEXT("a/b"), false, true},
    {TEXT("wp-content/uploads/x.jpg"), false, true},
    {TEXT("."), false, false},
    {TEXT(".."), false, false},
    {TEXT("..."), true, true},
    {TEXT(".a"), true, true},
    {TEXT("..a"), true, true},
    {TEXT("a.."), true, true},
    {TEXT("a/."), false, false},
    {TEXT("a/.."), false, false},
    {TEXT("./a"), false, false},
    {TEXT("../a"), false, false},
    {TEXT("a/../b"), false, false},
    {TEXT("a/./b"), false, false},
    {TEXT("/"), false, false},
    {TEXT("/a"), false, false},
    {TEXT("a/"), false, false},
    {TEXT("a/b/"), false, false},
    {TEXT("a//b"), false, false},
    {TEXT("//"), false, false},
    {TEXT("a\0b"), false, false},
    {TEXT("\0"), false, false},
    {TEXT("a/\0"), false, false},
    {TEXT("-rf"), true, true},
    {TEXT("a\nb"), true, true},
    {TEXT("\xff\xfe"), true, true},
    {TEXT(" "), true, true},
    {TEXT("a\\b"), true, true},
    {TEXT(".mirrord-"), false, false},
    {TEXT(".mirrord-stage"), false, false},
    {TEXT("a/.mirrord-stage/b"), false, false},
    {TEXT(".mirrord"), true, true},
    {TEXT("x.mirrord-"), true, true},
    {TEXT(".Mirrord-x"), true, true},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (path_name_valid(rows[i].path) != rows[i].name_valid)
            fail_msg("row %zu: name \"%s\"", i, (const char *)rows[i].path.data);
        if (path_valid(rows[i].path) != rows[i].path_valid)
            fail_msg("row %zu: path \"%s\"", i, (const char *)rows[i].path.data);
    }
    assert_true(path_valid((struct bytes){NULL, 0}));
}

static void test_lengths(void **state)
{
    (void)state;
    struct bytes b = check_long(PATH_TOTAL_MAX + 2);
    char *p = (char *)b.data;
    b.len = PATH_NAME_MAX;
    assert_true(path_name_valid(b));
    assert_true(path_valid(b));
    b.len++;
    assert_false(path_name_valid(b));
    assert_false(path_valid(b));

    for (size_t i = PATH_NAME_MAX; i < PATH_TOTAL_MAX; i += PATH_NAME_MAX + 1)
        p[i] = '/';
    assert_int_equal(p[PATH_TOTAL_MAX - 1], '/');
    b.len = PATH_TOTAL_MAX - 1;
    assert_true(path_valid(b));
    p[PATH_TOTAL_MAX - 1] = 'x'; /* one component too long */
    b.len = PATH_TOTAL_MAX;
    assert_false(path_valid(b));
    p[PATH_TOTAL_MAX - 3] = '/';
    assert_true(path_valid(b));
    p[PATH_TOTAL_MAX] = '/';
    b.len = PATH_TOTAL_MAX + 2;
    assert_false(path_valid(b));
    check_long_free(b);
}

static void test_reserved(void **state)
{
    (void)state;
    assert_true(path_is_reserved(bytes_of(".mirrord-")));
    assert_true(path_is_reserved(bytes_of(".mirrord-x")));
    assert_false(path_is_reserved(bytes_of(".mirrord")));
    assert_false(path_is_reserved(bytes_of("a.mirrord-")));
    assert_false(path_is_reserved((struct bytes){NULL, 0}));
}

static void test_parent_and_name(void **state)
{
    (void)state;
    check_text(path_parent(bytes_of("a/b/c")), "a/b");
    check_text(path_name(bytes_of("a/b/c")), "c");
    check_text(path_parent(bytes_of("a")), "");
    check_text(path_name(bytes_of("a")), "a");
    check_text(path_parent(bytes_of("")), "");
    check_text(path_name(bytes_of("")), "");
    assert_int_equal(path_parent((struct bytes){NULL, 0}).len, 0);
    assert_int_equal(path_name((struct bytes){NULL, 0}).len, 0);
}

static void test_beneath(void **state)
{
    (void)state;
    assert_true(path_beneath(bytes_of("a/b"), bytes_of("a")));
    assert_true(path_beneath(bytes_of("a"), bytes_of("a")));
    assert_true(path_beneath(bytes_of("a"), bytes_of("")));
    assert_true(path_beneath(bytes_of(""), bytes_of("")));
    assert_false(path_beneath(bytes_of("ab"), bytes_of("a")));
    assert_false(path_beneath(bytes_of("a"), bytes_of("a/b")));
    assert_false(path_beneath(bytes_of(""), bytes_of("a")));
    assert_false(path_beneath(bytes_of("b/a"), bytes_of("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_parent_and_name),
        cmocka_unit_test(test_beneath),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
