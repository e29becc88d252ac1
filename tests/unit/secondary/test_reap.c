/*
 * What was deleted is removed from the stage when nothing is being created: ext4 looks past every
 * inode that was freed lately. The receivers' clock is the test's, so that a slow machine is no
 * lull.
 */
#include "peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/io.h"
#include "base/mem.h"

enum { FILES = 200, LULL_MS = 5000, SLOW = 20 };

/* Seen by the receivers too. */
static struct clock {
    uint64_t began;
    atomic_ulong later;
} * shared;

uint64_t __real_io_now_us(void);
uint64_t __wrap_io_now_us(void);
uint64_t __wrap_io_now_us(void)
{
    return shared->began + (__real_io_now_us() - shared->began) / SLOW +
           atomic_load(&shared->later) * 1000;
}

uint64_t __wrap_io_now_ms(void);
uint64_t __wrap_io_now_ms(void)
{
    return __wrap_io_now_us() / 1000;
}

static int setup(void **state)
{
    shared->began = __real_io_now_us();
    atomic_store(&shared->later, 0);
    return peer_make(state);
}

static void fill(struct peer *p, const char *dir)
{
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644);
    char path[64];
    peer_batch(p);
    peer_put(p, dir, &d, NULL);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%d", dir, i);
        peer_put(p, path, &f, "x");
    }
    peer_commit_all(p);
}

static void go_on(struct peer *p)
{
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
}

/* Files that lie in the stage of a directory that is to be removed. */
static unsigned dead(struct peer *p)
{
    char command[2 * PEER_PATH];
    unsigned n = 0;
    snprintf(
        command, sizeof command, "find %s/.mirrord-*/d* -type f 2>/dev/null | wc -l", p->fence);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%u", &n), 1);
    pclose(f);
    return n;
}

static void until_removed(struct peer *p)
{
    uint64_t until = __real_io_now_us() + 20000000;
    while (dead(p)) {
        assert_true(__real_io_now_us() < until);
        go_on(p);
    }
}

static void what_is_created_comes_first(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    fill(p, "old");
    peer_batch(p);
    peer_delete(p, "old");
    peer_commit_all(p);
    assert_absent(p, "old");
    fill(p, "new");
    for (int i = 0; i < 20; i++)
        go_on(p);
    assert_int_equal(dead(p), FILES);
    atomic_fetch_add(&shared->later, LULL_MS);
    until_removed(p);
    peer_end(p);
}

static void a_few_do_not_hold_it_up(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    peer_open(p);
    fill(p, "old");
    atomic_fetch_add(&shared->later, LULL_MS);
    peer_batch(p);
    peer_put(p, "f", &f, "x");
    peer_delete(p, "old");
    peer_commit_all(p);
    until_removed(p);
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(what_is_created_comes_first),
        T(a_few_do_not_hold_it_up),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
