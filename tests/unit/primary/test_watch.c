/* Watches and the thread that reads them, on real inotify instances. */
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/scan/pair_map.h"
#include "primary/scan/reader.h"
#include "primary/scan/watch.h"

struct place {
    char path[64];
    int fd;
};

static struct place place_new(void)
{
    struct place p;
    snprintf(p.path, sizeof p.path, "%s/mirrord-watch-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p.path));
    p.fd = open(p.path, O_RDONLY | O_DIRECTORY);
    return p;
}

static void place_free(struct place *p)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", p->path);
    close(p->fd);
    assert_int_equal(system(command), 0);
}

static int make_dir(struct place *p, const char *name)
{
    assert_int_equal(mkdirat(p->fd, name, 0755), 0);
    int fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static void test_numbers(void **state)
{
    (void)state;
    struct place p = place_new();
    struct watch *w;
    struct err err;
    uint64_t before;
    assert_int_equal(watch_new(&w, &err), 0);
    int a = make_dir(&p, "a"), b = make_dir(&p, "b");
    assert_int_equal(watch_add(w, a, 10, &before, &err), WATCH_ADDED);
    assert_int_equal(before, 0);
    assert_int_equal(watch_add(w, b, 11, &before, &err), WATCH_ADDED);
    assert_int_equal(watch_add(w, a, 10, &before, &err), WATCH_ADDED);
    assert_int_equal(before, 0);
    assert_int_equal(watch_count(w), 2);
    /* Moved, and met again under its new name. */
    assert_int_equal(renameat(p.fd, "a", p.fd, "c"), 0);
    int c = openat(p.fd, "c", O_RDONLY | O_DIRECTORY);
    assert_int_equal(watch_claim(w, c), 10);
    assert_int_equal(watch_add(w, c, 12, &before, &err), WATCH_ADDED);
    assert_int_equal(before, 10);
    assert_false(watch_has(w, 10));
    /* Another directory under a number that was watched. */
    assert_int_equal(watch_add(w, b, 12, &before, &err), WATCH_ADDED);
    assert_int_equal(before, 11);
    assert_int_equal(watch_claim(w, c), 0);
    assert_int_equal(watch_count(w), 1);
    watch_drop(w, 12);
    watch_drop(w, 12);
    assert_int_equal(watch_count(w), 0);
    close(a), close(b), close(c);
    watch_free(w);
    place_free(&p);
}

/* Pairs come and go; each is found by both of its halves, or by neither. */
static void test_pair_map(void **state)
{
    enum { WDS = 700, TURNS = 20000 };
    (void)state;
    struct pair_map m = {0};
    uint64_t dirs[WDS] = {0}, dir; /* by descriptor; 0: none */
    uint32_t seed = 1;
    size_t count = 0, found = 0;
    int wd;
    for (unsigned turn = 1; turn <= TURNS; turn++) {
        seed = seed * 1664525 + 1013904223;
        wd = (int)(seed >> 8) % (WDS - 1) + 1;
        count += dirs[wd] ? -1 : 1;
        if (dirs[wd]) {
            pair_map_remove(&m, wd);
            assert_int_equal(pair_map_wd(&m, dirs[wd]), 0);
            dirs[wd] = 0;
        } else {
            dirs[wd] = (uint64_t)turn << 40 | turn;
            pair_map_put(&m, wd, dirs[wd]);
        }
        assert_int_equal(m.count, count);
    }
    for (wd = 1; wd < WDS; wd++) {
        assert_true(pair_map_dir(&m, wd) == dirs[wd]);
        if (dirs[wd])
            assert_int_equal(pair_map_wd(&m, dirs[wd]), wd);
    }
    for (size_t at = 0; pair_map_each(&m, &at, &wd, &dir); found++)
        assert_true(dirs[wd] == dir);
    assert_int_equal(found, count);
    pair_map_free(&m);
    pair_map_remove(&m, 1);
    assert_int_equal(pair_map_dir(&m, 1), 0);
}

/* What 100,000 directories cost. The allocator tells nothing where a sanitizer took its place. */
static void test_pairs_are_small(void **state)
{
    (void)state;
    struct pair_map m = {0};
    struct mallinfo2 before = mallinfo2();
    for (int wd = 1; wd <= 100000; wd++)
        pair_map_put(&m, wd, (uint64_t)wd << 33);
    struct mallinfo2 after = mallinfo2();
    pair_map_free(&m);
    assert_true(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd < 3u << 20);
}

static void test_refuses_files(void **state)
{
    (void)state;
    struct place p = place_new();
    struct watch *w;
    struct err err;
    uint64_t before;
    assert_int_equal(watch_new(&w, &err), 0);
    int f = openat(p.fd, "f", O_RDONLY | O_CREAT, 0644);
    assert_int_equal(watch_add(w, f, 3, &before, &err), -1);
    assert_int_equal(watch_count(w), 0);
    close(f);
    watch_free(w);
    place_free(&p);
}

static bool is_even(void *ctx, uint64_t dir)
{
    ++*(unsigned *)ctx;
    return dir % 2 == 0;
}

static void test_sweep(void **state)
{
    (void)state;
    struct place p = place_new();
    struct watch *w;
    struct err err;
    uint64_t before;
    unsigned asked = 0;
    assert_int_equal(watch_new(&w, &err), 0);
    assert_int_equal(watch_add_cookies(w, p.fd, &err), WATCH_ADDED);
    for (uint64_t i = 1; i <= 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "d%d", (int)i);
        int fd = make_dir(&p, name);
        assert_int_equal(watch_add(w, fd, i, &before, &err), WATCH_ADDED);
        close(fd);
    }
    watch_sweep(w, is_even, &asked);
    assert_int_equal(asked, 20);
    assert_int_equal(watch_count(w), 11);
    assert_true(watch_has(w, WATCH_COOKIES) && watch_has(w, 4) && !watch_has(w, 5));
    watch_free(w);
    place_free(&p);
}

static void test_no_instance(void **state)
{
    (void)state;
    struct watch *w = NULL;
    struct err err;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int made = watch_new(&w, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(made, WATCH_NO_INSTANCE);
    assert_null(w);
    assert_non_null(strstr(err.text, "fs.inotify.max_user_instances"));
}

static void on_arrival(void *ctx)
{
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* A directory that is watched, and whose events a reader takes in. */
struct reading {
    struct place p;
    struct watch *w;
    struct reader *r;
    struct reader_source *s;
    struct buf events;
    atomic_uint arrivals;
};

static struct reading *reading_new(void)
{
    struct reading *x = mem_alloc(sizeof *x);
    struct err err;
    uint64_t before;
    x->p = place_new();
    assert_int_equal(watch_new(&x->w, &err), 0);
    assert_int_equal(watch_add(x->w, x->p.fd, 1, &before, &err), WATCH_ADDED);
    assert_int_equal(reader_new(on_arrival, &x->arrivals, &x->r, &err), 0);
    assert_int_equal(reader_add(x->r, watch_fd(x->w), &x->s, &err), 0);
    return x;
}

static void reading_free(struct reading *x)
{
    reader_remove(x->r, x->s);
    watch_free(x->w);
    reader_free(x->r);
    buf_free(&x->events);
    place_free(&x->p);
    free(x);
}

static void test_reader(void **state)
{
    (void)state;
    struct reading *x = reading_new();
    uint64_t end = io_now_ms() + 10000;
    unsigned created = 0;
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        close(openat(x->p.fd, name, O_WRONLY | O_CREAT, 0644));
    }
    while (!atomic_load(&x->arrivals))
        assert_true(io_now_ms() < end);
    while (created < 300) {
        assert_true(io_now_ms() < end);
        assert_false(reader_take(x->r, x->s, &x->events));
        while (buf_len(&x->events)) {
            const struct inotify_event *e = (const void *)buf_bytes(&x->events);
            assert_int_equal(watch_dir(x->w, e->wd), 1);
            created += (e->mask & IN_CREATE) != 0;
            buf_drain(&x->events, sizeof *e + e->len);
        }
    }
    assert_int_equal(created, 300);
    reading_free(x);
}

/* What happened before it was asked for is in it, whether the thread has run since or not. */
static void test_taken_at_once(void **state)
{
    (void)state;
    struct reading *x = reading_new();
    for (int i = 0; i < 300; i++) {
        assert_int_equal(mkdirat(x->p.fd, "d", 0755), 0);
        assert_int_equal(renameat(x->p.fd, "d", x->p.fd, "e"), 0);
        assert_false(reader_take(x->r, x->s, &x->events));
        assert_int_equal(buf_len(&x->events), 3 * (sizeof(struct inotify_event) + 16));
        assert_int_equal(unlinkat(x->p.fd, "e", AT_REMOVEDIR), 0);
        reader_take(x->r, x->s, &x->events);
    }
    reading_free(x);
}

/* Takes events of one source until one of its own watches names a created file; how many there
 * were of the other's. */
static unsigned wait_for_own(
    struct reader *r, struct reader_source *s, struct watch *w, uint64_t dir, const char *name)
{
    struct buf events = {0};
    uint64_t end = io_now_ms() + 10000;
    unsigned others = 0;
    bool found = false;
    while (!found) {
        assert_true(io_now_ms() < end);
        assert_false(reader_take(r, s, &events));
        while (buf_len(&events)) {
            const struct inotify_event *e = (const void *)buf_bytes(&events);
            others += !watch_owns(w, e->wd);
            found |= watch_owns(w, e->wd) && watch_dir(w, e->wd) == dir && (e->mask & IN_CREATE) &&
                     strcmp(e->name, name) == 0;
            buf_drain(&events, sizeof *e + e->len);
        }
    }
    buf_free(&events);
    return others;
}

static void touch(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    close(fd);
}

static void test_shared_instance(void **state)
{
    (void)state;
    struct place p = place_new();
    struct watch *one;
    struct reader *r;
    struct reader_source *s1;
    struct err err;
    atomic_uint arrivals = 0;
    uint64_t before;
    int a = make_dir(&p, "a"), b = make_dir(&p, "b");
    assert_int_equal(watch_new(&one, &err), 0);
    assert_int_equal(reader_new(on_arrival, &arrivals, &r, &err), 0);
    assert_int_equal(reader_add(r, watch_fd(one), &s1, &err), 0);
    struct watch *two = watch_share(one);
    struct reader_source *s2 = reader_share(r, s1);
    assert_int_equal(watch_sharers(one), 2);
    assert_int_equal(watch_add(one, a, 7, &before, &err), WATCH_ADDED);
    assert_int_equal(watch_add(two, b, 7, &before, &err), WATCH_ADDED);
    touch(b, "of two");
    touch(a, "of one");
    assert_true(wait_for_own(r, s1, one, 7, "of one") > 0);
    wait_for_own(r, s2, two, 7, "of two");
    /* The first goes: the other's watches stay, and go on being read. */
    reader_remove(r, s1);
    watch_free(one);
    assert_int_equal(watch_sharers(two), 1);
    touch(a, "nobody's");
    touch(b, "later");
    assert_int_equal(wait_for_own(r, s2, two, 7, "later"), 0);
    reader_remove(r, s2);
    watch_free(two);
    reader_free(r);
    close(a);
    close(b);
    place_free(&p);
}

/* What nobody takes is thrown away at a bound, and that is said once. */
static void test_reader_bound(void **state)
{
    (void)state;
    struct reader *r;
    struct reader_source *s;
    struct err err;
    struct buf out = {0};
    atomic_uint arrivals = 0;
    int pipes[2];
    enum { PIECE = 65536 };
    char *piece CLEANUP_FREE = mem_alloc(PIECE);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(io_nonblock(pipes[0]), 0);
    assert_int_equal(reader_new(on_arrival, &arrivals, &r, &err), 0);
    assert_int_equal(reader_add(r, pipes[0], &s, &err), 0);
    for (size_t i = 0; i <= READER_MAX / PIECE + 4; i++)
        assert_int_equal(io_write_full(pipes[1], piece, PIECE), 0);
    uint64_t end = io_now_ms() + 10000;
    bool overflowed = false;
    size_t got = 0;
    while (!overflowed) {
        assert_true(io_now_ms() < end);
        overflowed = reader_take(r, s, &out);
        got += buf_len(&out);
    }
    assert_true(got <= READER_MAX);
    assert_int_equal(write(pipes[1], "x", 1), 1); /* and it goes on */
    do {
        assert_true(io_now_ms() < end);
        reader_take(r, s, &out);
    } while (buf_len(&out) == 0);
    reader_free(r);
    buf_free(&out);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_pair_map),
        cmocka_unit_test(test_pairs_are_small),
        cmocka_unit_test(test_refuses_files),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_no_instance),
        cmocka_unit_test(test_reader),
        cmocka_unit_test(test_taken_at_once),
        cmocka_unit_test(test_shared_instance),
        cmocka_unit_test(test_reader_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
