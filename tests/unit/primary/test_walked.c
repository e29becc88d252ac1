/* What a walk changed: the first state of each path, in order; what lies in a new directory is part
 * of that; a directory that went, or too much, and it says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "primary/walked.h"

struct fixture {
    char dir[64];
    struct manifest *manifest;
    struct walked *walked;
};

static const struct record file = {.entry = {.type = ENTRY_FILE, .mode = 0644, .size = 7}},
                           other = {.entry = {.type = ENTRY_FILE, .mode = 0600, .size = 9}},
                           dir = {.entry = {.type = ENTRY_DIR, .mode = 0755}};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct digest filter = {{0}};
    struct err err;
    bool fresh;
    strcpy(f->dir, "/tmp/mirrord-walked-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(manifest_open(f->dir, &filter, &f->manifest, &fresh, &err), 0);
    f->walked = walked_begin(f->manifest, &err);
    assert_non_null(f->walked);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    walked_free(f->walked);
    manifest_close(f->manifest);
    char *all CLEANUP_FREE = mem_format("rm -rf %s", f->dir);
    assert_int_equal(system(all), 0);
    free(f);
    return 0;
}

static void add(
    struct fixture *f, const char *path, const struct record *before, const struct record *after)
{
    walked_add(f->walked, bytes_of(path), before, after);
}

/* The paths in order, each with the size it had, or - for none. */
static void expect(struct fixture *f, const char *want)
{
    char got[256] = "";
    struct walked_change c;
    for (const void *at = NULL; (at = walked_next(f->walked, at, &c));) {
        size_t n = strlen(got);
        if (c.was)
            snprintf(got + n, sizeof got - n, "%.*s:%d ", (int)c.path.len,
                (const char *)c.path.data, (int)c.before.size);
        else
            snprintf(
                got + n, sizeof got - n, "%.*s:- ", (int)c.path.len, (const char *)c.path.data);
    }
    assert_string_equal(got, want);
}

static void test_the_first_state_counts(void **state)
{
    struct fixture *f = *state;
    expect(f, "");
    add(f, "", &dir, &dir); /* the root itself is compared by itself */
    add(f, "b", &file, &other);
    add(f, "a/c", NULL, &file);
    add(f, "b", &other, NULL);
    add(f, "a/c", &file, &other);
    add(f, "a", &dir, &dir);
    expect(f, "b:7 a/c:- a:0 ");
    assert_non_null(walked_sums(f->walked));
}

static void test_what_lies_in_a_new_directory(void **state)
{
    struct fixture *f = *state;
    add(f, "new", NULL, &dir);
    add(f, "new/sub", NULL, &dir);
    add(f, "new/file", NULL, &file);
    add(f, "new/sub/file", NULL, &file);
    add(f, "new/sub/file", &file, &other);
    add(f, "newer", NULL, &file);
    expect(f, "new:- newer:- ");
    assert_non_null(walked_sums(f->walked));
}

static void test_a_directory_that_went(void **state)
{
    struct fixture *f = *state;
    add(f, "a", NULL, &file);
    add(f, "gone", &dir, NULL);
    assert_null(walked_sums(f->walked));
    add(f, "b", NULL, &file); /* is no longer of interest */
    assert_null(walked_sums(f->walked));
}

static void test_a_directory_for_a_file(void **state)
{
    struct fixture *f = *state;
    add(f, "x", &file, &dir);
    assert_null(walked_sums(f->walked));
}

static void test_a_file_for_a_directory(void **state)
{
    struct fixture *f = *state;
    add(f, "x", &dir, &file);
    assert_null(walked_sums(f->walked));
}

static void test_too_much(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (int i = 0; i < WALKED_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        add(f, name, NULL, &file);
    }
    assert_non_null(walked_sums(f->walked));
    add(f, "0", &file, &other); /* known */
    assert_non_null(walked_sums(f->walked));
    add(f, "one more", NULL, &file);
    assert_null(walked_sums(f->walked));
}

static void test_too_many_bytes(void **state)
{
    struct fixture *f = *state;
    char name[4001];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (int i = 0; walked_sums(f->walked); i++) {
        assert_true(i < WALKED_MAX / 3);
        name[0] = (char)('a' + i % 26);
        name[1] = (char)('a' + i / 26 % 26);
        name[2] = (char)('a' + i / 676);
        walked_add(f->walked, (struct bytes){name, sizeof name - 1}, NULL, &file);
    }
}

/* What is kept is not the walk's memory. */
static void test_entries_are_copied(void **state)
{
    struct fixture *f = *state;
    char target[] = "elsewhere", owner[] = "www-data";
    struct record link = {.entry = {.type = ENTRY_LINK, .mode = 0777}};
    link.entry.target = bytes_of(target);
    link.entry.owner = link.entry.group = bytes_of(owner);
    add(f, "link", &link, NULL);
    memset(target, 'x', sizeof target - 1);
    memset(owner, 'x', sizeof owner - 1);
    struct walked_change c;
    assert_non_null(walked_next(f->walked, NULL, &c));
    assert_true(c.was && c.before.type == ENTRY_LINK);
    assert_true(bytes_equal(c.before.target, bytes_of("elsewhere")));
    assert_true(bytes_equal(c.before.owner, bytes_of("www-data")));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_the_first_state_counts),
        WITH(test_what_lies_in_a_new_directory),
        WITH(test_a_directory_that_went),
        WITH(test_a_directory_for_a_file),
        WITH(test_a_file_for_a_directory),
        WITH(test_too_much),
        WITH(test_too_many_bytes),
        WITH(test_entries_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
