/* RENEW: another process goes on with the session, and no site is walked, compared or closed. */
#include "peer.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* The receiver's only child. */
static pid_t child_of(pid_t parent)
{
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    return pid;
}

static void renewed(struct peer *p, const char *text)
{
    struct msg_renewed m;
    assert_true(msg_get_renewed(peer_expect(p, MSG_RENEWED), &m));
    assert_true(bytes_equal(m.text, bytes_of(text)));
}

static void renew(struct peer *p, const char *text)
{
    msg_put_renew(&p->out);
    peer_send(p);
    renewed(p, text);
}

static void put(struct peer *p, const char *path)
{
    struct entry f = a_file("x", 1, 0644);
    peer_batch(p);
    peer_put(p, path, &f, "x");
    peer_commit_all(p);
}

static void closed_by(struct peer *p, uint32_t site, uint16_t reason)
{
    struct msg_site_error m;
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    assert_int_equal(m.site, site);
    assert_string_equal(msg_reason_name(m.reason), msg_reason_name(reason));
}

/* A walk would tell of what somebody else has done. */
static void another_process_goes_on(void **state)
{
    struct peer *p = *state;
    p->session = 5;
    peer_open(p);
    put(p, "a");
    write_file(p, "a", "by hand");
    pid_t first = child_of(p->pid);
    renew(p, "");
    pid_t second = child_of(p->pid);
    assert_int_not_equal(first, second);
    put(p, "b");
    renew(p, "");
    assert_int_not_equal(second, child_of(p->pid));
    put(p, "c");
    assert_int_equal(p->drifts, 0);
    peer_end(p);
    assert_int_equal(access(on_root(p, "c"), F_OK), 0);
    p->known = 5;
    p->session = 6;
    peer_open(p);
    assert_int_equal(p->drifts, 1);
    peer_end(p);
}

static void what_is_not_committed_is_dropped(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    peer_open(p);
    uint32_t committed = peer_batch(p);
    peer_put(p, "a", &f, "x");
    peer_send_commit(p);
    peer_batch(p);
    peer_put(p, "b", &f, "x");
    msg_put_renew(&p->out);
    peer_send(p);
    struct msg_ack *m CLEANUP_FREE = mem_alloc(sizeof *m);
    assert_true(msg_get_ack(peer_expect(p, MSG_ACK), m));
    assert_int_equal(m->batch, committed);
    renewed(p, "");
    assert_absent(p, "b");
    put(p, "c");
    assert_absent(p, "b");
    peer_end(p);
}

/* Numbers go on, too: the batch before is known no more, and is not begun again. */
static void numbers_go_on(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    uint32_t batch = peer_batch(p);
    renew(p, "");
    msg_put_begin(&p->out, &(struct msg_begin){.batch = batch, .site = 1});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

static void what_comes_behind_it_is_read(void **state)
{
    struct peer *p = *state;
    struct msg_ping pong;
    peer_open(p);
    msg_put_ping(&p->out, &(struct msg_ping){1});
    msg_put_renew(&p->out);
    msg_put_ping(&p->out, &(struct msg_ping){2});
    msg_put_bye(&p->out);
    peer_send(p);
    assert_true(msg_get_ping(peer_expect(p, MSG_PONG), &pong) && pong.token == 1);
    renewed(p, "");
    assert_true(msg_get_ping(peer_expect(p, MSG_PONG), &pong) && pong.token == 2);
    assert_int_equal(peer_wait(p), 0);
}

static void a_root_that_went_closes_its_site(void **state)
{
    struct peer *p = *state;
    char other[PEER_PATH + 8];
    peer_open(p);
    put(p, "a");
    snprintf(other, sizeof other, "%s/other", p->fence);
    peer_send_open(p, 2, other);
    closed_by(p, 2, REASON_YIELD); /* its state comes with the next process */
    renew(p, "");
    peer_send_open(p, 2, other);
    peer_expect(p, MSG_OPENED);
    snprintf(other, sizeof other, "%s/aside", p->fence);
    assert_int_equal(rename(p->root, other), 0);
    msg_put_renew(&p->out);
    peer_send(p);
    closed_by(p, 1, REASON_YIELD);
    renewed(p, "");
    assert_int_equal(access(p->root, F_OK), -1);
    msg_put_list(&p->out, &(struct msg_list){.request = 1, .site = 2});
    peer_send(p);
    peer_expect(p, MSG_LISTING);
    peer_end(p);
}

static void a_configuration_that_is_broken_stays_as_it_was(void **state)
{
    struct peer *p = *state;
    p->reload_error = "mirrord.conf:7: no such key";
    peer_open(p);
    renew(p, p->reload_error);
    put(p, "a");
    peer_end(p);
}

static void a_killed_process_ends_the_session(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    renew(p, "");
    kill(child_of(p->pid), SIGKILL);
    assert_int_equal(peer_wait(p), 1);
}

static void killed_while_it_is_renewed(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    put(p, "a");
    pid_t child = child_of(p->pid);
    kill(child, SIGSTOP);
    msg_put_renew(&p->out);
    peer_send(p);
    kill(child, SIGKILL);
    assert_int_equal(peer_wait(p), 1);
    assert_int_equal(peer_open(p).state, ROOT_OURS);
    put(p, "b");
    peer_end(p);
}

/* The receiver ends, and lets go of the root. */
static void the_primary_goes_meanwhile(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    msg_put_renew(&p->out);
    peer_send(p);
    peer_wait(p);
    peer_open(p);
    put(p, "a");
    peer_end(p);
}

static void version_1_does_not_have_it(void **state)
{
    struct peer *p = *state;
    p->version = 1;
    peer_open(p);
    msg_put_renew(&p->out);
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(another_process_goes_on),
        T(what_is_not_committed_is_dropped),
        T(numbers_go_on),
        T(what_comes_behind_it_is_read),
        T(a_root_that_went_closes_its_site),
        T(a_configuration_that_is_broken_stays_as_it_was),
        T(a_killed_process_ends_the_session),
        T(killed_while_it_is_renewed),
        T(the_primary_goes_meanwhile),
        T(version_1_does_not_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
