#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "scratch.h"
#include "tree/root.h"

struct place {
    char *path; /* holds tree/ and outside/ */
    int fd;
    struct root *root; /* of tree/ */
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    p->path = scratch_new();
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *tree CLEANUP_FREE = mem_format("%s/tree", p->path);
    bool good =
        mkdirat(p->fd, "tree", 0755) == 0 && mkdirat(p->fd, "tree/a", 0755) == 0 &&
        mkdirat(p->fd, "tree/a/b", 0755) == 0 && mkdirat(p->fd, "outside", 0755) == 0 &&
        scratch_write(p->fd, "tree/a/file", "hello") &&
        scratch_write(p->fd, "outside/secret", "secret") &&
        symlinkat("../outside", p->fd, "tree/out") == 0 && symlinkat("a", p->fd, "tree/in") == 0 &&
        symlinkat("a/file", p->fd, "tree/to-file") == 0 && mkfifoat(p->fd, "tree/fifo", 0600) == 0;
    *state = p;
    return good ? root_open(tree, &p->root, &err) : -1;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    root_close(p->root);
    close(p->fd);
    scratch_free(p->path);
    free(p);
    return 0;
}

static void assert_refused(int fd, int errnum)
{
    int error = errno;
    assert_int_equal(fd, -1);
    assert_int_equal(error, errnum);
}

static void test_open_dir(void **state)
{
    struct place *p = *state;
    struct stat a, b;
    int fd = root_open_dir(p->root, bytes_of("a/b"));
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(fstatat(p->fd, "tree/a/b", &b, 0), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    close(fd);
    fd = root_open_dir(p->root, bytes_of(""));
    assert_true(fd >= 0 && fd != root_fd(p->root));
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(fstat(root_fd(p->root), &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    close(fd);
    assert_refused(root_open_dir(p->root, bytes_of("a/file")), ENOTDIR);
    assert_refused(root_open_dir(p->root, bytes_of("a/missing")), ENOENT);
}

static void test_links_are_not_followed(void **state)
{
    struct place *p = *state;
    struct stat st;
    char name[PATH_NAME_MAX + 1];
    assert_refused(root_open_dir(p->root, bytes_of("out")), ELOOP);
    assert_refused(root_open_dir(p->root, bytes_of("in")), ELOOP);
    assert_refused(root_open_dir(p->root, bytes_of("in/b")), ELOOP);
    assert_refused(root_open_file(p->root, bytes_of("out/secret"), &st), ELOOP);
    assert_refused(root_open_file(p->root, bytes_of("to-file"), &st), ELOOP);
    assert_refused(root_open_parent(p->root, bytes_of("out/secret"), name), ELOOP);
    assert_refused(root_stat(p->root, bytes_of("out/secret"), &st), ELOOP);
    assert_int_equal(root_stat(p->root, bytes_of("out"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = {"..", "a/..", "a/../../outside", "/etc", "a//b", "a/", ".",
        "./a", PATH_RESERVED "x", "a/" PATH_RESERVED "x"};
    struct place *p = *state;
    struct stat st;
    char name[PATH_NAME_MAX + 1];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(root_open_dir(p->root, bytes_of(bad[i])), EINVAL);
        assert_refused(root_open_file(p->root, bytes_of(bad[i]), &st), EINVAL);
        assert_refused(root_open_parent(p->root, bytes_of(bad[i]), name), EINVAL);
        assert_refused(root_borrow_parent(p->root, bytes_of(bad[i]), name), EINVAL);
        assert_refused(root_stat(p->root, bytes_of(bad[i]), &st), EINVAL);
    }
    assert_refused(root_open_parent(p->root, (struct bytes){0}, name), EINVAL);
    assert_refused(root_open_dir(p->root, (struct bytes){"a\0b", 3}), EINVAL);
}

static void test_files(void **state)
{
    struct place *p = *state;
    struct stat st;
    char text[6] = "";
    int fd = root_open_file(p->root, bytes_of("a/file"), &st);
    assert_true(fd >= 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(io_pread_full(fd, text, 5, 0), 5);
    assert_string_equal(text, "hello");
    close(fd);
    assert_refused(root_open_file(p->root, bytes_of("fifo"), &st), ENXIO);
    assert_refused(root_open_file(p->root, bytes_of("a"), &st), ENXIO);
    assert_refused(root_open_file(p->root, bytes_of("a/none"), &st), ENOENT);
    assert_int_equal(root_stat(p->root, bytes_of("a/file"), &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(root_stat(p->root, bytes_of(""), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_refused(root_stat(p->root, bytes_of("a/none"), &st), ENOENT);
}

static void test_parents(void **state)
{
    struct place *p = *state;
    struct stat st;
    char name[PATH_NAME_MAX + 1];
    int fd = root_open_parent(p->root, bytes_of("a/file"), name);
    assert_true(fd >= 0);
    assert_string_equal(name, "file");
    assert_int_equal(fstatat(fd, name, &st, 0), 0);
    close(fd);
    assert_int_equal(root_borrow_parent(p->root, bytes_of("top"), name), root_fd(p->root));
    assert_string_equal(name, "top");
    fd = root_borrow_parent(p->root, bytes_of("a/b/new"), name);
    assert_int_equal(root_borrow_parent(p->root, bytes_of("a/b/other"), name), fd);
    assert_string_equal(name, "other");
    /* Forgotten, the path is looked up anew. */
    assert_int_equal(renameat(p->fd, "tree/a/b", p->fd, "tree/a/c"), 0);
    assert_int_equal(root_borrow_parent(p->root, bytes_of("a/b/other"), name), fd);
    root_forget(p->root);
    assert_refused(root_borrow_parent(p->root, bytes_of("a/b/other"), name), ENOENT);
    assert_true(root_borrow_parent(p->root, bytes_of("a/c/x"), name) >= 0);
}

static void test_more_parents_than_kept(void **state)
{
    struct place *p = *state;
    char path[64], name[PATH_NAME_MAX + 1];
    struct stat a, b;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 40; i++) {
            snprintf(path, sizeof path, "tree/d%d", i);
            assert_true(mkdirat(p->fd, path, 0755) == 0 || round == 1);
            assert_int_equal(fstatat(p->fd, path, &a, 0), 0);
            snprintf(path, sizeof path, "d%d/x", i);
            assert_int_equal(fstat(root_borrow_parent(p->root, bytes_of(path), name), &b), 0);
            assert_int_equal(a.st_ino, b.st_ino);
        }
}

static void test_longer_than_path_max(void **state)
{
    struct place *p = *state;
    char path[PATH_TOTAL_MAX + 1], name[PATH_NAME_MAX + 1];
    struct stat st;
    size_t len = 0;
    int fd = root_open_dir(p->root, bytes_of(""));
    memset(name, 'n', PATH_NAME_MAX);
    name[PATH_NAME_MAX] = '\0';
    for (int i = 0; i < 120; i++) {
        assert_int_equal(mkdirat(fd, name, 0755), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
        memcpy(path + len, name, PATH_NAME_MAX);
        len += PATH_NAME_MAX;
        path[len++] = '/';
    }
    assert_true(scratch_write(fd, "end", "deep"));
    close(fd);
    memcpy(path + len, "end", 3);
    len += 3;
    fd = root_open_file(p->root, (struct bytes){path, len}, &st);
    assert_true(fd >= 0);
    assert_int_equal(st.st_size, 4);
    close(fd);
    assert_int_equal(root_stat(p->root, (struct bytes){path, len}, &st), 0);
    fd = root_open_dir(p->root, (struct bytes){path, len - 4});
    assert_true(fd >= 0);
    close(fd);
    assert_true(root_borrow_parent(p->root, (struct bytes){path, len}, name) >= 0);
    path[len - 1] = 'x';
    assert_refused(root_stat(p->root, (struct bytes){path, len}, &st), ENOENT);
}

static void test_mount_points(void **state)
{
    struct root *r = NULL;
    struct stat st, above;
    struct err err;
    (void)state;
    if (stat("/proc/self", &st) != 0 || stat("/", &above) != 0 || st.st_dev == above.st_dev)
        skip();
    assert_int_equal(root_open("/", &r, &err), 0);
    assert_refused(root_open_dir(r, bytes_of("proc")), EXDEV);
    assert_refused(root_open_file(r, bytes_of("proc/version"), &st), EXDEV);
    assert_refused(root_stat(r, bytes_of("proc/version"), &st), EXDEV);
    root_close(r);
}

static void test_in_place(void **state)
{
    struct place *p = *state;
    assert_int_equal(root_in_place(p->root), 1);
    assert_int_equal(renameat(p->fd, "tree", p->fd, "elsewhere"), 0);
    assert_int_equal(root_in_place(p->root), 0);
    assert_int_equal(mkdirat(p->fd, "tree", 0755), 0);
    assert_int_equal(root_in_place(p->root), 0);
}

static void test_opening(void **state)
{
    struct place *p = *state;
    struct root *r = NULL;
    struct err err;
    char *link CLEANUP_FREE = mem_format("%s/tree/in/", p->path);
    char *file CLEANUP_FREE = mem_format("%s/tree/a/file", p->path);
    char *none CLEANUP_FREE = mem_format("%s/none", p->path);
    char *odd CLEANUP_FREE = mem_format("%s/tree/../tree/in/b///", p->path);
    char *plain CLEANUP_FREE = mem_format("%s/tree/a/b", p->path);
    assert_int_equal(root_open(link, &r, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_non_null(strstr(err.text, "/tree/a"));
    assert_int_equal(root_open(file, &r, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(root_open(none, &r, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_null(r);
    assert_int_equal(root_open(odd, &r, &err), 0);
    assert_string_equal(root_path(r), plain);
    root_close(r);
    root_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_dir, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_parents_than_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_longer_than_path_max, set_up, tear_down),
        cmocka_unit_test(test_mount_points),
        cmocka_unit_test_setup_teardown(test_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_opening, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
