/* Which security label a staged inode gets. Where no security module handles them, root can set
 * any. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/stage/label.h"
#include "tree/root.h"

#define ATTRIBUTE "security.selinux"

struct place {
    char dir[64], path[128];
    struct root *root;
    bool labels; /* they can be set here */
};

static char *in_root(struct place *p, const char *name)
{
    snprintf(p->path, sizeof p->path, "%s/root%s%s", p->dir, *name ? "/" : "", name);
    return p->path;
}

static void mark(struct place *p, const char *name, const char *label)
{
    assert_int_equal(setxattr(in_root(p, name), ATTRIBUTE, label, strlen(label), 0), 0);
}

static int setup(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    strcpy(p->dir, "/dev/shm/mirrord-label-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    assert_int_equal(mkdir(in_root(p, ""), 0755), 0);
    assert_int_equal(mkdir(in_root(p, "d"), 0755), 0);
    assert_int_equal(mkdir(in_root(p, "d/sub"), 0755), 0);
    int fd = creat(in_root(p, "d/f"), 0600);
    assert_true(fd >= 0);
    p->labels = fsetxattr(fd, ATTRIBUTE, "f", 1, 0) == 0 && fremovexattr(fd, ATTRIBUTE) == 0;
    close(fd);
    assert_int_equal(root_open(in_root(p, ""), &p->root, &err), 0);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[128];
    root_close(p->root);
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    int bad = system(command);
    free(p);
    return bad;
}

static void label_all(struct place *p)
{
    if (!p->labels)
        skip();
    mark(p, "", "root");
    mark(p, "d", "of d");
    mark(p, "d/f", "of f");
    mark(p, "d/sub", "of sub");
}

/* A new file or directory beside the root, which is the caller's to close. */
static int staged(struct place *p, bool dir)
{
    snprintf(p->path, sizeof p->path, "%s/staged", p->dir);
    remove(p->path);
    if (dir)
        assert_int_equal(mkdir(p->path, 0700), 0);
    int fd = open(p->path, dir ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void assert_label(int fd, const char *want)
{
    char got[64] = "";
    ssize_t n = fgetxattr(fd, ATTRIBUTE, got, sizeof got - 1);
    assert_int_equal(n, strlen(want));
    assert_string_equal(got, want);
}

static void assert_placed(struct place *p, const char *path, bool dir, const char *want)
{
    struct label l = label_of(root_fd(p->root));
    int fd CLEANUP_FD = staged(p, dir);
    assert_true(l.used);
    label_place(&l, p->root, (struct bytes){path, strlen(path)}, fd);
    assert_label(fd, want);
    assert_false(l.told);
}

static void what_it_replaces_or_the_nearest_above(void **state)
{
    struct place *p = *state;
    label_all(p);
    assert_placed(p, "d/f", false, "of f");
    assert_placed(p, "d/new", false, "of d");
    assert_placed(p, "d/sub/new", false, "of sub");
    assert_placed(p, "d/not/there/yet", false, "of d");
    assert_placed(p, "new", false, "root");
    assert_placed(p, "not/there", true, "root");
    assert_placed(p, "d/sub", true, "of sub");
    assert_placed(p, "d/f", true, "of d"); /* something else is there now */
    assert_placed(p, "d/sub", false, "of d");
}

static void a_directory_by_its_name(void **state)
{
    struct place *p = *state;
    label_all(p);
    struct label l = label_of(root_fd(p->root));
    int fd CLEANUP_FD = staged(p, true), above CLEANUP_FD = open(p->dir, O_RDONLY | O_DIRECTORY);
    label_place_directory(&l, p->root, (struct bytes){"d/new", 5}, above, "staged");
    assert_label(fd, "of d");
    assert_int_equal(label_copy(root_fd(p->root), fd), 0);
    assert_label(fd, "root");
}

static void nothing_where_there_are_no_labels(void **state)
{
    struct place *p = *state;
    struct label l = label_of(root_fd(p->root));
    int fd CLEANUP_FD = staged(p, false);
    char got[64];
    if (l.used)
        skip(); /* a security module gives every file one */
    label_place(&l, p->root, (struct bytes){"d/f", 3}, fd);
    assert_int_equal(label_copy(root_fd(p->root), fd), 0);
    assert_int_equal(fgetxattr(fd, ATTRIBUTE, got, sizeof got), -1);
}

static void what_cannot_be_set_is_said(void **state)
{
    struct place *p = *state;
    label_all(p);
    struct label l = label_of(root_fd(p->root));
    int fd CLEANUP_FD = staged(p, false);
    assert_int_equal(seteuid(65534), 0);
    label_place(&l, p->root, (struct bytes){"d/f", 3}, fd);
    assert_int_equal(seteuid(0), 0);
    assert_true(l.told);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_it_replaces_or_the_nearest_above),
        T(a_directory_by_its_name),
        T(nothing_where_there_are_no_labels),
        T(what_cannot_be_set_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
