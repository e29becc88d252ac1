/* What would take long in one go, and what comes between: deltas that copy much for few bytes, and
 * large files that are removed. */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/stage/bin.h"
#include "tree/content/delta.h"

/* An old file that is too small for a delta by extents, and a new one that has it many times. */
enum { BASE = 1024 * 1024 - 8, SIZE = 16 * BASE };

/* Shared with the receiver. */
static unsigned *binned;

void __real_bin_put(struct bin *b, int fd);
void __wrap_bin_put(struct bin *b, int fd);
void __wrap_bin_put(struct bin *b, int fd)
{
    *binned += fd >= 0;
    __real_bin_put(b, fd);
}

struct test {
    struct peer peer; /* first */
    char *content;    /* SIZE bytes */
    struct entry entry;
    char delta[60000];
    size_t len;
};

static int setup(void **state)
{
    struct test *t = mem_alloc(sizeof *t);
    uint64_t x = 1;
    binned = mmap(NULL, sizeof *binned, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(binned != MAP_FAILED);
    peer_setup(&t->peer);
    t->content = mem_alloc(SIZE + 1);
    for (size_t i = 0; i < BASE; i += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        memcpy(t->content + i, &x, 8);
    }
    for (size_t i = 0; i < BASE; i++)
        t->content[i] |= 1; /* a string */
    for (size_t i = BASE; i < SIZE; i += BASE)
        memcpy(t->content + i, t->content, BASE);
    t->entry = a_file(t->content, SIZE, 0644);
    peer_open(&t->peer);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    peer_cleanup(&t->peer);
    munmap(binned, sizeof *binned);
    free(t->content);
    free(t);
    return 0;
}

static void write_base(struct test *t, const char *path)
{
    char first = t->content[BASE];
    t->content[BASE] = '\0';
    write_file(&t->peer, path, t->content);
    t->content[BASE] = first;
}

/* The delta of the content against the file that the secondary has. */
static void make_delta(struct test *t, struct delta_make *make)
{
    size_t used, made;
    int more = DELTA_MORE;
    struct err err;
    t->len = 0;
    for (size_t at = 0; more == DELTA_MORE; at += used) {
        more = delta_make_step(make, t->content + at, SIZE - at, true, &used, t->delta + t->len,
            sizeof t->delta - t->len, &made, &err);
        assert_true(more >= 0);
        t->len += made;
    }
    assert_true(t->len < sizeof t->delta);
}

/* An atom whose content is there already: some bytes of delta say so. */
static uint32_t ask_for_delta(struct test *t, const char *path)
{
    struct delta_make *make = delta_make_new();
    struct msg_signature s;
    struct err err;
    uint32_t atom = peer_entry(&t->peer, path, &t->entry, HOW_DELTA, NULL);
    peer_send(&t->peer);
    do {
        assert_true(msg_get_signature(peer_expect(&t->peer, MSG_SIGNATURE), &s));
        assert_int_equal(
            delta_make_signature(make, s.content.data, s.content.len, s.last, &err), 0);
    } while (!s.last);
    make_delta(t, make);
    delta_make_free(make);
    return atom;
}

static void put_delta(struct test *t, uint32_t atom)
{
    msg_put_data(&t->peer.out,
        &(struct msg_data){.atom = atom, .kind = DATA_DELTA, .content = {t->delta, t->len}});
}

static void put_ping(struct test *t, uint64_t token)
{
    msg_put_ping(&t->peer.out, &(struct msg_ping){token});
}

static void expect_pong(struct test *t, uint64_t token)
{
    struct msg_ping m;
    assert_true(msg_get_ping(peer_expect(&t->peer, MSG_PONG), &m));
    assert_int_equal(m.token, token);
}

/* COMMIT of an earlier batch than the last. */
static void commit(struct test *t, uint32_t batch, struct ack *out)
{
    uint32_t last = t->peer.batch;
    t->peer.batch = batch;
    peer_commit(&t->peer, out);
    t->peer.batch = last;
}

/* A file of SIZE bytes that was committed here. */
static void commit_large(struct test *t, const char *path)
{
    write_base(t, path);
    peer_batch(&t->peer);
    uint32_t atom = ask_for_delta(t, path);
    put_delta(t, atom);
    peer_finish(&t->peer, atom, &t->entry);
    peer_commit_all(&t->peer);
}

/* A small change behind the delta is acknowledged before the delta is through; PONG says when that
 * is, however early PING came. */
static void others_pass_a_delta(void **state)
{
    struct test *t = *state;
    struct entry small = a_file("x", 1, 0644);
    struct ack ack;
    write_base(t, "large");
    uint32_t bulk = peer_batch(&t->peer);
    uint32_t atom = ask_for_delta(t, "large");
    put_delta(t, atom);
    put_ping(t, 5);
    peer_batch(&t->peer);
    peer_put(&t->peer, "small", &small, "x");
    peer_commit_all(&t->peer);
    expect_pong(t, 5);
    peer_finish(&t->peer, atom, &t->entry);
    commit(t, bulk, &ack);
    assert_int_equal(ack.failures, 0);
    assert_file(&t->peer, "large", t->content, &t->entry);
    assert_file(&t->peer, "small", "x", &small);
    peer_end(&t->peer);
}

/* Committed or not: only what concerns the same path, or one above or beneath it, waits. */
static void others_pass_its_commit(void **state)
{
    struct test *t = *state;
    struct entry small = a_file("x", 1, 0644), dir = a_dir(0755);
    struct ack ack;
    peer_batch(&t->peer);
    peer_put(&t->peer, "d", &dir, NULL);
    peer_commit_all(&t->peer);
    write_base(t, "d/large");
    uint32_t bulk = peer_batch(&t->peer);
    uint32_t atom = ask_for_delta(t, "d/large");
    put_delta(t, atom);
    peer_finish(&t->peer, atom, &t->entry);
    msg_put_commit(&t->peer.out, &(struct msg_commit){bulk});
    uint32_t related = peer_batch(&t->peer);
    peer_delete(&t->peer, "d/large");
    msg_put_commit(&t->peer.out, &(struct msg_commit){related});
    uint32_t moving = peer_batch(&t->peer);
    peer_move(&t->peer, "d", "e");
    msg_put_commit(&t->peer.out, &(struct msg_commit){moving});
    peer_batch(&t->peer);
    peer_put(
        &t->peer, "large", &small, "x"); /* behind them all: nothing passes a batch that waits */
    msg_put_commit(&t->peer.out, &(struct msg_commit){t->peer.batch});
    peer_send(&t->peer);
    for (uint32_t batch = bulk; batch <= moving + 1; batch++) {
        t->peer.batch = batch;
        peer_await_ack(&t->peer, &ack);
        assert_int_equal(ack.failures, 0);
    }
    assert_absent(&t->peer, "e/large");
    /* Now with nothing in between. */
    write_base(t, "e/large");
    bulk = peer_batch(&t->peer);
    atom = ask_for_delta(t, "e/large");
    put_delta(t, atom);
    peer_finish(&t->peer, atom, &t->entry);
    msg_put_commit(&t->peer.out, &(struct msg_commit){bulk});
    peer_batch(&t->peer);
    peer_put(&t->peer, "e/small", &small, "x");
    peer_commit_all(&t->peer);
    t->peer.batch = bulk;
    peer_await_ack(&t->peer, &ack);
    assert_int_equal(ack.failures, 0);
    assert_file(&t->peer, "e/large", t->content, &t->entry);
    t->peer.batch++;
    peer_end(&t->peer);
}

/* What belongs to the delta's file waits for it. */
static void the_rest_of_it_waits(void **state)
{
    struct test *t = *state;
    struct ack ack;
    write_base(t, "large");
    peer_batch(&t->peer);
    uint32_t atom = ask_for_delta(t, "large");
    size_t half = t->len / 2;
    for (size_t at = 0; at < t->len; at += half ? half : 1) {
        size_t n = t->len - at < half ? t->len - at : half;
        msg_put_data(&t->peer.out,
            &(struct msg_data){.atom = atom, .kind = DATA_DELTA, .content = {t->delta + at, n}});
    }
    peer_finish(&t->peer, atom, &t->entry);
    peer_commit(&t->peer, &ack);
    assert_int_equal(ack.failures, 0);
    assert_file(&t->peer, "large", t->content, &t->entry);
    peer_end(&t->peer);
}

static void aborted_and_broken_deltas(void **state)
{
    struct test *t = *state;
    struct ack ack;
    write_base(t, "large");
    peer_batch(&t->peer);
    uint32_t atom = ask_for_delta(t, "large");
    put_delta(t, atom);
    put_ping(t, 6);
    msg_put_abort(&t->peer.out, &(struct msg_abort){atom});
    peer_send(&t->peer);
    expect_pong(t, 6);
    peer_commit(&t->peer, &ack);
    assert_int_equal(ack.failures, 0);
    /* The base becomes shorter: found when the job comes there. */
    peer_batch(&t->peer);
    atom = ask_for_delta(t, "large");
    assert_int_equal(truncate(on_root(&t->peer, "large"), BASE - 1000), 0);
    put_delta(t, atom);
    put_ping(t, 7);
    peer_finish(&t->peer, atom, &t->entry);
    peer_commit(&t->peer, &ack);
    expect_pong(t, 7);
    assert_int_equal(ack.failures, 1);
    assert_int_equal(ack.atoms[0], atom);
    assert_int_equal(ack.reasons[0], REASON_NEED_CONTENT);
    /* The session ends while one is at work. */
    peer_batch(&t->peer);
    write_base(t, "large");
    atom = ask_for_delta(t, "large");
    put_delta(t, atom);
    peer_finish(&t->peer, atom, &t->entry);
    msg_put_commit(&t->peer.out, &(struct msg_commit){t->peer.batch});
    msg_put_bye(&t->peer.out);
    peer_send(&t->peer);
    peer_await_ack(&t->peer, &ack);
    assert_int_equal(ack.failures, 0);
    assert_int_equal(peer_wait(&t->peer), 0);
    assert_file(&t->peer, "large", t->content, &t->entry);
    assert_int_equal(staged_count(&t->peer), 0);
}

/* Whichever call takes its last name away, a large file's content is freed elsewhere. */
static void large_files_are_freed_elsewhere(void **state)
{
    struct test *t = *state;
    struct entry small = a_file("x", 1, 0644), other = a_file("y", 1, 0644), dir = a_dir(0755);
    peer_batch(&t->peer);
    peer_put(&t->peer, "dir", &dir, NULL);
    peer_put(&t->peer, "a", &small, "x");
    peer_commit_all(&t->peer);
    commit_large(t, "large");
    commit_large(t, "gone");
    commit_large(t, "dir/inside");
    *binned = 0;
    peer_batch(&t->peer);
    peer_put(&t->peer, "a", &other, "y");
    peer_put(&t->peer, "large", &small, "x");
    peer_delete(&t->peer, "gone");
    peer_commit_all(&t->peer);
    assert_int_equal(*binned, 2);
    peer_batch(&t->peer);
    peer_delete(&t->peer, "dir");
    peer_commit_all(&t->peer);
    peer_end(&t->peer);
    assert_int_equal(*binned, 3);
    assert_absent(&t->peer, "gone");
    assert_file(&t->peer, "large", "x", &small);
    assert_int_equal(staged_count(&t->peer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(others_pass_a_delta, setup, teardown),
        cmocka_unit_test_setup_teardown(others_pass_its_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_of_it_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(aborted_and_broken_deltas, setup, teardown),
        cmocka_unit_test_setup_teardown(large_files_are_freed_elsewhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
