/* What a session does around its host's commands: a unit's commit waits for on-switch, and what has
 * nothing to do with it does not; TELL is answered when on-commit is through. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "faults.h"
#include "plugin.h"

#define HELD "while [ ! -e go ]; do sleep 0.01; done; echo ready; tr '\\0' '\\n' >told"

static char *in_dir(struct peer *p, const char *name)
{
    static char path[2][128];
    static unsigned turn;
    char *at = path[turn++ % 2];
    snprintf(at, sizeof path[0], "%s/%s", p->dir, name);
    return at;
}

static void make(struct peer *p, const char *name)
{
    close(open(in_dir(p, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void await_file(struct peer *p, const char *name)
{
    for (int i = 0; access(in_dir(p, name), F_OK) < 0; i++) {
        assert_true(i < 6000);
        poll(NULL, 0, 10);
    }
}

/* The next ACK is of this batch, and says that all was done. */
static void acknowledged(struct peer *p, uint32_t batch)
{
    struct msg_ack *m CLEANUP_FREE = mem_alloc(sizeof *m);
    assert_true(msg_get_ack(peer_expect(p, MSG_ACK), m));
    assert_int_equal(m->batch, batch);
    assert_int_equal(m->count, 0);
}

/* Its COMMIT is sent: the batch's number. */
static uint32_t update(struct peer *p)
{
    peer_open(p);
    send_site(p, false);
    send_update(p);
    peer_send_commit(p);
    return p->batch;
}

static uint32_t put(struct peer *p, const char *path)
{
    peer_batch(p);
    put_text(p, path, "new", 0);
    peer_send_commit(p);
    return p->batch;
}

static void a_switch_waits_and_uploads_do_not(void **state)
{
    struct peer *p = *state;
    peer_command(p, true, HELD);
    uint32_t unit = update(p);
    acknowledged(p, put(p, "upload"));
    assert_text(p, "upload", "new", 0);
    assert_old(p, "plugins/x");
    acknowledged(p, put(p, "another"));
    uint32_t within = put(p, "plugins/x/late");
    make(p, "go");
    acknowledged(p, unit);
    acknowledged(p, within);
    assert_text(p, "plugins/x/late", "new", 0);
    peer_end(p);
}

/* All that the unit's files went through is told, and nothing of what went by. */
static void it_is_told_what_changed(void **state)
{
    struct peer *p = *state;
    char told[4096] = "";
    peer_command(p, true, HELD "; mv told all");
    make(p, "go");
    uint32_t unit = update(p);
    acknowledged(p, unit);
    assert_new(p, "plugins/x");
    await_file(p, "all");
    int fd CLEANUP_FD = open(in_dir(p, "all"), O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, told, sizeof told - 1) > 0);
    assert_non_null(strstr(told, "~plugins/x/changed\n"));
    assert_non_null(strstr(told, "~plugins/x/sub/changed\n"));
    assert_non_null(strstr(told, "-plugins/x/deleted\n"));
    assert_null(strstr(told, "plugins/x/same"));
    assert_null(strstr(told, "outside"));
    peer_end(p);
}

/* The session's end, or another process, is not in front of it. */
static void an_end_waits_for_it(void **state)
{
    struct peer *p = *state;
    peer_command(p, true, "echo >asked; " HELD);
    uint32_t unit = update(p);
    await_file(p, "asked");
    msg_put_renew(&p->out);
    peer_send(p);
    poll(NULL, 0, 50);
    assert_old(p, "plugins/x");
    make(p, "go");
    acknowledged(p, unit);
    peer_expect(p, MSG_RENEWED);
    assert_new(p, "plugins/x");
    peer_end(p);
}

static void who_is_killed_lets_go(void **state)
{
    struct peer *p = *state;
    peer_command(p, true, "echo >asked; cat >told; echo >gone");
    update(p);
    await_file(p, "asked");
    peer_kill(p);
    await_file(p, "gone");
    struct stat st;
    assert_int_equal(stat(in_dir(p, "told"), &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_old(p, "plugins/x");
}

/* A site that is closed by its fault while it waits. */
static void a_switch_that_is_given_up(void **state)
{
    struct peer *p = *state;
    peer_command(p, true, "echo >asked; cat >told; echo >gone; exit 1");
    update(p);
    await_file(p, "asked");
    struct msg_site_error m;
    char *aside CLEANUP_FREE = mem_format("%s.aside", p->root);
    assert_int_equal(rename(p->root, aside), 0);
    assert_int_equal(mkdir(p->root, 0755), 0);
    make(p, "go");
    put(p, "upload"); /* its commit looks at the root */
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    await_file(p, "gone");
    peer_end(p);
}

static void tell(struct peer *p, uint64_t token)
{
    msg_put_tell(&p->out, &(struct msg_tell){1, token});
    peer_send(p);
}

static uint64_t told(struct peer *p)
{
    struct msg_tell m;
    assert_true(msg_get_tell(peer_expect(p, MSG_TOLD), &m));
    assert_int_equal(m.site, 1);
    return m.token;
}

static void told_when_it_is_through(void **state)
{
    struct peer *p = *state;
    peer_command(p, false, "echo >begun; while [ ! -e go ]; do sleep 0.01; done; echo >ended");
    peer_open(p);
    tell(p, 1);
    assert_int_equal(told(p), 1); /* nothing is to be run */
    acknowledged(p, put(p, "a"));
    tell(p, 2);
    await_file(p, "begun");
    tell(p, 3);
    tell(p, 4);
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    make(p, "go");
    assert_int_equal(told(p), 2);
    assert_int_equal(access(in_dir(p, "ended"), F_OK), 0);
    assert_int_equal(told(p), 4);
    tell(p, 5);
    assert_int_equal(told(p), 5);
    peer_end(p);
}

static void told_at_once_without_one(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    acknowledged(p, put(p, "a"));
    tell(p, 7);
    assert_int_equal(told(p), 7);
    msg_put_tell(&p->out, &(struct msg_tell){2, 1});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

int main(void)
{
    if (faults_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_switch_waits_and_uploads_do_not, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(it_is_told_what_changed, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(an_end_waits_for_it, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(who_is_killed_lets_go, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(a_switch_that_is_given_up, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(told_when_it_is_through, peer_make, peer_unmake),
        cmocka_unit_test_setup_teardown(told_at_once_without_one, peer_make, peer_unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
