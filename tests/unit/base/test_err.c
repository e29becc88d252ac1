/* Errors: their words, how they are cut, and what code an errno means. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set(void **state)
{
    (void)state;
    struct err err = {.sys = 5};
    assert_int_equal(err_set(&err, ERR_USAGE, "line %d: %s", 3, "what?"), -1);
    assert_string_equal(err.text, "line 3: what?");
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(err.sys, 0);
    err_clear(&err);
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(err.text, "");
}

static void test_sys(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        enum err_code code;
    } codes[] = {{ENOENT, ERR_FAILED}, {EACCES, ERR_FAILED}, {EIO, ERR_FAILED},
        {ENOSPC, ERR_TEMPORARY}, {EDQUOT, ERR_TEMPORARY}, {EMFILE, ERR_TEMPORARY},
        {ENFILE, ERR_TEMPORARY}, {ENOMEM, ERR_TEMPORARY}};
    struct err err = {0};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(err_sys(&err, codes[i].errnum, "open"), -1);
        assert_int_equal(err.code, codes[i].code);
        assert_int_equal(err.sys, codes[i].errnum);
    }
    err_sys(&err, ENOENT, "open %s", "x.php");
    assert_string_equal(err.text, "open x.php: No such file or directory");
    err_sys(&err, 99999, "strange");
    assert_memory_equal(err.text, "strange: ", 9);
}

static void test_prefix(void **state)
{
    (void)state;
    struct err err = {0};
    err_sys(&err, ENOSPC, "write");
    assert_int_equal(err_prefix(&err, "stage %s", "x.jpg"), -1);
    assert_int_equal(err_prefix(&err, "web2"), -1);
    assert_string_equal(err.text, "web2: stage x.jpg: write: No space left on device");
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_int_equal(err.sys, ENOSPC);
}

static void test_own_text_as_argument(void **state)
{
    (void)state;
    struct err err = {0};
    err_set(&err, ERR_FAILED, "inner");
    err_set(&err, ERR_REFUSED, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    err_sys(&err, EIO, "%s, then", err.text);
    assert_string_equal(err.text, "outer (inner), then: Input/output error");
    err_prefix(&err, "<%s>", err.text);
    assert_memory_equal(err.text, "<outer (inner), then: Input/output error>: outer", 48);
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    char name[3 * ERR_TEXT_MAX];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct err err = {0};
    err_set(&err, ERR_FAILED, "%s", name);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    err_sys(&err, ENOENT, "open %s", name); /* the reason is not what is cut */
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_string_equal(err.text + ERR_TEXT_MAX - 28, ": No such file or directory");
    err_prefix(&err, "web2");
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "web2: open nnn", 14);
    err_prefix(&err, "%s", name);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void test_nobody_asks(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_FAILED, "x"), -1);
    assert_int_equal(err_sys(NULL, EIO, "x"), -1);
    assert_int_equal(err_prefix(NULL, "x"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_sys),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_own_text_as_argument),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_nobody_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
