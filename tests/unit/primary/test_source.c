/* Reading a live file: what is read is one state of it, or is said to have changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "primary/scan/source.h"
#include "tree/content/digest.h"

/* While the clock stands nothing gets another time. */
static struct timespec standing;

struct validators __real_validators_of(const struct stat *st);
struct validators __wrap_validators_of(const struct stat *st);
struct validators __wrap_validators_of(const struct stat *st)
{
    struct validators v = __real_validators_of(st);
    if (standing.tv_sec) {
        v.ctime = v.mtime = 1000;
        v.ctime_nsec = v.mtime_nsec = 4000000;
    }
    return v;
}

void __real_validators_clock(struct timespec *now);
void __wrap_validators_clock(struct timespec *now);
void __wrap_validators_clock(struct timespec *now)
{
    __real_validators_clock(now);
    if (standing.tv_sec)
        *now = standing;
}

struct fixture {
    char dir[64];
    struct root *root;
};

static int setup(void **state)
{
    static struct fixture f;
    struct err err;
    strcpy(f.dir, "/dev/shm/mirrord-test-XXXXXX");
    if (!mkdtemp(f.dir)) {
        strcpy(f.dir, "/tmp/mirrord-test-XXXXXX");
        assert_non_null(mkdtemp(f.dir));
    }
    assert_int_equal(root_open(f.dir, &f.root, &err), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlinkat(root_fd(f->root), "f", 0);
    unlinkat(root_fd(f->root), "fifo", 0);
    standing = (struct timespec){0};
    root_close(f->root);
    return rmdir(f->dir);
}

static int create(struct fixture *f, const char *text)
{
    int fd = openat(root_fd(f->root), "f", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static struct source *open_file(struct fixture *f, bool open_too, int want)
{
    struct source *s = NULL;
    struct err err;
    assert_int_equal(source_open(f->root, bytes_of("f"), open_too, &s, &err), want);
    return s;
}

static void read_all(struct source *s, const char *want)
{
    char text[64] = "";
    struct err err;
    assert_int_equal(source_read(s, text, sizeof text, &err), strlen(want));
    assert_string_equal(text, want);
    assert_int_equal(source_read(s, text, sizeof text, &err), 0);
}

static void test_one_state(void **state)
{
    struct digest want;
    struct record r = {0};
    close(create(*state, "content"));
    struct source *s = open_file(*state, false, SOURCE_OK);
    read_all(s, "content");
    assert_int_equal(source_settle(s, &r), SOURCE_OK);
    digest_of("content", 7, &want);
    assert_true(r.entry.has_digest && digest_equal(&r.entry.digest, &want));
    assert_true(r.flags & RECORD_RACY); /* made a moment ago */
    source_free(s);
}

static void test_not_racy_when_old(void **state)
{
    struct record r = {0};
    close(create(*state, "content"));
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(fstatat(root_fd(f->root), "f", &st, 0), 0);
    struct validators v = validators_of(&st);
    for (struct timespec now = {0}; validators_racy(&v, &now) || !now.tv_sec;) {
        poll(NULL, 0, 2); /* the condition is the clock's */
        validators_clock(&now);
    }
    struct source *s = open_file(f, false, SOURCE_OK);
    read_all(s, "content");
    assert_int_equal(source_settle(s, &r), SOURCE_OK);
    assert_false(r.flags & RECORD_RACY);
    source_free(s);
}

static void test_a_writer_at_opening(void **state)
{
    int writer = create(*state, "half");
    assert_null(open_file(*state, false, SOURCE_BUSY));
    struct source *s = open_file(*state, true, SOURCE_OK); /* a log that stays open */
    struct record r = {0};
    read_all(s, "half");
    assert_int_equal(source_settle(s, &r), SOURCE_OK);
    assert_true(r.flags & RECORD_RACY);
    source_free(s);
    close(writer);
}

static void test_a_writer_at_the_end(void **state)
{
    struct record r = {0};
    close(create(*state, "content"));
    struct source *s = open_file(*state, false, SOURCE_OK);
    read_all(s, "content");
    struct fixture *f = *state;
    int writer = openat(root_fd(f->root), "f", O_WRONLY);
    assert_true(writer >= 0);
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    close(writer);
    source_free(s);
}

static void test_changed_meanwhile(void **state)
{
    struct record r = {0};
    close(create(*state, "content"));
    struct source *s = open_file(*state, false, SOURCE_OK);
    read_all(s, "content");
    close(create(*state, "CONTENT"));
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    source_free(s);
}

static void test_truncated_meanwhile(void **state)
{
    struct record r = {0};
    struct err err;
    char text[64];
    close(create(*state, "content"));
    struct source *s = open_file(*state, false, SOURCE_OK);
    close(create(*state, ""));
    assert_int_equal(source_read(s, text, sizeof text, &err), 0);
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    source_free(s);
}

/* The first or the second of two leaves. */
static void read_half(struct source *s, bool second, bool leaves)
{
    static char half[DIGEST_LEAF];
    struct digest leaf;
    struct err err;
    ssize_t got = leaves ? source_read_leaf(s, second ? DIGEST_LEAF : 0, half, &leaf, &err)
                         : source_read(s, half, DIGEST_LEAF, &err);
    assert_int_equal(got, DIGEST_LEAF);
}

static void write_part(struct fixture *f, size_t at, char letter)
{
    static char part[DIGEST_LEAF];
    int fd = openat(root_fd(f->root), "f", O_RDWR | O_CREAT, 0600);
    memset(part, letter, sizeof part);
    assert_int_equal(pwrite(fd, part, sizeof part, (off_t)at), sizeof part);
    close(fd);
}

static void write_whole(struct fixture *f, char letter)
{
    write_part(f, 0, letter);
    write_part(f, DIGEST_LEAF, letter);
}

/* Half of each of two contents is not taken for one, though the times do not tell: the second was
 * written within the same tick of the clock as the first. */
static void test_written_twice_in_a_tick(void **state)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        struct record r = {0};
        write_whole(*state, 'a');
        standing = (struct timespec){1000, 5000000};
        struct source *s = open_file(*state, false, SOURCE_OK);
        read_half(s, false, leaves);
        write_whole(*state, 'b');
        read_half(s, true, leaves);
        assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
        source_free(s);
        s = open_file(*state, false, SOURCE_OK); /* and once it stays as it is: */
        read_half(s, false, leaves);
        read_half(s, true, leaves);
        assert_int_equal(source_settle(s, &r), SOURCE_OK);
        assert_true(r.flags & RECORD_RACY);
        source_free(s);
    }
}

/* Only what was read before the clock went on can be of another state than the rest. */
static void test_the_tick_ends_while_it_is_read(void **state)
{
    static const size_t late[] = {0, DIGEST_LEAF};
    for (int i = 0; i < 2; i++) {
        struct record r = {0};
        write_whole(*state, 'a');
        standing = (struct timespec){1000, 5000000};
        struct source *s = open_file(*state, false, SOURCE_OK);
        read_half(s, false, false);
        standing.tv_nsec += 2 * VALIDATORS_GRANULE_MS * 1000000;
        read_half(s, true, false);
        write_part(*state, late[i], 'b'); /* with other times, if the clock were true */
        assert_int_equal(source_settle(s, &r), i == 0 ? SOURCE_BUSY : SOURCE_OK);
        source_free(s);
    }
}

static void test_nothing_to_read(void **state)
{
    struct fixture *f = *state;
    struct source *s = NULL;
    struct err err;
    assert_int_equal(source_open(f->root, bytes_of("f"), false, &s, &err), SOURCE_GONE);
    assert_int_equal(mkfifoat(root_fd(f->root), "fifo", 0600), 0);
    assert_int_equal(source_open(f->root, bytes_of("fifo"), false, &s, &err), SOURCE_GONE);
    assert_null(s);
}

static struct source *open_seen(struct fixture *f, const struct stat *seen, int want)
{
    struct source *s = NULL;
    struct err err;
    assert_int_equal(source_open_at(root_fd(f->root), "f", seen, false, &s, &err), want);
    return s;
}

/* By its name, when it was looked at before: the end finds what was seen then, or it is busy. */
static void test_of_a_file_seen_before(void **state)
{
    struct fixture *f = *state;
    struct record r = {0};
    struct stat st;
    close(create(f, "content"));
    assert_int_equal(fstatat(root_fd(f->root), "f", &st, 0), 0);
    struct source *s = open_seen(f, &st, SOURCE_OK);
    read_all(s, "content");
    assert_int_equal(source_settle(s, &r), SOURCE_OK);
    source_free(s);

    int writer = openat(root_fd(f->root), "f", O_WRONLY);
    assert_null(open_seen(f, &st, SOURCE_BUSY));
    close(writer);

    assert_int_equal(unlinkat(root_fd(f->root), "f", 0), 0);
    assert_null(open_seen(f, &st, SOURCE_GONE));
    close(create(f, "another"));
    s = open_seen(f, &st, SOURCE_OK);
    read_all(s, "another");
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    source_free(s);

    assert_int_equal(unlinkat(root_fd(f->root), "f", 0), 0);
    assert_int_equal(mkfifoat(root_fd(f->root), "f", 0600), 0);
    assert_null(open_seen(f, &st, SOURCE_BUSY));
}

/* Leaf by leaf, some of them again: the digest is of each once. */
static void test_leaves(void **state)
{
    enum { SIZE = 2 * DIGEST_LEAF + 1000 };
    static char content[SIZE], got[DIGEST_LEAF];
    static const uint64_t order[] = {0, 0, 1, 0, 1, 2, 2, 1};
    struct fixture *f = *state;
    struct digest leaf, want;
    struct record r = {0};
    struct err err;
    uint64_t next;
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (char)(i * i / 7 + i);
    int fd = create(f, "");
    assert_int_equal(write(fd, content, SIZE), SIZE);
    close(fd);
    struct source *s = open_file(f, false, SOURCE_OK);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        uint64_t at = order[i] * DIGEST_LEAF;
        size_t n = order[i] < 2 ? DIGEST_LEAF : 1000;
        assert_int_equal(source_read_leaf(s, at, got, &leaf, &err), n);
        assert_memory_equal(got, content + at, n);
        digest_plain(got, n, &want);
        assert_true(digest_equal(&leaf, &want));
        assert_int_equal(source_all_read(s, &next), i >= 5);
    }
    assert_int_equal(source_read_again(s, SIZE - 10, got, 20, &err), 10);
    assert_memory_equal(got, content + SIZE - 10, 10);
    assert_int_equal(source_settle(s, &r), SOURCE_OK);
    digest_of(content, SIZE, &want);
    assert_true(digest_equal(&r.entry.digest, &want));
    source_free(s);
}

/* Holes are given as zeros without being read, wherever they begin and end. */
static void test_holes(void **state)
{
    enum { SIZE = 5 * DIGEST_LEAF + 4321, PIECE = 70000 };
    static uint8_t content[SIZE], got[DIGEST_LEAF];
    static const size_t data[] = {10000, 300000, 2 * DIGEST_LEAF, SIZE - 5000};
    struct fixture *f = *state;
    for (int with_end = 0; with_end < 2; with_end++) {
        int fd = create(f, "");
        memset(content, 0, sizeof content);
        assert_int_equal(ftruncate(fd, SIZE), 0);
        for (size_t i = 0; i < 3u + with_end; i++) {
            memset(content + data[i], 'x', 5000);
            assert_int_equal(pwrite(fd, content + data[i], 5000, (off_t)data[i]), 5000);
        }
        close(fd);
        struct err err;
        struct digest want, leaf;
        struct record r = {0};
        struct source *s = open_file(f, false, SOURCE_OK);
        for (size_t at = 0; at < SIZE; at += PIECE) {
            ssize_t n = SIZE - at < PIECE ? (ssize_t)(SIZE - at) : PIECE;
            assert_int_equal(source_read(s, got, PIECE, &err), n);
            assert_memory_equal(got, content + at, n);
        }
        assert_int_equal(source_settle(s, &r), SOURCE_OK);
        digest_of(content, SIZE, &want);
        assert_true(digest_equal(&r.entry.digest, &want));
        for (size_t at = 4 * DIGEST_LEAF; at > 0; at -= DIGEST_LEAF) { /* in any order */
            assert_int_equal(source_read_leaf(s, at, got, &leaf, &err), DIGEST_LEAF);
            assert_memory_equal(got, content + at, DIGEST_LEAF);
        }
        source_free(s);
    }
}

/* What was a hole is none any more, or beyond the end. */
static void test_a_hole_that_goes(void **state)
{
    struct fixture *f = *state;
    static uint8_t got[DIGEST_LEAF];
    struct err err;
    struct record r = {0};
    int fd = create(f, "");
    assert_int_equal(ftruncate(fd, 4 * DIGEST_LEAF), 0);
    struct source *s = open_file(f, true, SOURCE_OK);
    assert_int_equal(source_read(s, got, DIGEST_LEAF, &err), DIGEST_LEAF);
    assert_int_equal(pwrite(fd, "data", 4, 2 * DIGEST_LEAF), 4);
    while (source_read(s, got, DIGEST_LEAF, &err) > 0)
        ;
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    source_free(s);
    s = open_file(f, true, SOURCE_OK);
    assert_int_equal(ftruncate(fd, 10), 0);
    while (source_read(s, got, DIGEST_LEAF, &err) > 0)
        ;
    assert_int_equal(source_settle(s, &r), SOURCE_BUSY);
    source_free(s);
    close(fd);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_one_state),
        T(test_not_racy_when_old),
        T(test_a_writer_at_opening),
        T(test_a_writer_at_the_end),
        T(test_changed_meanwhile),
        T(test_truncated_meanwhile),
        T(test_written_twice_in_a_tick),
        T(test_the_tick_ends_while_it_is_read),
        T(test_nothing_to_read),
        T(test_of_a_file_seen_before),
        T(test_leaves),
        T(test_holes),
        T(test_a_hole_that_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
