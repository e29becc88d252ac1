/* What a root is known by, and where volumes were mounted inside it. */
#include "tree/state/rootid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scratch.h"
#include "tree/state/mounts.h"

static void another_directory_is_another(void **state)
{
    struct rootid a, b, kept;
    struct err err;
    (void)state;
    char *path = scratch_new();
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(dir, "a", 0700), 0);
    assert_int_equal(mkdirat(dir, "b", 0700), 0);
    int fa = openat(dir, "a", O_RDONLY), fb = openat(dir, "b", O_RDONLY);
    assert_int_equal(rootid_of(fa, &a, &err), 0);
    assert_int_equal(rootid_of(fb, &b, &err), 0);
    assert_false(rootid_equal(&a, &b));
    assert_int_equal(rootid_read(dir, &kept, &err), 0);
    assert_int_equal(rootid_write(dir, &a, &err), 0);
    assert_int_equal(rootid_read(dir, &kept, &err), 1);
    assert_true(rootid_equal(&a, &kept));
    assert_true(scratch_write(dir, "root", "2 1 1\n"));
    assert_int_equal(rootid_read(dir, &kept, &err), 0);
    close(fa);
    close(fb);
    close(dir);
    scratch_free(path);
}

static void mounts_come_back(void **state)
{
    struct err err;
    (void)state;
    char *path = scratch_new();
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    struct mounts *m = mounts_load(dir);
    assert_false(mounts_has(m, bytes_of("a/b")));
    mounts_note(m, bytes_of("a/b"));
    mounts_note(m, bytes_of("with\nline"));
    assert_int_equal(mounts_store(m, dir, &err), 0);
    mounts_free(m);
    m = mounts_load(dir);
    assert_true(mounts_has(m, bytes_of("a/b")));
    assert_true(mounts_has(m, bytes_of("with\nline")));
    assert_false(mounts_has(m, bytes_of("a")));
    mounts_forget_all(m);
    assert_int_equal(mounts_store(m, dir, &err), 0);
    mounts_free(m);
    m = mounts_load(dir);
    assert_false(mounts_has(m, bytes_of("a/b")));
    mounts_free(m);
    assert_false(mounts_has(NULL, bytes_of("a")));
    close(dir);
    scratch_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_directory_is_another),
        cmocka_unit_test(mounts_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
