/* What is held at the secondary: too many deletions, summed over batches and sessions, and a root
 * that is not the one that was filled before. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/secondary/peer.h"

enum { MANY = 300, LIMIT = 50 };

static const char *name_of(int i)
{
    static char names[4][32];
    static int next;
    char *name = names[next++ % 4];
    snprintf(name, sizeof names[0], "d%d/f%d", i % 3, i);
    return name;
}

/* Opened, with MANY files in three directories. */
static void fill(struct peer *p)
{
    struct entry dir = a_dir(0755), file = a_file("x", 1, 0644);
    p->max_delete_percent = 20;
    p->max_delete_count = LIMIT;
    peer_open(p);
    peer_batch(p);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        peer_entry(p, name, &dir, HOW_META, NULL);
    }
    for (int i = 0; i < MANY; i++)
        peer_put(p, name_of(i), &file, "x");
    peer_commit_all(p);
}

static void level(struct peer *p)
{
    msg_put_level(&p->out, &(struct msg_level){1});
    peer_send(p);
}

static void delete_some(struct peer *p, int from, int to)
{
    peer_batch(p);
    for (int i = from; i < to; i++)
        peer_delete(p, name_of(i));
}

/* The last batch is not committed: the site is closed. */
static void expect_held(struct peer *p)
{
    struct msg_site_error m;
    peer_send_commit(p);
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    assert_string_equal(msg_reason_name(m.reason), "held");
    assert_non_null(strstr(m.text.data, "--force"));
}

static void many_small_batches_are_held(void **state)
{
    struct peer *p = *state;
    fill(p);
    for (int i = 0; i < 60; i += 10) {
        delete_some(p, i, i + 10);
        peer_commit_all(p);
    }
    delete_some(p, 60, 70);
    expect_held(p);
    for (int i = 60; i < 70; i++)
        assert_int_equal(access(on_root(p, name_of(i)), F_OK), 0);
    peer_end(p);
    /* The next session knows what the one before did. */
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.deleted, 60);
    assert_int_equal(m.deleted_from, MANY + 3);
    delete_some(p, 60, 70);
    expect_held(p);
    peer_end(p);
}

static void a_directory_counts_with_all_in_it(void **state)
{
    struct peer *p = *state;
    fill(p);
    peer_batch(p);
    peer_delete(p, "d1");
    expect_held(p);
    assert_int_equal(access(on_root(p, "d1/f1"), F_OK), 0);
    peer_end(p);
}

static void what_replaces_a_directory_counts_too(void **state)
{
    struct peer *p = *state;
    struct entry file = a_file("x", 1, 0644);
    fill(p);
    peer_batch(p);
    peer_put(p, "d1", &file, "x");
    expect_held(p);
    peer_end(p);
}

/* Deleted and put back again and again, as by renames: nothing is lost in the end. */
static void what_comes_back_is_no_loss(void **state)
{
    struct peer *p = *state;
    struct entry file = a_file("x", 1, 0644);
    fill(p);
    for (int turn = 0; turn < 5; turn++) {
        delete_some(p, 0, 40);
        peer_commit_all(p);
        peer_batch(p);
        for (int i = 0; i < 40; i++)
            peer_put(p, name_of(i), &file, "x");
        peer_commit_all(p);
    }
    delete_some(p, 0, 70); /* and what is lost is still seen */
    expect_held(p);
    peer_end(p);
}

static void a_unit_counts_as_one(void **state)
{
    struct peer *p = *state;
    struct entry dir = a_dir(0755), file = a_file("new", 3, 0644);
    fill(p);
    peer_batch(p);
    peer_unit(p, "d1");
    peer_entry(p, "d1", &dir, HOW_META, NULL);
    for (int i = 1; i < MANY; i += 3)
        peer_delete(p, name_of(i));
    peer_put(p, "d1/new", &file, "new");
    peer_commit_all(p);
    assert_absent(p, "d1/f1");
    peer_end(p);
    assert_int_equal(peer_open(p).deleted, 1);
    peer_end(p);
}

static void force_lasts_until_it_is_level(void **state)
{
    struct peer *p = *state;
    fill(p);
    peer_end(p);
    p->open_flags = OPEN_FORCE;
    peer_open(p);
    peer_batch(p);
    peer_delete(p, "d1");
    peer_commit_all(p);
    level(p);
    peer_batch(p);
    peer_delete(p, "d2");
    expect_held(p);
    peer_end(p);
}

/* What its own configuration says a primary may make stricter, not looser; the operator's word
 * passes both. */
static void its_own_limit_counts_too(void **state)
{
    struct peer *p = *state;
    fill(p);
    peer_end(p);
    p->max_delete_percent = 100;
    p->policy = (struct receive_policy){.said = true, .limit = {20, LIMIT}};
    peer_open(p);
    delete_some(p, 0, 70);
    expect_held(p);
    peer_end(p);
    p->max_delete_percent = 20;
    p->policy.limit.percent = 100;
    peer_open(p);
    delete_some(p, 0, 70);
    expect_held(p);
    peer_end(p);
    p->policy.limit.percent = 20;
    p->open_flags = OPEN_FORCE;
    peer_open(p);
    delete_some(p, 0, 70);
    peer_commit_all(p);
    peer_end(p);
}

/* Opens and expects that the site is held. */
static void expect_held_open(struct peer *p, const char *why)
{
    struct msg_site_error m;
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    assert_string_equal(msg_reason_name(m.reason), "held");
    assert_non_null(strstr(m.text.data, why));
    peer_end(p);
}

/* The root that was mirrored is moved away, and stands at away[PEER_PATH + 8]. */
static void move_root_away(struct peer *p, char *away)
{
    snprintf(away, PEER_PATH + 8, "%s.away", p->root);
    fill(p);
    peer_end(p);
    assert_int_equal(rename(p->root, away), 0);
}

static void another_root_is_held(void **state)
{
    struct peer *p = *state;
    char away[PEER_PATH + 8];
    move_root_away(p, away);
    expect_held_open(p, "was removed");
    assert_int_equal(access(p->root, F_OK), -1);
    assert_int_equal(mkdir(p->root, 0755), 0);
    expect_held_open(p, "empty");
    write_file(p, "there", "x");
    expect_held_open(p, "another directory");
    /* It clears by itself once the cause is gone. */
    assert_int_equal(unlink(on_root(p, "there")), 0);
    assert_int_equal(rmdir(p->root), 0);
    assert_int_equal(rename(away, p->root), 0);
    assert_int_equal(peer_open(p).state, ROOT_OURS);
    peer_end(p);
}

static void another_root_is_taken_by_force(void **state)
{
    struct peer *p = *state;
    char away[PEER_PATH + 8];
    struct entry file = a_file("x", 1, 0644);
    move_root_away(p, away);
    p->open_flags = OPEN_FORCE;
    assert_int_equal(peer_open(p).state, ROOT_CREATED);
    peer_batch(p);
    peer_put(p, "f", &file, "x");
    peer_commit_all(p);
    peer_end(p);
    p->open_flags = 0;
    assert_int_equal(peer_open(p).state, ROOT_OURS);
    peer_end(p);
}

/* Nothing is to be sent there, and it is known again all the same. */
static void an_equal_root_is_taken_by_force(void **state)
{
    struct peer *p = *state;
    char away[PEER_PATH + 8];
    move_root_away(p, away);
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "a", "a copy");
    p->open_flags = OPEN_FORCE;
    peer_open(p);
    level(p);
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    peer_end(p);
    p->open_flags = 0;
    assert_int_equal(peer_open(p).state, ROOT_OURS);
    peer_end(p);
}

/* What was there before mirrord is set aside when it changes; what was level is not. */
static void what_is_level_is_ours(void **state)
{
    struct peer *p = *state;
    struct entry dir = a_dir(0755), file = a_file("new", 3, 0644);
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "a", "of rsync");
    assert_int_equal(mkdir(on_root(p, "d"), 0755), 0);
    write_file(p, "d/b", "of rsync");
    p->open_flags = OPEN_ADOPT;
    peer_open(p);
    peer_batch(p);
    peer_put(p, "a", &file, "new");
    peer_commit_all(p);
    assert_int_equal(foreign_count(p, "a"), 1);
    level(p);
    for (uint64_t i = 0; i < 8; i++) { /* steps of jobs: it is not the only one */
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
    peer_batch(p);
    peer_entry(p, "d", &dir, HOW_META, NULL);
    peer_put(p, "d/b", &file, "new");
    peer_commit_all(p);
    assert_file(p, "d/b", "new", &file);
    assert_int_equal(foreign_count(p, NULL), 1);
    peer_end(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, peer_make, peer_unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(many_small_batches_are_held),
        T(a_directory_counts_with_all_in_it),
        T(what_replaces_a_directory_counts_too),
        T(what_comes_back_is_no_loss),
        T(a_unit_counts_as_one),
        T(force_lasts_until_it_is_level),
        T(its_own_limit_counts_too),
        T(another_root_is_held),
        T(another_root_is_taken_by_force),
        T(an_equal_root_is_taken_by_force),
        T(what_is_level_is_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
