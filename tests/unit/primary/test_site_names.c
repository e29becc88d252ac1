/* Where a site's own socket is: what clients in other languages have to find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "primary/daemon/site_names.h"

static void expect(const char *dir, const char *site, const char *wanted)
{
    char *name CLEANUP_FREE = site_socket_name(dir, site);
    assert_string_equal(name, wanted);
}

static void test_names(void **state)
{
    (void)state;
    const char *run = "/run/mirrord/sites";
    char long_name[] = "a23456789.123456789.123456789.123456789.123456789.123456789.12345";
    expect(run, "example.com", "example.com");
    expect(run, ".", "site:af63a34c86018bb1");
    expect(run, "a/b", "site:e620c3190468cf61");
    assert_int_equal(strlen(long_name), 65);
    char *name CLEANUP_FREE = site_socket_name(run, long_name);
    assert_memory_equal(name, "site:", 5);
    long_name[64] = '\0';
    expect(run, long_name, long_name);
    /* All that is made of the longest directory can be connected to. */
    char dir[SITE_SOCKETS_DIR_MAX + 1] = {0};
    memset(dir, 'd', SITE_SOCKETS_DIR_MAX);
    char *deep CLEANUP_FREE = site_socket_name(dir, long_name);
    char *alias CLEANUP_FREE = site_socket_alias("/srv/www/example.com");
    assert_true(SITE_SOCKETS_DIR_MAX + 1 + strlen(deep) < 108);
    assert_true(SITE_SOCKETS_DIR_MAX + 1 + strlen(alias) < 108);
}

/* As PHP's hash("fnv1a64", …) has it. */
static void test_aliases(void **state)
{
    (void)state;
    char *root CLEANUP_FREE = site_socket_alias("/dev/shm/ct/root");
    assert_string_equal(root, "root:daaad71f83dd3903");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_aliases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
