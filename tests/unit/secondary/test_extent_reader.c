/* The threads that read an old file: what they tell, copy by the way, and copy when they are asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "secondary/stage/extent_reader.h"
#include "tree/content/digest.h"

enum { EXTENTS = 40, SIZE = EXTENTS * MSG_EXTENT + 1000 };

static uint8_t *old;

static int prepare(void **state)
{
    (void)state;
    uint32_t x = 1;
    old = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        old[i] = (uint8_t)(x >> 24);
    }
    return 0;
}

static int forget(void **state)
{
    (void)state;
    free(old);
    return 0;
}

static int file_of(const void *bytes, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (n)
        assert_int_equal(io_pwrite_full(fd, bytes, n, 0), 0);
    return fd;
}

static void read_all(struct extent_reader *r)
{
    bool all = false;
    struct err err;
    while (!all)
        assert_true(extent_reader_ready(r, &all, &err) >= 0);
}

/* The first of those under way: what is at `to` is what was at `from`. */
static void expect_copy(struct extent_reader *r, int fd, uint64_t from, uint64_t to)
{
    static uint8_t bytes[MSG_EXTENT];
    struct digest got, wanted;
    struct err err;
    extent_reader_copy_wait(r);
    assert_int_equal(extent_reader_copy_done(r, &got, &err), 1);
    digest_plain(old + from, MSG_EXTENT, &wanted);
    assert_memory_equal(&got, &wanted, sizeof got);
    assert_int_equal(io_pread_full(fd, bytes, MSG_EXTENT, to), MSG_EXTENT);
    assert_memory_equal(bytes, old + from, MSG_EXTENT);
}

/* Shifted, as behind an insertion: more leaves than may be under way at once. */
static void test_copies(void **state)
{
    (void)state;
    enum { SHIFT = 777, FIRST = 2 };
    int from = file_of(old, SIZE), to = file_of(NULL, 0);
    struct extent_reader *r = extent_reader_new(from, to, false, SIZE, SIZE);
    struct digest digest;
    struct err err;
    extent_reader_give_way(r, SIZE);
    assert_int_equal(extent_reader_copy_done(r, &digest, &err), 0);
    unsigned asked = FIRST, done = FIRST;
    while (done < EXTENTS) {
        while (asked < EXTENTS &&
               extent_reader_copy(r, (uint64_t)asked * MSG_EXTENT + SHIFT - MSG_EXTENT,
                   (uint64_t)asked * MSG_EXTENT))
            asked++;
        assert_true(asked - done <= EXTENT_COPIES);
        expect_copy(
            r, to, (uint64_t)done * MSG_EXTENT + SHIFT - MSG_EXTENT, (uint64_t)done * MSG_EXTENT);
        done++;
    }
    assert_int_equal(extent_reader_copy_done(r, &digest, &err), 0);
    extent_reader_free(r);
    close(from);
    close(to);
}

/* The threads are there for copies when all has been read. */
static void test_copies_at_the_end(void **state)
{
    (void)state;
    int from = file_of(old, SIZE), to = file_of(NULL, 0);
    struct extent_reader *r = extent_reader_new(from, to, false, SIZE, SIZE);
    struct digest digest;
    read_all(r);
    assert_true(extent_reader_copied(r, MSG_EXTENT, &digest));
    assert_true(extent_reader_copy(r, 5, 0));
    expect_copy(r, to, 5, 0);
    extent_reader_free(r);
    close(from);
    close(to);
}

static void test_copy_beyond_the_end(void **state)
{
    (void)state;
    int from = file_of(old, SIZE), to = file_of(NULL, 0);
    struct extent_reader *r = extent_reader_new(from, to, false, SIZE, SIZE);
    struct digest digest;
    struct err err;
    assert_true(extent_reader_copy(r, SIZE - 10, 0));
    extent_reader_copy_wait(r);
    assert_int_equal(extent_reader_copy_done(r, &digest, &err), -1);
    assert_string_equal(err.text, "the old file became shorter");
    extent_reader_free(r);
    close(from);
    close(to);
}

/* Freed with copies under way. */
static void test_left(void **state)
{
    (void)state;
    int from = file_of(old, SIZE), to = file_of(NULL, 0);
    struct extent_reader *r = extent_reader_new(from, to, true, SIZE, SIZE);
    for (unsigned i = 0; i < EXTENT_COPIES; i++)
        extent_reader_copy(r, i, (uint64_t)i * MSG_EXTENT);
    extent_reader_free(r);
    close(from);
    close(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_copies_at_the_end),
        cmocka_unit_test(test_copy_beyond_the_end),
        cmocka_unit_test(test_left),
    };
    return cmocka_run_group_tests(tests, prepare, forget);
}
