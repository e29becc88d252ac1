/* Units, which are switched as a whole: what a switch leaves, and what keeps it from happening. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "faults.h"
#include "plugin.h"

/* --- what a switch does --- */

static void a_unit_is_switched(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    struct entry d = old_dir();
    peer_open(p);
    send_site(p, false);
    ino_t unit = inode_of(p, "plugins/x"), same = inode_of(p, "plugins/x/same"),
          deep = inode_of(p, "plugins/x/sub/deep/same"), times = inode_of(p, "plugins/x/times"),
          mode = inode_of(p, "plugins/x/mode");
    send_update(p);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_dir(p, "plugins", &d);
    assert_true(inode_of(p, "plugins/x") != unit);
    assert_true(inode_of(p, "plugins/x/same") == same);
    assert_true(inode_of(p, "plugins/x/sub/deep/same") == deep);
    assert_true(inode_of(p, "plugins/x/times") == times);
    assert_true(inode_of(p, "plugins/x/mode") != mode);
    assert_int_equal(foreign_count(p, NULL), 0);
    assert_int_equal(kept_count(p), 1);
    assert_known(p, &want);
    peer_end(p);
    assert_int_equal(kept_count(p), 1);
}

/* A second update while the first one's directory is kept, and its end after that. */
static void twice_within_the_grace(void **state)
{
    struct peer *p = *state;
    struct entry t = text("times", 900);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    commit_with(p, 0);
    ino_t times = inode_of(p, "plugins/x/times");
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_entry(p, "plugins/x/times", &t, HOW_META, NULL);
    put_text(p, "plugins/x/changed", "newest", 900);
    commit_with(p, 0);
    assert_int_equal(kept_count(p), 2);
    assert_true(inode_of(p, "plugins/x/times") == times);
    assert_text(p, "plugins/x/times", "times", 900);
    assert_text(p, "plugins/x/changed", "newest", 900);
    /* Alone, in no unit. */
    t.mtime++;
    peer_batch(p);
    peer_entry(p, "plugins/x/times", &t, HOW_META, NULL);
    peer_commit_all(p);
    assert_true(inode_of(p, "plugins/x/times") == times);
    struct msg_sums want = sums_of(p, "plugins");
    assert_known(p, &want);
    peer_end(p);
    assert_int_equal(foreign_count(p, NULL), 0);
}

static void the_old_directory_goes_and_all_stays_known(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    struct stat st;
    p->unit_grace = -1;
    peer_open(p);
    send_site(p, false);
    send_update(p);
    commit_with(p, 0);
    let_jobs_end(p);
    assert_int_equal(stat(on_root(p, "plugins/x/same"), &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_known(p, &want);
    peer_end(p);
    assert_int_equal(foreign_count(p, NULL), 0);
}

/* What one session keeps another one removes. */
static void the_grace_outlives_the_session(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    commit_with(p, 0);
    peer_end(p);
    assert_int_equal(kept_count(p), 1);
    p->unit_grace = -1;
    peer_open(p);
    let_jobs_end(p);
    assert_known(p, &want);
    peer_end(p);
}

static void units_come_and_go(void **state)
{
    struct peer *p = *state;
    struct entry d = old_dir();
    peer_open(p);
    send_site(p, false);
    peer_batch(p);
    peer_unit(p, "plugins/y");
    peer_unit(p, "new/z");
    peer_put(p, "new", &d, NULL);
    put_text(p, "plugins/y/sub/file", "y", 0);
    peer_put(p, "plugins/y/sub", &d, NULL);
    peer_put(p, "plugins/y", &d, NULL);
    peer_put(p, "new/z", &d, NULL);
    put_text(p, "new/z/file", "z", 0);
    commit_with(p, 0);
    assert_text(p, "plugins/y/sub/file", "y", 0);
    assert_text(p, "new/z/file", "z", 0);
    assert_dir(p, "new", &d);
    assert_dir(p, "plugins", &d);
    assert_int_equal(kept_count(p), 0);
    struct msg_sums want = sums_of(p, "plugins");
    assert_known(p, &want);
    /* One goes, with a file in it that is not mirrord's. */
    write_file(p, "plugins/y/upload", "local");
    peer_batch(p);
    peer_unit(p, "plugins/y");
    peer_delete(p, "plugins/y");
    commit_with(p, 0);
    assert_absent(p, "plugins/y");
    assert_dir(p, "plugins", &d);
    assert_int_equal(kept_count(p), 1);
    assert_int_equal(foreign_count(p, NULL), 1);
    assert_int_equal(foreign_count(p, "plugins/y/upload"), 1);
    peer_batch(p);
    peer_unit(p, "plugins/y");
    peer_delete(p, "plugins/y");
    commit_with(p, 0);
    want = sums_of(p, "plugins");
    assert_known(p, &want);
    peer_end(p);
}

static void two_units_and_a_file(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(true);
    peer_open(p);
    send_site(p, true);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_unit(p, "plugins/y");
    put_text(p, "outside", "new!", 500);
    send_changes(p, "plugins/y");
    send_changes(p, "plugins/x");
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_new(p, "plugins/y");
    assert_text(p, "outside", "new!", 500);
    assert_known(p, &want);
    peer_end(p);
}

/* --- all or nothing --- */

static void one_failure_stops_all(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    struct entry bad = text("right", 0), lost = text("elsewhere", 0), t = text("same", 9);
    peer_open(p);
    send_site(p, false);
    ino_t unit = inode_of(p, "plugins/x");
    struct msg_sums before = sums_of(p, "plugins");
    /* While it is staged. */
    send_update(p);
    uint32_t atom = peer_put(p, "plugins/x/bad", &bad, "wrong");
    put_text(p, "outside", "new!", 500);
    expect_one_failure(p, atom, REASON_NEED_CONTENT);
    /* While the unit is built: nothing to have its times set. */
    send_update(p);
    atom = peer_entry(p, "plugins/x/nowhere", &lost, HOW_META, NULL);
    expect_one_failure(p, atom, REASON_NEED_CONTENT);
    send_update(p);
    atom = peer_entry(p, "plugins/x/no/dir", &lost, HOW_META, NULL);
    expect_one_failure(p, atom, REASON_NEED_CONTENT);
    send_update(p);
    put_text(p, "plugins/x/no/dir", "x", 0);
    expect_one_failure(p, p->atom, REASON_NO_PARENT);
    /* Outside of it. */
    send_update(p);
    put_text(p, "no/dir", "x", 0);
    expect_one_failure(p, p->atom, REASON_NO_PARENT);
    /* A file whose content is another one than the primary thinks. */
    write_file(p, "plugins/x/same", "hers");
    send_update(p);
    atom = peer_entry(p, "plugins/x/same", &t, HOW_META, NULL);
    expect_one_failure(p, atom, REASON_NEED_CONTENT);
    assert_old(p, "plugins/x");
    assert_text(p, "outside", "old", 0);
    assert_true(inode_of(p, "plugins/x") == unit);
    struct msg_sums after = sums_of(p, "plugins");
    assert_sums(&before, &after);
    assert_int_equal(kept_count(p), 0);
    let_jobs_end(p);
    /* Again, without the failure. */
    send_update(p);
    put_text(p, "plugins/x/same", "same", 0);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_int_equal(foreign_count(p, "plugins/x/same"), 1);
    assert_int_equal(foreign_count(p, NULL), 1);
    assert_known(p, &want);
    peer_end(p);
}

/* The clone that was not wanted moved ctimes, which does not make anything unknown. */
static void what_was_built_in_vain_leaves_nothing(void **state)
{
    struct peer *p = *state;
    struct entry lost = text("elsewhere", 0);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    expect_one_failure(
        p, peer_entry(p, "plugins/x/nowhere", &lost, HOW_META, NULL), REASON_NEED_CONTENT);
    let_jobs_end(p);
    struct msg_sums want = sums_of(p, "plugins");
    assert_known(p, &want);
    assert_old(p, "plugins/x");
    peer_end(p);
}

static void a_second_exchange_that_fails(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_site(p, true);
    strcpy(faults->name, "y");
    atomic_store(&faults->refuse, EIO);
    peer_batch(p);
    uint32_t first = peer_unit(p, "plugins/x");
    peer_unit(p, "plugins/y");
    put_text(p, "outside", "new!", 500);
    send_changes(p, "plugins/x");
    send_changes(p, "plugins/y");
    expect_one_failure(p, first + 1, REASON_IO);
    assert_old(p, "plugins/x");
    assert_old(p, "plugins/y");
    assert_text(p, "outside", "old", 0);
    let_jobs_end(p);
    struct msg_sums want = sums_of(p, "plugins");
    assert_known(p, &want);
    peer_end(p);
}

static void an_atom_is_dropped(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    put_text(p, "plugins/x/torn", "torn", 0);
    msg_put_abort(&p->out, &(struct msg_abort){p->atom});
    /* What comes later for a path counts. */
    put_text(p, "plugins/x/changed", "newer", 600);
    put_text(p, "plugins/x/changed", "new!", 500);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_absent(p, "plugins/x/torn");
    assert_known(p, &want);
    peer_end(p);
}

static void a_batch_is_dropped(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_site(p, false);
    send_update(p);
    peer_drop(p);
    let_jobs_end(p);
    assert_old(p, "plugins/x");
    peer_batch(p);
    put_text(p, "outside", "new!", 500);
    peer_drop(p);
    send_update(p);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_text(p, "outside", "old", 0);
    struct msg_sums want = sums_of(p, "plugins");
    assert_known(p, &want);
    peer_end(p);
}

static void refused_messages(void **state)
{
    struct peer *p = *state;
    for (int i = 0; i < 8; i++) {
        peer_open(p);
        if (i == 0)
            send_site(p, false);
        peer_batch(p);
        if (i == 0)
            put_text(p, "outside", "new!", 0);
        peer_unit(p, i == 1 ? "plugins" : "plugins/x/sub");
        switch (i) {
        case 1: peer_unit(p, "plugins/x"); break;
        case 2: peer_unit(p, "plugins"); break;
        case 3: peer_move(p, "outside", "plugins/x/outside"); break;
        case 4: msg_put_abort(&p->out, &(struct msg_abort){p->atom}); break;
        case 5:
            peer_drop(p);
            peer_drop(p);
            break;
        case 6:
            peer_send_commit(p);
            peer_expect(p, MSG_ACK);
            peer_drop(p);
            break;
        case 7:
            for (int n = 0; n < MSG_UNITS_MAX; n++) {
                char unit[32];
                snprintf(unit, sizeof unit, "units/%d", n);
                peer_unit(p, unit);
            }
            break;
        default: break;
        }
        peer_send(p);
        peer_expect_error(p, i == 7 ? REASON_LIMIT : REASON_MALFORMED);
    }
    assert_text(p, "outside", "old", 0);
}

/* --- units that are no directories --- */

static void strange_units(void **state)
{
    struct peer *p = *state;
    struct entry d = old_dir(), l = a_link("elsewhere"), f = text("file", 0);
    peer_open(p);
    send_site(p, true);
    peer_batch(p);
    peer_put(p, "plugins/l", &l, NULL);
    put_text(p, "plugins/f", "file", 0);
    peer_commit_all(p);
    /* A link or a file becomes a unit, a unit a link or a file. */
    peer_batch(p);
    peer_unit(p, "plugins/l");
    peer_unit(p, "plugins/f");
    peer_unit(p, "plugins/x");
    peer_unit(p, "plugins/y");
    peer_put(p, "plugins/l", &d, NULL);
    put_text(p, "plugins/l/file", "in l", 0);
    peer_put(p, "plugins/f", &d, NULL);
    put_text(p, "plugins/f/file", "in f", 0);
    peer_put(p, "plugins/x", &l, NULL);
    peer_put(p, "plugins/y", &f, "file");
    commit_with(p, 0);
    assert_text(p, "plugins/l/file", "in l", 0);
    assert_text(p, "plugins/f/file", "in f", 0);
    assert_link(p, "plugins/x", &l);
    assert_file(p, "plugins/y", "file", &f);
    assert_int_equal(foreign_count(p, NULL), 0);
    struct msg_sums want = sums_of(p, "plugins");
    /* What is beneath a link is not reached through it. */
    assert_int_equal(mkdir(on_root(p, "plugins/elsewhere"), 0755), 0);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    put_text(p, "plugins/x/file", "in x", 0);
    expect_one_failure(p, p->atom, REASON_NO_PARENT);
    assert_absent(p, "plugins/elsewhere/file");
    assert_int_equal(rmdir(on_root(p, "plugins/elsewhere")), 0);
    /* No directory above it. */
    peer_batch(p);
    uint32_t atom = peer_unit(p, "no/unit");
    peer_put(p, "no/unit", &d, NULL);
    expect_one_failure(p, atom, REASON_NO_PARENT);
    assert_absent(p, "no");
    /* Nothing in it changes. */
    peer_batch(p);
    peer_unit(p, "plugins/l");
    put_text(p, "outside", "new!", 500);
    commit_with(p, 0);
    assert_text(p, "outside", "new!", 500);
    struct msg_sums sums = sums_of(p, "plugins");
    assert_sums(&sums, &want);
    peer_end(p);
}

/* A directory that is not mirrord's where a unit comes. */
static void a_foreign_directory_in_the_way(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_site(p, false);
    assert_int_equal(mkdir(on_root(p, "plugins/y"), 0755), 0);
    write_file(p, "plugins/y/mine", "local");
    peer_batch(p);
    peer_unit(p, "plugins/y");
    send_old(p, "plugins/y");
    commit_with(p, 0);
    assert_old(p, "plugins/y");
    assert_absent(p, "plugins/y/mine");
    assert_int_equal(foreign_count(p, "plugins/y"), 1);
    peer_end(p);
}

static void without_root(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    struct entry closed = a_dir(0555);
    p->unit_grace = -1;
    peer_drop_root(p);
    peer_open(p);
    send_site(p, false);
    peer_batch(p);
    peer_put(p, "plugins/x/sub/deep", &closed, NULL);
    peer_put(p, "plugins/x", &closed, NULL);
    peer_put(p, "plugins", &closed, NULL);
    peer_commit_all(p);
    send_update(p);
    commit_with(p, 0);
    assert_dir(p, "plugins/x/sub/deep", &closed);
    assert_dir(p, "plugins", &closed);
    assert_text(p, "plugins/x/sub/deep/same", "same", 0);
    struct entry d = old_dir();
    peer_batch(p);
    peer_put(p, "plugins/x/sub/deep", &d, NULL);
    peer_put(p, "plugins", &d, NULL);
    peer_commit_all(p);
    assert_new(p, "plugins/x");
    let_jobs_end(p);
    assert_known(p, &want);
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, faults_peer_make, faults_peer_unmake)
    const struct CMUnitTest tests[] = {
        T(a_unit_is_switched),
        T(twice_within_the_grace),
        T(the_old_directory_goes_and_all_stays_known),
        T(the_grace_outlives_the_session),
        T(units_come_and_go),
        T(two_units_and_a_file),
        T(one_failure_stops_all),
        T(what_was_built_in_vain_leaves_nothing),
        T(a_second_exchange_that_fails),
        T(an_atom_is_dropped),
        T(a_batch_is_dropped),
        T(refused_messages),
        T(strange_units),
        T(a_foreign_directory_in_the_way),
        T(without_root),
    };
    return faults_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
