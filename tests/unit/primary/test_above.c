/* One directory kept open: for its own paths, until it is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "primary/push/send/above.h"

static void test_it_is_kept_for_its_own(void **state)
{
    char dir[] = "/tmp/mirrord-test-XXXXXX", name[PATH_NAME_MAX + 1];
    struct root *root;
    struct err err;
    struct above a = {.fd = -1};
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(root_open(dir, &root, &err), 0);
    assert_int_equal(mkdirat(root_fd(root), "a", 0700), 0);
    assert_int_equal(mkdirat(root_fd(root), "ab", 0700), 0);

    assert_false(above_is_kept(&a, root, bytes_of("a/x")));
    int fd = above_open(&a, root, bytes_of("a/x"), name);
    assert_true(fd >= 0);
    assert_string_equal(name, "x");
    assert_true(above_is_kept(&a, root, bytes_of("a/y")));
    assert_false(above_is_kept(&a, root, bytes_of("ab/y")));
    assert_false(above_is_kept(&a, root, bytes_of("a/b/y")));
    assert_false(above_is_kept(&a, root, bytes_of("y")));
    assert_int_equal(above_open(&a, root, bytes_of("a/yy"), name), fd);
    assert_string_equal(name, "yy");

    assert_true(above_open(&a, root, bytes_of("top"), name) >= 0);
    assert_string_equal(name, "top");
    assert_true(above_is_kept(&a, root, bytes_of("other")));
    assert_int_equal(above_open(&a, root, bytes_of("none/x"), name), -1);
    assert_false(above_is_kept(&a, root, bytes_of("none/x")));

    above_forget(&a);
    assert_false(above_is_kept(&a, root, bytes_of("other")));
    above_forget(&a);
    assert_int_equal(unlinkat(root_fd(root), "a", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(root_fd(root), "ab", AT_REMOVEDIR), 0);
    root_close(root);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_it_is_kept_for_its_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
