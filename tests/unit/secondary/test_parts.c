/* Parts of large files: found by their path, the larger of two, not too many, not for too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/confine/outside.h"
#include "secondary/stage/parts.h"
#include "secondary/stage/reap.h"

struct place {
    char dir[64], name[PATH_NAME_MAX + 1];
    struct root *root;
    struct stage *stage;
};

static time_t later; /* how far the clock is ahead */

time_t __real_time(time_t *t);
time_t __wrap_time(time_t *t);
time_t __wrap_time(time_t *t)
{
    return __real_time(t) + later;
}

static void new_session(struct place *p)
{
    struct err err;
    if (p->stage) {
        struct outside_direct direct = {0};
        struct outside outside = outside_direct(&direct);
        reap_begin(p->stage, &outside);
        while (reap_some(p->stage, 5))
            continue;
        stage_close(p->stage);
        assert_int_equal(stage_find(p->root, p->name, &p->stage, &err), 1);
    } else {
        assert_int_equal(stage_make(p->root, p->name, &p->stage, &err), 0);
    }
    parts_find(p->stage);
}

static int setup(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    char path[80];
    later = 0;
    strcpy(p->dir, "/dev/shm/mirrord-parts-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(path, sizeof path, "%s/root", p->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(root_open(path, &p->root, &err), 0);
    new_session(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[100];
    stage_close(p->stage);
    root_close(p->root);
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

/* Something staged for this path, of this size, under its part's name or (other) another. */
static struct bytes stage_file(struct place *p, const char *path, off_t size, bool other)
{
    static char name[STAGE_NAME_MAX];
    size_t n =
        other ? stage_new_name(p->stage, 'n', name) : parts_name(p->stage, bytes_of(path), name);
    int fd = openat(root_fd(p->stage->root), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
    return (struct bytes){name, n};
}

static off_t size_of(struct place *p, const char *path)
{
    struct stat st;
    int fd = parts_open(p->stage, bytes_of(path), &st);
    if (fd < 0)
        return -1;
    close(fd);
    return st.st_size;
}

enum { MIB = 1024 * 1024 };

static void found_by_the_next_session(void **state)
{
    struct place *p = *state;
    stage_file(p, "a/b", 2 * MIB, false);
    stage_file(p, "small", MIB - 1, false);
    assert_int_equal(size_of(p, "a/b"), -1); /* of this session: not a part yet */
    new_session(p);
    assert_int_equal(size_of(p, "a/b"), 2 * MIB);
    assert_int_equal(size_of(p, "small"), -1);
    assert_int_equal(size_of(p, "a/c"), -1);
    parts_drop(p->stage, bytes_of("a/b"));
    assert_int_equal(size_of(p, "a/b"), -1);
    new_session(p);
    assert_int_equal(p->stage->part_count, 0);
}

static void kept_when_it_is_worth_it(void **state)
{
    struct place *p = *state;
    assert_false(parts_keep(p->stage, bytes_of("x"), stage_file(p, "x", MIB - 1, true)));
    assert_true(parts_keep(p->stage, bytes_of("x"), stage_file(p, "x", MIB, true)));
    assert_true(parts_keep(p->stage, bytes_of("y"), stage_file(p, "y", MIB, false)));
    assert_false(parts_keep(p->stage, bytes_of("z"), bytes_of("n-not-there")));
    new_session(p);
    assert_int_equal(p->stage->part_count, 2);
    assert_int_equal(size_of(p, "x"), MIB);
}

static void the_larger_of_two(void **state)
{
    struct place *p = *state;
    stage_file(p, "f", 3 * MIB, false);
    stage_file(p, "f", 5 * MIB, false);
    stage_file(p, "f", 4 * MIB, false);
    new_session(p);
    assert_int_equal(size_of(p, "f"), 5 * MIB);
    new_session(p);
    assert_int_equal(p->stage->part_count, 1);
    assert_int_equal(set_count(p->stage->dead), 0); /* the others have been removed */
}

static void not_too_many(void **state)
{
    struct place *p = *state;
    for (int i = 0; i < 3 * STAGE_PARTS_MAX; i++) {
        char path[20];
        snprintf(path, sizeof path, "file%d", i);
        stage_file(p, path, MIB + i, false);
    }
    new_session(p);
    assert_int_equal(p->stage->part_count, STAGE_PARTS_MAX);
    assert_int_equal(set_count(p->stage->dead), 2 * STAGE_PARTS_MAX);
    new_session(p);
    assert_int_equal(p->stage->part_count, STAGE_PARTS_MAX);
    assert_int_equal(set_count(p->stage->dead), 0);
    parts_drop(p->stage, (struct bytes){0});
    new_session(p);
    assert_int_equal(p->stage->part_count, 0);
}

static void not_for_more_than_a_day(void **state)
{
    struct place *p = *state;
    stage_file(p, "f", MIB, false);
    later = PARTS_AGE_S - 60;
    new_session(p);
    assert_int_equal(size_of(p, "f"), MIB);
    later = PARTS_AGE_S + 60;
    new_session(p);
    assert_int_equal(size_of(p, "f"), -1);
    assert_int_equal(set_count(p->stage->dead), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(found_by_the_next_session, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_when_it_is_worth_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_larger_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(not_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(not_for_more_than_a_day, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
