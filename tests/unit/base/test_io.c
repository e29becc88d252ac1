/* Descriptors and small files: whole reads and writes, publishing, and how each of them fails. */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

static char *dir;
static int dirfd_;

static char calls[16]; /* f: a file was synced, r: a rename, D: a directory was synced */

static void note(char what)
{
    size_t n = strlen(calls);
    if (n < sizeof calls - 1)
        calls[n] = what;
}

int fsync(int fd)
{
    struct stat st;
    note(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'D' : 'f');
    return (int)syscall(SYS_fsync, fd);
}

int renameat(int a, const char *b, int c, const char *d)
{
    note('r');
    return (int)syscall(SYS_renameat, a, b, c, d);
}

static int setup(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    dir = strdup("/dev/shm/mirrord-io-XXXXXX");
    if (!mkdtemp(dir)) {
        free(dir);
        dir = mem_format("%s/mirrord-io-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(dir))
            return -1;
    }
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dirfd_ < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(dirfd_);
    int failed = rmdir(dir); /* every test has removed what it made */
    free(dir);
    return failed;
}

static void assert_content(const char *name, const char *expected)
{
    char *text CLEANUP_FREE = NULL;
    size_t len = 0;
    struct err err = {0};
    assert_int_equal(io_slurp(dirfd_, name, 1000, &text, &len, &err), 0);
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(expected));
}

/* Zeros take no room, and take away what was there; a few are only zeros. */
static void test_holes(void **state)
{
    (void)state;
    enum { SIZE = 256 * 1024 };
    uint8_t *bytes CLEANUP_FREE = mem_alloc(SIZE);
    uint8_t *back CLEANUP_FREE = mem_alloc(SIZE);
    struct stat st;
    int fd CLEANUP_FD = openat(dirfd_, "holes", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    unlinkat(dirfd_, "holes", 0);
    assert_true(io_is_zeros(bytes, SIZE));
    assert_true(io_is_zeros(bytes, 0));
    memset(bytes, 'x', SIZE);
    assert_false(io_is_zeros(bytes, SIZE));
    assert_int_equal(io_pwrite_sparse(fd, bytes, SIZE, 0), 0);
    memset(bytes, 0, SIZE);
    assert_int_equal(io_pwrite_sparse(fd, bytes, 10, 5), 0);
    assert_int_equal(io_pwrite_sparse(fd, bytes, SIZE / 2, SIZE / 4), 1);
    assert_int_equal(io_pread_full(fd, back, SIZE, 0), SIZE);
    assert_true(io_is_zeros(back + 5, 10));
    assert_true(io_is_zeros(back + SIZE / 4, SIZE / 2));
    assert_int_equal(back[4], 'x');
    assert_int_equal(back[SIZE / 4 - 1], 'x');
    assert_int_equal(back[SIZE / 4 * 3], 'x');
    bytes[SIZE - 1] = 1;
    assert_false(io_is_zeros(bytes, SIZE));
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_blocks * 512 <= SIZE / 2 + 8192);
}

static void test_pread(void **state)
{
    (void)state;
    int fd CLEANUP_FD = openat(dirfd_, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char text[16] = "";
    assert_int_equal(io_write_full(fd, "hello, world", 12), 0);
    assert_int_equal(io_pread_full(fd, text, 5, 7), 5);
    assert_string_equal(text, "world");
    assert_int_equal(io_pread_full(fd, text, 16, 10), 2);
    assert_int_equal(io_pread_full(fd, text, 16, 12), 0);
    assert_int_equal(io_pread_full(fd, text, 0, 0), 0);
    assert_int_equal(io_pread_full(-1, text, 1, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(io_write_full(-1, "x", 1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(unlinkat(dirfd_, "f", 0), 0);
}

static void *drain(void *arg)
{
    static char piece[100];
    size_t *total = arg;
    int fd = (int)total[1];
    for (ssize_t n; (n = read(fd, piece, sizeof piece)) > 0;)
        *total += (size_t)n;
    return NULL;
}

/* Into a pipe that takes only a part at a time. */
static void test_write_to_pipe(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    size_t total[2] = {0, (size_t)ends[0]};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, drain, total), 0);
    char *much CLEANUP_FREE = mem_alloc(300000);
    assert_int_equal(io_write_full(ends[1], much, 300000), 0);
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);
    assert_int_equal(total[0], 300000);
}

static void test_publish(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(io_publish(dirfd_, "state", "one", 3, &err), 0);
    assert_content("state", "one");
    assert_int_equal(symlinkat("/nowhere", dirfd_, "link"), 0);
    int old CLEANUP_FD = openat(dirfd_, "state", O_RDONLY | O_CLOEXEC);
    assert_int_equal(io_publish(dirfd_, "state", "two and more", 12, &err), 0);
    assert_content("state", "two and more");
    char text[8] = "";
    assert_int_equal(io_pread_full(old, text, 8, 0), 3); /* a new inode */
    assert_string_equal(text, "one");
    assert_int_equal(io_publish(dirfd_, "link", "x", 1, &err), 0); /* replaces the link itself */
    assert_content("link", "x");
    struct stat st;
    assert_int_equal(fstatat(dirfd_, "state", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(faccessat(dirfd_, "state.new", F_OK, 0), -1);
    assert_int_equal(unlinkat(dirfd_, "state", 0), 0);
    assert_int_equal(unlinkat(dirfd_, "link", 0), 0);
}

/* What a crash left under the new name neither disturbs nor shows. */
/* What a power loss leaves is the old file or the new one, whole; once it is said, the new one. */
static void test_publish_in_order(void **state)
{
    (void)state;
    struct err err;
    memset(calls, 0, sizeof calls);
    assert_int_equal(io_publish(dirfd_, "state", "one", 3, &err), 0);
    assert_string_equal(calls, "frD");
    assert_int_equal(unlinkat(dirfd_, "state", 0), 0);
}

static void test_publish_after_crash(void **state)
{
    (void)state;
    struct err err = {0};
    int fd CLEANUP_FD = openat(dirfd_, "state.new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(io_write_full(fd, "half a state, longer", 20), 0);
    assert_int_equal(io_publish(dirfd_, "state", "whole", 5, &err), 0);
    assert_content("state", "whole");
    assert_int_equal(unlinkat(dirfd_, "state", 0), 0);
}

static void test_publish_fails(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(mkdirat(dirfd_, "state", 0700), 0);
    assert_int_equal(io_publish(dirfd_, "state", "x", 1, &err), -1);
    assert_string_equal(err.text, "write state: Is a directory");
    assert_int_equal(faccessat(dirfd_, "state.new", F_OK, 0), -1); /* nothing stays behind */
    assert_int_equal(unlinkat(dirfd_, "state", AT_REMOVEDIR), 0);
    assert_int_equal(io_publish(dirfd_, "no/state", "x", 1, &err), -1);
    assert_string_equal(err.text, "create no/state.new: No such file or directory");
    assert_int_equal(symlinkat("elsewhere", dirfd_, "state.new"), 0);
    assert_int_equal(io_publish(dirfd_, "state", "x", 1, &err), -1);
    assert_int_equal(err.sys, ELOOP); /* does not write through a link */
    assert_int_equal(unlinkat(dirfd_, "state.new", 0), 0);
}

static void test_slurp(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 99;
    struct err err = {0};
    assert_int_equal(io_slurp(dirfd_, "missing", 10, &text, &len, &err), 1);
    assert_null(text);
    assert_int_equal(len, 99);
    assert_int_equal(io_publish(dirfd_, "f", "0123456789", 10, &err), 0);
    assert_int_equal(io_slurp(dirfd_, "f", 9, &text, &len, &err), -1);
    assert_string_equal(err.text, "f is longer than 9 bytes");
    assert_null(text);
    assert_int_equal(io_slurp(dirfd_, "f", 10, &text, NULL, &err), 0);
    assert_string_equal(text, "0123456789");
    free(text);
    assert_int_equal(io_slurp(dirfd_, ".", 10, &text, &len, &err), -1);
    assert_string_equal(err.text, "read .: Is a directory");
    assert_int_equal(io_slurp(dirfd_, "f/g", 10, &text, &len, &err), -1);
    assert_string_equal(err.text, "open f/g: Not a directory");
    assert_int_equal(symlinkat("f", dirfd_, "link"), 0);
    assert_int_equal(io_slurp(dirfd_, "link", 10, &text, NULL, &err), -1);
    assert_int_equal(err.sys, ELOOP); /* who may write there must not have it read elsewhere */
    assert_int_equal(unlinkat(dirfd_, "link", 0) | unlinkat(dirfd_, "f", 0), 0);
}

/* Around the sizes at which it asks for more memory; the bound holds at each. */
static void test_slurp_grows(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 4095, 4096, 4097, 8191, 8192, 8193, 100000};
    char *content CLEANUP_FREE = mem_alloc(100000);
    for (size_t i = 0; i < 100000; i++)
        content[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct err err = {0};
        assert_int_equal(io_publish(dirfd_, "f", content, sizes[i], &err), 0);
        for (size_t spare = 0; spare <= 1; spare++) {
            char *text CLEANUP_FREE = NULL;
            size_t len = 0;
            assert_int_equal(io_slurp(dirfd_, "f", sizes[i] + spare, &text, &len, &err), 0);
            assert_int_equal(len, sizes[i]);
            assert_memory_equal(text, content, len);
            assert_int_equal(text[len], '\0');
        }
        char *none = NULL;
        if (sizes[i] > 0)
            assert_int_equal(io_slurp(dirfd_, "f", sizes[i] - 1, &none, NULL, &err), -1);
        assert_null(none);
    }
    assert_int_equal(unlinkat(dirfd_, "f", 0), 0);
}

/* As a shell's <(…) gives it. */
static void test_slurp_pipe(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(io_write_full(ends[1], "piped", 5), 0);
    char *name CLEANUP_FREE = mem_format("/proc/self/fd/%d", ends[0]);
    close(ends[1]);
    char *text CLEANUP_FREE = NULL;
    struct err err = {0};
    assert_int_equal(io_slurp(AT_FDCWD, name, 100, &text, NULL, &err), 0);
    assert_string_equal(text, "piped");
    close(ends[0]);
}

static int make_beneath(const char *path, struct err *err)
{
    char *whole CLEANUP_FREE = mem_format("%s/%s", dir, path);
    return io_make_path(whole, 0700, err);
}

static void test_make_path(void **state)
{
    (void)state;
    struct err err = {0};
    struct stat st;
    assert_int_equal(make_beneath("a//b/c/", &err), 0);
    assert_int_equal(make_beneath("a/b/c", &err), 0);
    assert_int_equal(fstatat(dirfd_, "a/b/c", &st, 0), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(io_make_path("/", 0700, &err), 0);
    assert_int_equal(io_publish(dirfd_, "a/file", "", 0, &err), 0);
    assert_int_equal(make_beneath("a/file", &err), -1);
    assert_int_equal(err.sys, ENOTDIR);
    assert_int_equal(make_beneath("a/file/x", &err), -1);
    assert_int_equal(err.sys, ENOTDIR);
    assert_int_equal(symlinkat("b", dirfd_, "a/link"), 0);
    assert_int_equal(make_beneath("a/link/d", &err), 0); /* links to directories are fine */
    assert_int_equal(symlinkat("nowhere", dirfd_, "a/dangling"), 0);
    assert_int_equal(make_beneath("a/dangling", &err), -1);
    assert_int_equal(unlinkat(dirfd_, "a/dangling", 0), 0);
    assert_int_equal(unlinkat(dirfd_, "a/link", 0), 0);
    assert_int_equal(unlinkat(dirfd_, "a/file", 0), 0);
    assert_int_equal(unlinkat(dirfd_, "a/b/d", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dirfd_, "a/b/c", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dirfd_, "a/b", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dirfd_, "a", AT_REMOVEDIR), 0);
}

static void test_make_path_empty(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(io_make_path("", 0700, &err), -1);
    assert_int_equal(err.sys, ENOENT);
}

static void test_nonblock(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(io_nonblock(ends[0]), 0);
    assert_int_equal(read(ends[0], &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(io_nonblock(-1), -1);
}

static void test_clock_and_random(void **state)
{
    (void)state;
    uint64_t us = io_now_us(), ms = io_now_ms();
    assert_true(ms >= us / 1000);
    assert_true(io_now_us() >= us && io_now_ms() - ms < 60000);
    uint8_t a[1000] = {0}, b[1000] = {0};
    io_random(a, sizeof a);
    io_random(b, sizeof b);
    io_random(b, 0);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 984, (uint8_t[16]){0}, 16); /* to the last byte */
}

static void test_path_beneath(void **state)
{
    (void)state;
    assert_string_equal(io_path_beneath("/srv/www/a/b", "/srv/www"), "a/b");
    assert_string_equal(io_path_beneath("/srv/www", "/srv/www"), "");
    assert_string_equal(io_path_beneath("/srv/www//a", "/srv/www"), "a");
    assert_null(io_path_beneath("/srv/www-other", "/srv/www"));
    assert_null(io_path_beneath("/srv", "/srv/www"));
    assert_null(io_path_beneath("srv/www", "/srv/www"));
    assert_string_equal(io_path_beneath("/srv", "/"), "srv");
    assert_string_equal(io_path_beneath("/", "/"), "");
}

static void test_hex(void **state)
{
    (void)state;
    char out[2 * 4 + 1];
    io_hex("\x00\x9f\xa0\xff", 4, out);
    assert_string_equal(out, "009fa0ff");
    io_hex(NULL, 0, out);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_pread),
        cmocka_unit_test(test_write_to_pipe),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_publish_in_order),
        cmocka_unit_test(test_publish_after_crash),
        cmocka_unit_test(test_publish_fails),
        cmocka_unit_test(test_slurp),
        cmocka_unit_test(test_slurp_grows),
        cmocka_unit_test(test_slurp_pipe),
        cmocka_unit_test(test_make_path),
        cmocka_unit_test(test_make_path_empty),
        cmocka_unit_test(test_nonblock),
        cmocka_unit_test(test_clock_and_random),
        cmocka_unit_test(test_path_beneath),
        cmocka_unit_test(test_hex),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
