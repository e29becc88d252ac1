/* Receivers killed while they switch units, and power that is lost: all of the old or all of the
 * new. */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "faults.h"
#include "plugin.h"
#include "secondary/receive.h"

/* --- killed --- */

static bool there(struct peer *p, const char *path)
{
    struct stat st;
    return lstat(on_root(p, path), &st) == 0;
}

/* Whatever else happened, a unit is one of its two versions; times of what did not change may be
 * still on their way. True: the new one. */
static bool assert_one_version(struct peer *p, const char *unit)
{
    bool new = there(p, in(unit, "added"));
    stays_in_place(p, in(unit, "changed"), new ? "new!" : "old");
    stays_in_place(p, in(unit, "sub/changed"), new ? "new!" : "old");
    stays_in_place(p, in(unit, "times"), "times");
    stays_in_place(p, in(unit, "same"), "same");
    stays_in_place(p, in(unit, new ? "dir-to-file" : "dir-to-file/file"), new ? "new!" : "old");
    assert_int_equal(there(p, in(unit, "deleted")), !new);
    return new;
}

static void send_all(struct peer *p)
{
    struct entry d = old_dir();
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_unit(p, "plugins/y");
    peer_unit(p, "themes/new");
    peer_unit(p, "themes/gone");
    send_changes(p, "plugins/x");
    send_changes(p, "plugins/y");
    peer_put(p, "themes/new", &d, NULL);
    put_text(p, "themes/new/file", "new!", 0);
    peer_delete(p, "themes/gone");
    put_text(p, "outside", "new!", 500);
}

static void send_before(struct peer *p)
{
    struct entry d = old_dir();
    send_site(p, true);
    peer_batch(p);
    peer_put(p, "themes", &d, NULL);
    peer_put(p, "themes/gone", &d, NULL);
    put_text(p, "themes/gone/file", "old", 0);
    peer_commit_all(p);
}

static void assert_all(struct peer *p, bool new)
{
    (new ? assert_new : assert_old)(p, "plugins/x");
    (new ? assert_new : assert_old)(p, "plugins/y");
    assert_text(p, "outside", new ? "new!" : "old", new ? 500 : 0);
    assert_int_equal(there(p, "themes/new/file"), new);
    assert_int_equal(there(p, "themes/gone/file"), !new);
}

static void wait_until_staged(struct peer *p)
{
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
}

/* Reads up to a message of this type. False: the receiver was killed before it. */
static bool answers(struct peer *p, struct buf *in, uint8_t type)
{
    struct frame f;
    for (;;) {
        int n = frame_next(buf_bytes(in), buf_len(in), &f);
        assert_true(n >= 0);
        if (n > 0) {
            buf_drain(in, (size_t)n);
            if (f.type == type)
                return true;
            continue;
        }
        ssize_t got = read(p->fd, buf_room(in, 65536), 65536);
        if (got <= 0)
            return false;
        buf_fill(in, (size_t)got);
    }
}

/* True when the receiver lived to acknowledge and, when `jobs`, to end what it had to do then. */
static bool comes_through(struct peer *p, bool jobs)
{
    struct wire_writer ping = {0};
    struct buf in = {0};
    msg_put_ping(&ping, &(struct msg_ping){1});
    peer_send_commit(p);
    bool alive = answers(p, &in, MSG_ACK);
    while (alive && jobs && (kept_count(p) || staged_count(p)))
        alive = send(p->fd, ping.data, ping.len, MSG_NOSIGNAL) > 0 && answers(p, &in, MSG_PONG);
    wire_free(&ping);
    buf_free(&in);
    peer_kill(p);
    return alive;
}

/* Killed before its n-th change of the disk after COMMIT. False when it came through. */
static bool killed_at(int n, const struct msg_sums *want, bool foreign, unsigned *finished)
{
    struct peer p;
    struct err err;
    peer_setup(&p);
    p.unit_grace = foreign ? -1 : 0;
    peer_open(&p);
    send_before(&p);
    if (foreign)
        write_file(&p, "plugins/x/upload", "local");
    if (foreign)
        write_file(&p, "themes/gone/upload", "local");
    send_all(&p);
    wait_until_staged(&p);
    atomic_store(&faults->countdown, n);
    bool dead = !comes_through(&p, foreign);
    atomic_store(&faults->countdown, 0);
    bool begun = assert_one_version(&p, "plugins/x");
    assert_one_version(&p, "plugins/y");
    if (n % 4 == 1 || n % 4 == 2)
        assert_int_equal(receive_recover(p.state, p.root, &(struct receive_policy){0}, &err), 0);
    peer_open(&p);
    bool new = there(&p, "plugins/y/added");
    assert_true(new || !begun);
    if (new || !foreign) /* what was written changed times */
        assert_all(&p, new);
    *finished += new &&dead;
    if (new) {
        struct msg_sums sums = sums_of(&p, "plugins");
        assert_sums(&sums, want);
    }
    send_all(&p);
    peer_delete(&p, "plugins/x/upload"); /* as a comparison finds it */
    commit_with(&p, 0);
    assert_all(&p, true);
    struct msg_sums sums = sums_of(&p, "plugins");
    assert_sums(&sums, want);
    assert_int_equal(foreign_count(&p, NULL), foreign ? 2 : 0);
    peer_end(&p);
    assert_int_equal(staged_count(&p), 0);
    peer_cleanup(&p);
    return dead;
}

static void killed(bool foreign)
{
    struct msg_sums want = reference(true);
    unsigned finished = 0;
    int n = 1;
    while (killed_at(n, &want, foreign, &finished))
        n += foreign ? 2 : 1; /* every second one is enough where there are many */
    print_message("killed at points up to %d, %u times behind the journal\n", n - 1, finished);
    assert_true(n > 60);
    assert_true(finished > 15);
}

static void killed_switches_are_old_or_new(void **state)
{
    (void)state;
    killed(false);
}

static void what_is_foreign_survives_any_kill(void **state)
{
    (void)state;
    killed(true);
}

/* Power is lost between the journal and the exchange: the old one stays, what was built goes, and
 * nothing of it is taken for somebody else's. */
static void power_is_lost(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_site(p, false);
    send_update(p);
    strcpy(faults->name, "x");
    atomic_store(&faults->at_switch, 1);
    assert_false(comes_through(p, false));
    faults_clear();
    atomic_store(&faults->rebooted, 1);
    peer_open(p);
    bool new = assert_one_version(p, "plugins/x");
    (new ? assert_new : assert_old)(p, "plugins/x");
    let_unwanted_go(p);
    assert_int_equal(foreign_count(p, NULL), 0);
    send_update(p);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    peer_end(p);
}

/* The same where the journal survives (fsync = batch), and once a file that was staged with it is
 * damaged. */
static void power_is_lost_with_fsync(void **state)
{
    struct peer *p = *state;
    p->open_flags = OPEN_FSYNC;
    for (int damaged = 0; damaged < 2; damaged++) {
        peer_open(p);
        send_site(p, false);
        send_update(p);
        strcpy(faults->name, "x");
        atomic_store(&faults->at_switch, 1);
        assert_false(comes_through(p, false));
        faults_clear();
        assert_old(p, "plugins/x");
        if (damaged) {
            char command[512];
            snprintf(command, sizeof command,
                "printf zzzz > $(find %s/.mirrord-*/u0-*/content -maxdepth 1 -name added)",
                p->fence);
            assert_int_equal(system(command), 0);
        }
        atomic_store(&faults->rebooted, 1);
        peer_open(p);
        (damaged ? assert_old : assert_new)(p, "plugins/x");
        let_unwanted_go(p);
        /* Nothing is lost: what was committed is still known as that. */
        send_update(p);
        commit_with(p, 0);
        assert_new(p, "plugins/x");
        assert_int_equal(foreign_count(p, NULL), 0);
        peer_batch(p);
        peer_delete(p, "plugins");
        peer_commit_all(p);
        peer_end(p);
        faults_clear();
    }
}

/* The journal is lost with the power, after the exchange: what was there is set aside unseen. */
static void the_journal_is_lost(void **state)
{
    struct peer *p = *state;
    char command[512];
    peer_open(p);
    send_site(p, false);
    write_file(p, "plugins/x/upload", "local");
    send_update(p);
    strcpy(faults->name, "x");
    atomic_store(&faults->at_switch, 2);
    assert_false(comes_through(p, false));
    atomic_store(&faults->at_switch, 0);
    snprintf(command, sizeof command, "find %s -name data.mdb -delete", p->state);
    assert_int_equal(system(command), 0);
    peer_open(p);
    let_unwanted_go(p);
    stays_in_place(p, "plugins/x/added", "new!");
    assert_int_equal(foreign_count(p, "plugins/x"), 1);
    assert_int_equal(foreign_count(p, NULL), 1);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
}

/* A journal, and a record, of several transactions, each of which may be the last. */
static void large_units_are_killed(void **state)
{
    struct peer *p = *state;
    bool dead = true;
    peer_open(p);
    send_many(p, 0);
    commit_with(p, 0);
    for (int n = 1, version = 1; dead; n++) {
        send_many(p, version);
        wait_until_staged(p);
        atomic_store(&faults->commits, n);
        dead = !comes_through(p, false);
        atomic_store(&faults->commits, 0);
        peer_open(p);
        struct entry e = text("same", version);
        struct stat st;
        assert_int_equal(stat(on_root(p, numbered(4999)), &st), 0);
        assert_true(st.st_mtim.tv_sec == e.mtime || st.st_mtim.tv_sec == e.mtime - 1);
        bool new = st.st_mtim.tv_sec == e.mtime;
        for (int i = 1; i < MANY; i += 7) {
            e = text(i % 1000 ? "same" : "0", i % 1000 ? version - !new : 0);
            if (i % 1000)
                assert_file(p, numbered(i), "same", &e);
        }
        assert_int_equal(sums_of(p, "plugins").entries, MANY + 51);
        assert_int_equal(sums_of(p, "plugins").unproven, 0);
        assert_int_equal(foreign_count(p, NULL), 0);
        version += new;
        assert_true(!dead || n < 40);
        assert_true(dead || n > 6);
    }
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, faults_peer_make, faults_peer_unmake)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_switches_are_old_or_new),
        cmocka_unit_test(what_is_foreign_survives_any_kill),
        T(power_is_lost),
        T(power_is_lost_with_fsync),
        T(the_journal_is_lost),
        T(large_units_are_killed),
    };
    return faults_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
