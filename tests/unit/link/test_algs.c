/* Lists of algorithm names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/ssh2/algs.h"

static void test_has(void **state)
{
    (void)state;
    assert_true(algs_has("a,bc,d", "a"));
    assert_true(algs_has("a,bc,d", "bc"));
    assert_true(algs_has("a,bc,d", "d"));
    assert_false(algs_has("a,bc,d", "b"));
    assert_false(algs_has("", "b"));
    assert_false(algs_has("a-b", "a"));
    assert_true(algs_meet("x,y", "a,y"));
    assert_false(algs_meet("x,y", "a,yy"));
    assert_false(algs_meet("", "a"));
}

static void test_keep(void **state)
{
    (void)state;
    static const char *const have[] = {"c", "a", "cc"};
    char *some CLEANUP_FREE = algs_keep("a,b,c", have, 3);
    assert_string_equal(some, "a,c");
    char *none CLEANUP_FREE = algs_keep("a,b,c", NULL, 0);
    assert_string_equal(none, "");
}

static void test_order(void **state)
{
    (void)state;
    static const char methods[] = "ed,ec,rsa-sha2-512,ssh-rsa";
    char *rsa CLEANUP_FREE = algs_order_hostkeys(methods, "ssh-rsa");
    assert_string_equal(rsa, "rsa-sha2-512,ssh-rsa,ed,ec");
    char *two CLEANUP_FREE = algs_order_hostkeys(methods, "ec,other,ec");
    assert_string_equal(two, "ec,ed,rsa-sha2-512,ssh-rsa");
    char *none CLEANUP_FREE = algs_order_hostkeys(methods, "");
    assert_string_equal(none, methods);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_has),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
