/* The scanner against a real tree: after everything that is done to it, disk, manifest and what a
 * secondary was told have to be the same. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "scan_model.h"

static struct model *begun(const char *commands)
{
    static const char *const excluded[] = {"cache/", "*.tmp", NULL};
    struct model *m = model_new(excluded);
    model_shell(m, "%s", commands);
    model_start(m);
    return m;
}

static void done(struct model *m)
{
    model_settle(m);
    model_free(m);
}

/* Works until the path was told so often, or fails. */
static void until_owed(struct model *m, const char *path, unsigned times, unsigned within_ms)
{
    uint64_t end = io_now_ms() + within_ms;
    while (model_owed(m, path) < times) {
        if (io_now_ms() > end)
            fail_msg("%s was not told in %u ms", path, within_ms);
        usleep(200);
    }
}

static void test_start(void **state)
{
    (void)state;
    struct model *m =
        begun("mkdir -p a/b/c cache; echo 1 > a/b/f; ln -s x a/l; echo 2 > cache/no; : > e");
    assert_int_equal(model_owed(m, NULL), 0);
    done(m);
}

static void test_single_changes(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d; echo old > d/f; echo t > d/t; ln -s x d/l; mkfifo p");
    model_shell(m, "echo new > d/f; chmod 600 d/t; touch -d 2001-01-01 d/f; ln -sfn y d/l");
    model_shell(
        m, "echo fresh > d/n; ln d/n d/hard; mkdir d/e; rm d/t; mkfifo d/fifo; truncate -s 3 d/n");
    model_settle(m);
    assert_int_equal(model_compared(m), 0);
    assert_int_equal(model_owed(m, "d/fifo"), 0);
    model_shell(m, "rm -r d; echo file > d; chmod 700 .");
    model_settle(m);
    model_shell(m, "rm d; mkdir d; echo again > d/f; mv d/f d/g");
    done(m);
}

static void test_chains_of_directories(void **state)
{
    (void)state;
    struct model *m = begun("true");
    for (int i = 0; i < 20; i++)
        model_shell(m,
            "mkdir -p n%d/a/b/c/d/e; for x in a a/b a/b/c a/b/c/d a/b/c/d/e; do "
            "echo $x > n%d/$x/file; done",
            i, i);
    done(m);
}

/* False: something was no move. Whoever renames may be held up between the two halves of a rename
 * for longer than the second is waited for (SCAN_PAIR_MS), on a busy machine: then it is a deletion
 * and a creation. */
static bool renames_are_moves(struct model *m)
{
    unsigned told = model_owed(m, NULL);
    model_shell(m, "mv a x");
    model_settle(m);
    if (model_moved(m) != 1)
        return false;
    assert_int_equal(model_owed(m, "x/s/1"), 0);
    assert_true(model_owed(m, NULL) - told < 6);
    model_shell(m, "mv x t; mv b x; mv t b"); /* an exchange */
    model_settle(m);
    if (model_moved(m) != 4)
        return false;
    assert_int_equal(model_owed(m, "x/s/1") + model_owed(m, "b/s/1"), 0);
    return true;
}

static void test_renames(void **state)
{
    (void)state;
    struct model *m = NULL;
    bool moved = false;
    for (int tries = 0; !moved && tries < 5; tries++) {
        if (m)
            done(m);
        m = begun(
            "mkdir -p a/s b/s c; for i in 1 2 3; do echo a$i > a/s/$i; echo b$i > b/s/$i; done");
        moved = renames_are_moves(m);
    }
    assert_true(moved);
    model_shell(m, "mv b c/; mv c x/; echo new > x/c/b/s/9; mv x/c/b/s/1 x/c/b/s/one");
    done(m);
}

/* A rename of a directory that was never watched leaves half a story behind, which must not be told
 * of a later directory of that name. */
static void test_a_name_used_again(void **state)
{
    (void)state;
    struct model *m = begun("mkdir x");
    for (int i = 0; i < 20; i++) {
        model_shell(m, "mkdir n; mv n p%d; rmdir p%d; mkdir n; echo 1 > n/f", i, i);
        model_settle(m);
        model_shell(m, "mkdir -p ../out; rm -rf ../out/n; mv n ../out/n");
        model_settle(m);
    }
    done(m);
}

static void test_back_and_forth(void **state)
{
    (void)state;
    struct model *m = begun("mkdir -p a/s; echo 1 > a/s/f");
    char *one CLEANUP_FREE = mem_format("%s/a", model_root(m));
    char *two CLEANUP_FREE = mem_format("%s/z", model_root(m));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rename(one, two), 0);
        assert_int_equal(rename(two, one), 0);
    }
    model_shell(m, "echo 2 > a/s/g");
    done(m);
}

static void test_large_file_moves(void **state)
{
    (void)state;
    struct model *m = NULL;
    bool moved = false;
    for (int tries = 0; !moved && tries < 5; tries++) { /* as for renames_are_moves */
        if (m)
            done(m);
        m = begun("head -c 3000000 /dev/urandom > big; echo s > small; mkdir d");
        model_shell(m, "mv big d/bigger; mv small d/smaller");
        model_settle(m);
        moved = model_moved(m) == 1;
    }
    assert_true(moved);
    assert_int_equal(model_owed(m, "d/bigger"), 0);
    model_shell(m, "mv d/bigger one; mv one two; mv two three");
    model_settle(m); /* whether it is sent again depends on who was faster; where it is does not */
    model_shell(m, "ln three four; mv four five; rm three; echo more >> five");
    done(m);
}

static void test_hard_links(void **state)
{
    (void)state;
    struct model *m = begun("mkdir -p a b/c; echo 1 > a/f");
    model_shell(m, "ln a/f b/f; ln b/f b/c/f");
    model_settle(m);
    model_shell(m, "echo 2 >> a/f"); /* no event for the other names */
    model_settle(m);
    model_shell(m, "rm a/f; chmod 600 b/f");
    model_settle(m);
    model_shell(m, "touch -d 2002-02-02 b/c/f; echo new > b/g; mv b/g b/f");
    done(m);
}

static void test_borders(void **state)
{
    (void)state;
    struct model *m = begun("mkdir -p cache in; echo c > cache/f; mkdir -p cache/d/e; echo e > "
                            "cache/d/e/f; echo i > in/f; echo k > in/k.tmp");
    model_shell(m, "mv cache/d d"); /* out of what is excluded */
    model_shell(m, "mv in/k.tmp in/k; mv in/f in/f.tmp");
    model_settle(m);
    assert_true(model_owed(m, "d/e/f") > 0);
    model_shell(m, "mv d cache/d2; mkdir -p ../out/o/p; echo o > ../out/o/p/f; mv ../out/o o");
    model_settle(m);
    model_shell(m, "mv o ../out/o2; echo x > ../out/o2/p/f; mkdir o; echo other > o/f");
    model_settle(m);
    model_shell(m, "mv ../out/o2 o/back; mkdir -p w/cache; echo 1 > w/cache/f; mv w/cache w/kept");
    done(m);
}

static void test_filter_follows_names(void **state)
{
    (void)state;
    static const char *const excluded[] = {"/wp/cache/", NULL};
    struct model *m = model_new(excluded);
    model_shell(m, "mkdir -p wp/cache/s; echo 1 > wp/cache/s/f; echo 2 > wp/f");
    model_start(m);
    model_shell(m, "mv wp web");
    model_settle(m);
    assert_true(model_owed(m, "web/cache/s/f") > 0);
    model_shell(m, "echo 3 > web/cache/s/f; mv web wp; echo 4 > wp/cache/s/f");
    done(m);
}

/* What status says, which may be some milliseconds old. */
static void until_watches(struct model *m, uint64_t wanted)
{
    struct scan_status status = {0};
    uint64_t end = io_now_ms() + 5000;
    while (scan_status(model_scan(m), model_site(m), &status) && status.watches != wanted) {
        if (io_now_ms() > end)
            fail_msg("%llu watches, not %llu", (unsigned long long)status.watches,
                (unsigned long long)wanted);
        usleep(1000);
    }
}

/* What is excluded gets no watch; what is moved out of it does. */
static void test_watches_of_what_is_mirrored(void **state)
{
    (void)state;
    struct model *m = begun("mkdir -p a/b c; for i in $(seq 40); do mkdir -p cache/$i/x; done");
    until_watches(m, 5); /* the root, a, a/b, c, and the flushes' own */
    model_shell(m, "mv cache/7 seven; mkdir cache/more; mkdir d");
    model_settle(m);
    until_watches(m, 8); /* and seven, seven/x, d */
    done(m);
}

/* A picture as Imagick writes it: closed once while it is empty. */
static void test_empty_is_held(void **state)
{
    (void)state;
    struct model *m = begun("mkdir up");
    char *path CLEANUP_FREE = mem_format("%s/up/p.jpg", model_root(m));
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    close(fd);
    usleep(30000);
    assert_int_equal(model_owed(m, "up/p.jpg"), 0);
    fd = open(path, O_WRONLY);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(write(fd, "picture", 7), 7);
        usleep(1000);
    }
    assert_int_equal(model_owed(m, "up/p.jpg"), 0);
    close(fd);
    uint64_t began = io_now_ms();
    until_owed(m, "up/p.jpg", 1, 5000);
    assert_true(io_now_ms() - began < 1000);
    model_shell(m, "touch up/empty");
    done(m);
}

/* Waits for its end; how many files it names as held open. */
static size_t flush_ends(struct scan_flush *f)
{
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX];
    struct err err;
    uint64_t end = io_now_ms() + 10000;
    while (scan_flush_poll(f, &err) == SCAN_FLUSH_WAITING && io_now_ms() < end)
        usleep(500);
    assert_int_equal(scan_flush_poll(f, &err), SCAN_FLUSH_DONE);
    size_t count = scan_flush_busy(f, busy, SCAN_BUSY_MAX);
    scan_flush_free(f);
    return count;
}

/* `touch x`, looked at while it was still open: whoever flushes need not wait as long as for a
 * picture that is about to be written. */
static void test_flush_of_an_empty_file(void **state)
{
    (void)state;
    struct model *m = begun("true");
    char *path CLEANUP_FREE = mem_format("%s/x", model_root(m));
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(flush_ends(scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0)), 1);
    close(fd);
    uint64_t began = io_now_ms();
    assert_int_equal(flush_ends(scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0)), 0);
    assert_true(io_now_ms() - began < 3000);
    assert_int_equal(model_owed(m, "x"), 1);
    done(m);
}

/* A picture as Imagick writes it, in whose pause somebody flushes: nobody gets it empty. */
static void test_flush_while_a_picture_is_empty(void **state)
{
    (void)state;
    struct model *m = begun("mkdir up");
    uint64_t pause;
    for (int i = 0;; i++) {
        char *name CLEANUP_FREE = mem_format("up/%d.jpg", i);
        char *path CLEANUP_FREE = mem_format("%s/%s", model_root(m), name);
        assert_true(i < 50);
        uint64_t began = io_now_ms();
        close(open(path, O_WRONLY | O_CREAT, 0644));
        struct scan_flush *f = scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0);
        usleep(20000);
        int fd = open(path, O_WRONLY);
        pause = io_now_ms() - began;
        assert_int_equal(write(fd, "picture", 7), 7);
        close(fd);
        flush_ends(f);
        if (pause < 150) { /* this process had its turn in time */
            assert_int_equal(model_owed(m, name), 1);
            break;
        }
    }
    done(m);
}

static void test_open_file(void **state)
{
    (void)state;
    struct model *m = begun("true");
    char *path CLEANUP_FREE = mem_format("%s/log", model_root(m));
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX];
    struct err err;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    assert_int_equal(write(fd, "line\n", 5), 5);
    struct scan_flush *f = scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0);
    uint64_t end = io_now_ms() + 10000;
    while (scan_flush_poll(f, &err) == SCAN_FLUSH_WAITING && io_now_ms() < end)
        usleep(500);
    assert_int_equal(scan_flush_poll(f, &err), SCAN_FLUSH_DONE);
    assert_int_equal(scan_flush_busy(f, busy, SCAN_BUSY_MAX), 1);
    assert_string_equal(busy[0], "log");
    scan_flush_free(f);
    assert_int_equal(model_owed(m, "log"), 0);
    until_owed(m, "log", 1, 10000); /* a log is sent although it is open */
    close(fd);
    done(m);
}

static void test_overflow(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d");
    /* More events than the kernel's queue holds, faster than anybody reads them. */
    model_shell(m, "cd d; for i in $(seq 1 3000); do echo $i > f$i; done; rm f1?; mv f2000 g");
    done(m);
}

static void test_many_moved_in(void **state)
{
    (void)state;
    struct model *m = begun("true");
    model_shell(m,
        "mkdir -p ../out/p; cd ../out/p; for i in $(seq 1 30); do mkdir d$i; for j in "
        "$(seq 1 90); do echo $i $j > d$i/f$j; done; done; cd ..; mv p %s/p",
        model_root(m));
    model_settle(m);
    assert_int_equal(model_compared(m), 0);
    model_shell(m, "mv p ../out/p; mkdir p; echo 1 > p/f");
    done(m);
}

static void test_root_gone(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d; echo 1 > d/f");
    struct scan_status status;
    model_shell(m, "mv ../root ../elsewhere; mkdir ../root; cd ../elsewhere; rm -r d");
    uint64_t end = io_now_ms() + 10000;
    do {
        assert_true(io_now_ms() < end);
        usleep(1000);
        assert_true(scan_status(model_scan(m), model_site(m), &status));
    } while (status.state != SCAN_HELD);
    assert_non_null(strstr(status.error, "root"));
    assert_int_equal(model_owed(m, "d/f") + model_owed(m, "d"), 0);
    struct err err;
    struct scan_flush *f = scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0);
    while (scan_flush_poll(f, &err) == SCAN_FLUSH_WAITING && io_now_ms() < end)
        usleep(500);
    assert_int_equal(scan_flush_poll(f, &err), SCAN_FLUSH_FAILED);
    scan_flush_free(f);
    model_shell(m,
        "mkdir ../elsewhere/d; echo 2 > ../elsewhere/d/f; rmdir ../root; mv ../elsewhere ../root");
    do {
        assert_true(io_now_ms() < end + 10000);
        usleep(1000);
        assert_true(scan_status(model_scan(m), model_site(m), &status));
    } while (status.state != SCAN_OK);
    assert_int_equal(model_compared(m), 1);
    done(m);
}

static void test_flush_sees_all(void **state)
{
    (void)state;
    struct model *m = begun("true");
    for (int i = 0; i < 30; i++) {
        model_shell(m, "echo %d > f; mkdir -p a%d/b; echo %d > a%d/b/f", i, i, i, i);
        model_settle(m);
    }
    model_free(m);
}

/* Until all that concerns this path was told. */
static void flush_path(struct model *m, const char *path)
{
    struct bytes one = bytes_of(path);
    flush_ends(scan_flush_new(model_scan(m), model_site(m), &one, 1, 0));
}

static void test_flush_of_a_path_hurries_nothing_else(void **state)
{
    (void)state;
    struct model *m = begun("mkdir up");
    model_shell(m, ": > up/growing.jpg; echo whole > up/done.jpg");
    flush_path(m, "up/done.jpg");
    assert_int_equal(model_owed(m, "up/done.jpg"), 1);
    assert_int_equal(model_owed(m, "up/growing.jpg"), 0); /* as long as it is empty */
    flush_path(m, "up/growing.jpg");
    assert_int_equal(model_owed(m, "up/growing.jpg"), 1);
    flush_path(m, "no/such/path");
    done(m);
}

/* Without an event: a flush of the path looks all the same. */
static void test_flush_of_a_path_looks_at_it(void **state)
{
    (void)state;
    struct model *m = begun("mkdir up; echo one > up/f");
    char *other CLEANUP_FREE = mem_format("%s/other", model_top(m));
    char *file CLEANUP_FREE = mem_format("%s/up/f", model_root(m));
    assert_int_equal(link(file, other), 0);
    model_settle(m);
    unsigned told = model_owed(m, "up/f");
    model_shell(m, "echo more >> '%s'", other);
    flush_path(m, "up/f");
    assert_int_equal(model_owed(m, "up/f"), told + 1);
    done(m);
}

/* At no moment is nothing pending while something that happened before was not told. */
static void until_told(struct model *m, const char *path, unsigned before)
{
    uint64_t end = io_now_ms() + 20000;
    while (site_is_pending(model_site(m)))
        assert_true(io_now_ms() < end);
    assert_true(model_owed(m, path) > before);
}

static void test_pending_until_it_is_told(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d");
    char *file CLEANUP_FREE = mem_format("%s/d/f", model_root(m));
    char *away CLEANUP_FREE = mem_format("%s/away", model_top(m));
    for (int i = 0; i < 60; i++) {
        unsigned told = model_owed(m, "d/f");
        int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "content", 7), 7);
        close(fd);
        until_told(m, "d/f", told);
        told = model_owed(m, "d/f");
        assert_int_equal(i % 2 ? unlink(file) : rename(file, away), 0);
        until_told(m, "d/f", told);
    }
    model_settle(m);
    done(m);
}

/* One that is being written is not waited for: it is not meant yet. */
static void test_not_pending_while_a_file_is_held_open(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d");
    char *file CLEANUP_FREE = mem_format("%s/d/f", model_root(m));
    int fd CLEANUP_FD = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    uint64_t end = io_now_ms() + 20000;
    while (site_is_pending(model_site(m))) {
        assert_true(io_now_ms() < end);
        usleep(500);
    }
    assert_int_equal(write(fd, "content", 7), 7);
    unsigned told = model_owed(m, "d/f");
    close(TAKE_FD(fd));
    until_told(m, "d/f", told);
    done(m);
}

static void test_removed(void **state)
{
    (void)state;
    struct model *m = begun("echo 1 > f");
    struct scan_status status;
    struct err err;
    scan_remove(model_scan(m), model_site(m));
    assert_false(scan_status(model_scan(m), model_site(m), &status));
    struct scan_flush *f = scan_flush_new(model_scan(m), model_site(m), NULL, 0, 0);
    uint64_t end = io_now_ms() + 10000;
    while (scan_flush_poll(f, &err) == SCAN_FLUSH_WAITING && io_now_ms() < end)
        usleep(500);
    assert_int_equal(scan_flush_poll(f, &err), SCAN_FLUSH_FAILED);
    scan_flush_free(f);
    struct record r = {.entry.has_digest = true};
    struct site *s = model_site(m);
    s->hooks.seen(s->hooks.ctx, s, bytes_of("f"), &r); /* a peer that is late */
    s->hooks.look(s->hooks.ctx, s, bytes_of("f"));
    model_free(m);
}

/* Somebody who reads it could not do so at one moment: it is owed again, though nothing happens. */
static void test_a_reader_found_it_busy(void **state)
{
    (void)state;
    struct model *m = begun("echo content > f");
    struct site *s = model_site(m);
    model_settle(m);
    unsigned told = model_owed(m, "f");
    s->hooks.look(s->hooks.ctx, s, bytes_of("f"));
    until_owed(m, "f", told + 1, 10000);
    done(m);
}

/* The record's digest is another: as if the disk had changed what is in the file. */
static void test_content_that_went_bad(void **state)
{
    (void)state;
    struct model *m = begun("mkdir d; echo content > d/f; echo content > d/g");
    struct manifest_txn *t;
    struct record r;
    struct err err;
    uint64_t parent, end = io_now_ms() + 20000;
    bool known = false;
    model_settle(m);
    while (!known && io_now_ms() < end) {
        assert_int_equal(manifest_begin(model_site(m)->manifest, true, &t, &err), 0);
        assert_int_equal(manifest_lookup(t, bytes_of("d/f"), &r, &parent, &err), 1);
        known = r.entry.has_digest && !(r.flags & RECORD_RACY);
        r.entry.digest.b[0] ^= known;
        assert_int_equal(manifest_put(t, parent, bytes_of("f"), &r, &err), 0);
        assert_int_equal(manifest_commit(t, &err), 0);
        model_step(m);
        usleep(1000);
    }
    assert_true(known);
    unsigned told = model_owed(m, "d/f");
    until_owed(m, "d/f", told + 1, 20000);
    done(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_single_changes),
        cmocka_unit_test(test_chains_of_directories),
        cmocka_unit_test(test_renames),
        cmocka_unit_test(test_a_name_used_again),
        cmocka_unit_test(test_back_and_forth),
        cmocka_unit_test(test_large_file_moves),
        cmocka_unit_test(test_content_that_went_bad),
        cmocka_unit_test(test_a_reader_found_it_busy),
        cmocka_unit_test(test_hard_links),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_filter_follows_names),
        cmocka_unit_test(test_watches_of_what_is_mirrored),
        cmocka_unit_test(test_empty_is_held),
        cmocka_unit_test(test_open_file),
        cmocka_unit_test(test_flush_of_an_empty_file),
        cmocka_unit_test(test_flush_while_a_picture_is_empty),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_many_moved_in),
        cmocka_unit_test(test_root_gone),
        cmocka_unit_test(test_flush_sees_all),
        cmocka_unit_test(test_flush_of_a_path_hurries_nothing_else),
        cmocka_unit_test(test_flush_of_a_path_looks_at_it),
        cmocka_unit_test(test_pending_until_it_is_told),
        cmocka_unit_test(test_not_pending_while_a_file_is_held_open),
        cmocka_unit_test(test_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
