/* What a secondary has of large files: by site and path, the least recently used forgotten. */
#include "primary/push/send/bases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/mem.h"
#include "primary/push/send/base_files.h"

static struct site one = {.label = "one"}, two = {.label = "two"};

/* Of a file of this size, with these bytes in its digest. */
static struct outline *file_of(uint64_t size, uint8_t id)
{
    struct outline *k = outline_new(size);
    outline_settle(k, &(struct digest){{id}});
    return k;
}

static void put(struct bases *b, const struct site *s, const char *path, uint64_t size, uint8_t id)
{
    struct outline *k = file_of(size, id);
    bases_put(b, s, bytes_of(path), k);
    outline_unref(k);
}

/* The byte; 0: nothing is known. */
static uint8_t found(struct bases *b, const struct site *s, const char *path)
{
    struct outline *k = bases_find(b, s, bytes_of(path));
    return k ? outline_digest(k)->b[0] : 0;
}

static void test_by_site_and_path(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    assert_int_equal(found(b, &one, "a"), 0);
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    put(b, &two, "a", OUTLINE_MIN_SIZE, 2);
    put(b, &one, "b", OUTLINE_MIN_SIZE, 3);
    assert_int_equal(found(b, &one, "a"), 1);
    assert_int_equal(found(b, &two, "a"), 2);
    assert_int_equal(found(b, &one, "b"), 3);
    assert_int_equal(found(b, &two, "b"), 0);
    put(b, &one, "a", OUTLINE_MIN_SIZE + 1, 4);
    assert_int_equal(found(b, &one, "a"), 4);
    bases_put(b, &one, bytes_of("a"), NULL);
    assert_int_equal(found(b, &one, "a"), 0);
    bases_put(b, &one, bytes_of("a"), NULL);
    assert_int_equal(found(b, &two, "a"), 2);
    bases_free(b);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    uint64_t size = 4 << 20;
    size_t each = outline_memory(size);
    struct bases *b = bases_new(10 * each);
    for (uint8_t i = 1; i <= 200; i++) {
        char path[4] = {(char)('a' + i / 26), (char)('a' + i % 26)};
        put(b, &one, path, size, i);
        put(b, &one, "used", size, 255);
        assert_true(bases_memory(b) <= 10 * each);
        assert_int_equal(found(b, &one, path), i);
    }
    assert_int_equal(found(b, &one, "ab"), 0);
    assert_int_equal(found(b, &one, "used"), 255);
    bases_free(b);
}

static void test_what_is_not_worth_it(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    assert_false(bases_wants(b, OUTLINE_MIN_SIZE - 1));
    assert_true(bases_wants(b, OUTLINE_MIN_SIZE));
    assert_false(bases_wants(b, (uint64_t)1 << 30));
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    put(b, &one, "a", OUTLINE_MIN_SIZE - 1, 2); /* and what was there is not any more */
    assert_int_equal(found(b, &one, "a"), 0);
    assert_int_equal(bases_memory(b), 0);
    bases_free(b);
}

static void test_whoever_uses_it_keeps_it(void **state)
{
    (void)state;
    struct bases *b = bases_new(1 << 20);
    put(b, &one, "a", OUTLINE_MIN_SIZE, 1);
    struct outline *k = outline_ref(bases_find(b, &one, bytes_of("a")));
    put(b, &one, "a", OUTLINE_MIN_SIZE, 2);
    assert_int_equal(outline_digest(k)->b[0], 1);
    bases_free(b);
    assert_int_equal(outline_size(k), OUTLINE_MIN_SIZE);
    outline_unref(k);
}

static int make_state(void **state)
{
    static char name[64];
    struct digest nobody = {0};
    struct err err;
    strcpy(name, "/dev/shm/mirrord-bases-XXXXXX");
    *state = mkdtemp(name);
    return state_open(name, "/srv/www", &nobody, 0, &one.state, &err);
}

static int remove_state(void **state)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", (const char *)*state);
    state_close(TAKE_PTR(one.state));
    return system(command);
}

enum { LARGE = 8 << 20, PATHS = 10 };

/* Of a whole file, since one that was not read is not kept. */
static struct outline *read_file(uint64_t size, uint8_t id)
{
    uint8_t *zeros CLEANUP_FREE = mem_alloc(size);
    struct outline *k = outline_new(size);
    outline_add(k, zeros, size);
    assert_true(outline_settle(k, &(struct digest){{id}}));
    return k;
}

static void put_read(struct bases *b, const char *path, uint64_t size, uint8_t id)
{
    struct outline *k = read_file(size, id);
    bases_put(b, &one, bytes_of(path), k);
    outline_unref(k);
}

static struct bases *of_host(uint8_t host, const char *root)
{
    struct bases *b = bases_new_kept(64 << 20, &one, root);
    bases_meet(b, &(struct digest){{host}});
    return b;
}

static uint8_t recalled(uint8_t host, const char *root, const char *path)
{
    struct bases *b = of_host(host, root);
    struct outline *k = bases_recall(b, &one, bytes_of(path));
    uint8_t id = k ? outline_digest(k)->b[0] : 0;
    assert_int_equal(found(b, &one, path), id); /* in memory by now */
    bases_free(b);
    return id;
}

/* A run's, and the next one's. */
static void test_kept_between_runs(void **state)
{
    (void)state;
    assert_int_equal(recalled(2, "/srv", "a"), 0);
    struct bases *b = of_host(2, "/srv");
    assert_true(bases_wants(b, LARGE));
    assert_false(bases_wants(b, LARGE - 1));
    put_read(b, "a", LARGE, 1);
    put_read(b, "small", LARGE - 1, 2);
    put_read(b, "b", LARGE, 3);
    assert_int_equal(bases_memory(b), 0); /* of what was sent */
    bases_put(b, &one, bytes_of("b"), NULL);
    bases_free(b);
    assert_int_equal(recalled(2, "/srv", "a"), 1);
    assert_int_equal(recalled(2, "/srv", "small"), 0);
    assert_int_equal(recalled(2, "/srv", "b"), 0);
    assert_int_equal(recalled(2, "/sr", "va"), 0);
    assert_int_equal(recalled(3, "/srv", "a"), 0);
    b = of_host(2, "/srv");
    put_read(b, "a", LARGE + 1, 4);
    bases_free(b);
    assert_int_equal(recalled(2, "/srv", "a"), 4);
}

static struct base_files *files_of_host(void)
{
    struct base_files *f = base_files_new(one.state, "/srv");
    base_files_meet(f, &(struct digest){{2}});
    return f;
}

static unsigned count_kept(void)
{
    char *command CLEANUP_FREE =
        mem_format("exit $(ls -A %s/outlines | wc -l)", state_path(one.state));
    return (unsigned)WEXITSTATUS(system(command));
}

/* The last ones stay, and nothing of a run that was killed within one. */
static void test_the_disk_is_bounded(void **state)
{
    (void)state;
    struct outline *k = read_file(LARGE, 1);
    size_t each = outline_memory(LARGE); /* somewhat more than on the disk */
    for (char path[] = "a"; path[0] < 'a' + PATHS; path[0]++) {
        struct base_files *f = files_of_host();
        base_files_save(f, bytes_of(path), k);
        base_files_free(f, 4 * each);
    }
    assert_int_equal(count_kept(), 4);
    assert_int_equal(recalled(2, "/srv", "f"), 0);
    assert_int_equal(recalled(2, "/srv", "g"), 1);
    assert_int_equal(recalled(2, "/srv", "j"), 1);
    char *left CLEANUP_FREE = mem_format("touch %s/outlines/x.new", state_path(one.state));
    assert_int_equal(system(left), 0);
    struct base_files *f = files_of_host();
    base_files_free(f, each); /* which has written nothing */
    assert_int_equal(count_kept(), 5);
    f = files_of_host();
    base_files_save(f, bytes_of("z"), k);
    base_files_free(f, 2 * each);
    assert_int_equal(count_kept(), 2);
    outline_unref(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_site_and_path),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_what_is_not_worth_it),
        cmocka_unit_test(test_whoever_uses_it_keeps_it),
        cmocka_unit_test_setup_teardown(test_kept_between_runs, make_state, remove_state),
        cmocka_unit_test_setup_teardown(test_the_disk_is_bounded, make_state, remove_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
