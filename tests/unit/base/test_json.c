/* json: what is built can be read, printed exactly, and parsed again; what is malformed cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static void assert_prints(const struct json *j, const char *expected)
{
    char *text = json_print(j, false);
    assert_string_equal(text, expected);
    free(text);
}

static void test_building(void **state)
{
    (void)state;
    struct json *o = json_object(), *a = json_array(), *inner = json_object();
    json_set_text(o, "name", "a \"quoted\"\n");
    json_set_number(o, "n", 1.5);
    json_set_bool(o, "yes", true);
    json_append_text(a, "first");
    json_set_bool(inner, "no", false);
    json_append_json(a, inner);
    json_set_json(o, "list", a);
    assert_prints(o, "{\"name\":\"a \\\"quoted\\\"\\n\",\"n\":1.5,\"yes\":true,"
                     "\"list\":[\"first\",{\"no\":false}]}");
    json_free(o);
    json_free(NULL);
}

static void test_setting_twice_replaces(void **state)
{
    (void)state;
    struct json *o = json_object();
    json_set_text(o, "k", "old");
    json_set_number(o, "k", 7);
    assert_prints(o, "{\"k\":7}");
    json_free(o);
}

static void test_large_numbers_are_exact(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "{\"n\":0}"}, {4294967296., "{\"n\":4294967296}"},
        {999999999999999., "{\"n\":999999999999999}"},
        {9007199254740992., "{\"n\":9007199254740992}"},
        {9007199254740991., "{\"n\":9007199254740991}"},
        {-9007199254740991., "{\"n\":-9007199254740991}"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json *o = json_object();
        json_set_number(o, "n", cases[i].value);
        assert_prints(o, cases[i].text);
        assert_true(json_get_number(o, "n", -1) == cases[i].value);
        struct json *again = json_parse(cases[i].text, strlen(cases[i].text));
        assert_true(json_get_number(again, "n", -1) == cases[i].value);
        json_free(again);
        json_free(o);
    }
}

static void test_names_that_are_not_utf8(void **state)
{
    (void)state;
    struct json *o = json_object();
    json_set_name(o, "latin1", "caf\xe9", 4);
    json_set_name(o, "nul", "a\0b", 3);
    json_set_name(o, "utf8", "caf\xc3\xa9", 5);
    json_set_name(o, "cut", "\xe2\x82", 2);
    json_set_name(o, "surrogate", "\xed\xa0\x80", 3);
    json_set_name(o, "overlong", "\xc0\xaf", 2);
    assert_string_equal(json_get_text(o, "latin1", ""), "caf\\351");
    assert_string_equal(json_get_text(o, "nul", ""), "a\\000b");
    assert_string_equal(json_get_text(o, "utf8", ""), "caf\xc3\xa9");
    assert_string_equal(json_get_text(o, "cut", ""), "\\342\\202");
    assert_string_equal(json_get_text(o, "surrogate", ""), "\\355\\240\\200");
    assert_string_equal(json_get_text(o, "overlong", ""), "\\300\\257");
    json_free(o);
}

static void test_long_name_is_not_cut(void **state)
{
    (void)state;
    char name[2000];
    memset(name, 0xff, sizeof name);
    struct json *o = json_object();
    json_set_name(o, "n", name, sizeof name);
    assert_int_equal(strlen(json_get_text(o, "n", "")), 4 * sizeof name);
    json_free(o);
}

static void test_defaults_for_what_is_not_there(void **state)
{
    (void)state;
    static const char text[] = "{\"t\":\"x\",\"n\":1,\"b\":true,\"a\":[1,\"s\"],\"z\":null}";
    struct json *o = json_parse(text, sizeof text - 1);
    assert_non_null(o);
    assert_null(json_get(o, "missing"));
    assert_null(json_get(NULL, "x"));
    assert_null(json_get_text(o, "n", NULL));
    assert_string_equal(json_get_text(o, "missing", "d"), "d");
    assert_true(json_get_number(o, "t", 9) == 9);
    assert_true(json_get_bool(o, "b", false));
    assert_true(json_get_bool(o, "n", true));
    assert_false(json_get_bool(o, "n", false));
    assert_int_equal(json_count(json_get(o, "a")), 2);
    assert_int_equal(json_count(o), 0);
    assert_int_equal(json_count(NULL), 0);
    assert_null(json_at(json_get(o, "a"), 2));
    assert_null(json_text_at(json_get(o, "a"), 0));
    assert_string_equal(json_text_at(json_get(o, "a"), 1), "s");
    json_free(o);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "", " ", "{", "{\"a\"}", "[1,]", "{} {}", "nul", "\"open", "{\"a\":1}x", "[1 2]"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_null(json_parse(cases[i], strlen(cases[i])));
    assert_null(json_parse("{}\0", 3));
    struct json *spaced = json_parse(" {} \n", 5);
    assert_non_null(spaced);
    json_free(spaced);
}

/* Every proper beginning of a document is malformed, and reading it stays within the bytes. */
static void test_truncated(void **state)
{
    (void)state;
    static const char whole[] = "{\"do\":\"flush\",\"paths\":[\"a\\u00e9\",1.5e3,true,null]}";
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, whole, n);
        assert_null(json_parse(exact, n));
        free(exact);
    }
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * 40 + 1];
    for (int depth = 1; depth <= 40; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct json *j = json_parse(text, 2 * (size_t)depth);
        if (depth <= 32)
            assert_non_null(j);
        else
            assert_null(j);
        json_free(j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_building),
        cmocka_unit_test(test_setting_twice_replaces),
        cmocka_unit_test(test_large_numbers_are_exact),
        cmocka_unit_test(test_names_that_are_not_utf8),
        cmocka_unit_test(test_long_name_is_not_cut),
        cmocka_unit_test(test_defaults_for_what_is_not_there),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
