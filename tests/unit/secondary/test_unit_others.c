/* Units and who else is there: local changes, readers, other messages, and filesystems that cannot
 * do it. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "faults.h"
#include "plugin.h"

/* --- what others do --- */

static void meddle(struct peer *p, const char *format)
{
    strcpy(faults->name, "x");
    snprintf(faults->meddle, sizeof faults->meddle, format, p->root);
}

static void changes_between_clone_and_exchange(void **state)
{
    struct peer *p = *state;
    p->exclude = "*.local";
    peer_open(p);
    send_site(p, false);
    meddle(p, "cd %s/plugins/x && echo a > upload && mkdir -p n/m && echo b > n/m/f && "
              "echo c > sub/t && mv sub/t sub/deep/same && echo more >> same && "
              "echo d > changed && echo e > x.local");
    send_update(p);
    commit_with(p, 0);
    assert_int_equal(foreign_count(p, "plugins/x/upload"), 1);
    assert_int_equal(foreign_count(p, "plugins/x/n"), 1);
    assert_int_equal(foreign_count(p, "plugins/x/changed"), 1);
    assert_int_equal(foreign_count(p, "plugins/x/sub/deep/same"), 1);
    assert_int_equal(foreign_count(p, NULL), 4);
    assert_text(p, "plugins/x/sub/deep/same", "same", 0); /* the one that was linked */
    assert_text(p, "plugins/x/changed", "new!", 500);
    struct stat st;
    assert_int_equal(stat(on_root(p, "plugins/x/same"), &st), 0);
    assert_int_equal(st.st_size, 9); /* it is the same inode: kept */
    assert_int_equal(stat(on_root(p, "plugins/x/x.local"), &st), 0);
    /* It is found by the next walk. */
    peer_end(p);
    peer_open(p);
    assert_true(atomic_load(&faults->reads) > 0 || sums_of(p, "plugins").unproven > 0);
    peer_end(p);
}

/* The new content is in its place, and before it is looked at somebody puts the old one back. */
static void put_back_at_once(void **state)
{
    struct peer *p = *state;
    struct entry first = a_file("old content", 11, 0644), second = a_file("new", 3, 0644);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "x", &first, "old content");
    peer_commit_all(p);
    char *aside CLEANUP_FREE = mem_format("%s/../aside", p->root);
    assert_int_equal(rename(on_root(p, "x"), aside), 0);
    atomic_store(&faults->after, 1);
    meddle(p, "cd %s && mv ../aside x");
    peer_batch(p);
    peer_put(p, "x", &second, "new");
    peer_commit_all(p);
    peer_end(p);
    struct stat st;
    assert_int_equal(stat(on_root(p, "x"), &st), 0);
    assert_int_equal(st.st_size, 11);
    /* It is found by the next walk, which does not take it for the new one. */
    struct msg_opened m = peer_open(p);
    assert_true(m.sums.unproven == 1 || m.sums.bytes == 11);
    peer_end(p);
}

static void a_file_whose_times_change_is_changed(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_open(p);
    send_site(p, false);
    meddle(p, "echo more >> %s/plugins/x/times");
    send_update(p);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    free(ack);
    struct stat st;
    assert_int_equal(stat(on_root(p, "plugins/x/times"), &st), 0);
    assert_int_equal(st.st_size, 10);
    assert_text(p, "plugins/x/changed", "new!", 500);
    peer_end(p);
}

/* What somebody else changed before stays, since nothing is there to take its place. */
static void what_drifted_stays(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_site(p, false);
    write_file(p, "plugins/x/same", "patched here");
    write_file(p, "plugins/x/sub/changed", "patched here");
    assert_int_equal(unlink(on_root(p, "plugins/x/sub/deep/same")), 0);
    send_update(p);
    commit_with(p, 0);
    stays_in_place(p, "plugins/x/same", "patched here");
    assert_text(p, "plugins/x/sub/changed", "new!", 500);
    assert_absent(p, "plugins/x/sub/deep/same");
    assert_int_equal(foreign_count(p, NULL), 1);
    assert_int_equal(foreign_count(p, "plugins/x/sub/changed"), 1);
    peer_end(p);
}

/* A tree that was there at first contact: its content is read before it is taken for right. */
static void adopt(struct peer *p, uint8_t flags)
{
    struct entry d = old_dir(), t = text("there", 700), wrong = text("tHere", 700);
    assert_int_equal(mkdir(p->root, 0755), 0);
    assert_int_equal(mkdir(on_root(p, "plugins"), 0755), 0);
    assert_int_equal(mkdir(on_root(p, "plugins/x"), 0755), 0);
    write_file(p, "plugins/x/times", "there");
    write_file(p, "plugins/x/same", "there");
    write_file(p, "plugins/x/deleted", "there");
    p->open_flags = OPEN_ADOPT;
    assert_true(peer_open(p).sums.unproven > 0);
    ino_t times = inode_of(p, "plugins/x/times");
    peer_batch(p);
    peer_unit(p, "plugins/x");
    uint32_t atom = peer_entry(p, "plugins/x/times", &wrong, HOW_META, NULL);
    expect_one_failure(p, atom, REASON_NEED_CONTENT);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_put(p, "plugins/x", &d, NULL);
    peer_entry(p, "plugins/x/times", &t, HOW_META, NULL);
    peer_delete(p, "plugins/x/deleted");
    commit_with(p, flags);
    assert_file(p, "plugins/x/times", "there", &t);
    assert_true(inode_of(p, "plugins/x/times") == times);
    stays_in_place(p, "plugins/x/same", "there");
    assert_int_equal(foreign_count(p, "plugins/x/deleted"), 1);
    assert_int_equal(foreign_count(p, NULL), 1);
    let_unwanted_go(p);
    struct msg_sums want = sums_of(p, "plugins");
    assert_int_equal(want.unproven, 1);
    assert_known(p, &want);
    peer_end(p);
}

static void an_adopted_tree(void **state)
{
    adopt(*state, 0);
}

/* What was verified stays so, though it was linked for a unit that could not be switched. */
static void an_adopted_tree_file_by_file(void **state)
{
    strcpy(faults->name, "x");
    atomic_store(&faults->refuse, EXDEV);
    adopt(*state, ACK_EXCHANGE);
}

/* An inode that somebody else holds, too, is left as it is. */
static void a_backup_by_hard_links(void **state)
{
    struct peer *p = *state;
    char backup[PEER_PATH + 16];
    struct stat st;
    snprintf(backup, sizeof backup, "%s/backup", p->fence);
    peer_open(p);
    send_site(p, false);
    ino_t times = inode_of(p, "plugins/x/times");
    assert_int_equal(link(on_root(p, "plugins/x/times"), backup), 0);
    send_update(p);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_true(inode_of(p, "plugins/x/times") != times);
    assert_int_equal(stat(backup, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, PEER_TIME);
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
}

/* The other name comes when all is staged already: then the atom fails, and comes with content. */
static void a_backup_behind_the_staging(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    char backup[PEER_PATH + 16];
    struct stat st;
    snprintf(backup, sizeof backup, "%s/backup", p->fence);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    assert_int_equal(link(on_root(p, "plugins/x/times"), backup), 0);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_int_equal(stat(backup, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, PEER_TIME);
    send_update(p);
    commit_with(p, 0);
    assert_new(p, "plugins/x");
    assert_int_equal(stat(backup, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, PEER_TIME);
    free(ack);
    peer_end(p);
}

static void excluded_entries(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    p->exclude = "*.local";
    peer_open(p);
    send_site(p, false);
    write_file(p, "plugins/x/sub/x.local", "local");
    ino_t unit = inode_of(p, "plugins/x");
    send_update(p);
    commit_with(p, ACK_EXCLUDED);
    assert_new(p, "plugins/x");
    assert_true(inode_of(p, "plugins/x") == unit);
    stays_in_place(p, "plugins/x/sub/x.local", "local");
    assert_int_equal(kept_count(p), 0);
    assert_known(p, &want);
    /* The unit goes: what is not mirrored stays. */
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_delete(p, "plugins/x");
    commit_with(p, ACK_EXCLUDED);
    stays_in_place(p, "plugins/x/sub/x.local", "local");
    assert_absent(p, "plugins/x/same");
    /* A unit that is excluded itself. */
    struct entry d = old_dir();
    peer_batch(p);
    uint32_t atom = peer_unit(p, "plugins/z.local");
    peer_put(p, "plugins/z.local", &d, NULL);
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 2);
    assert_int_equal(ack->atoms[0], atom);
    assert_int_equal(ack->reasons[0], REASON_PATH);
    free(ack);
    peer_end(p);
}

/* --- where directories cannot be exchanged --- */

static void exchange_fails_with(struct peer *p, int errnum, bool two)
{
    struct msg_sums want = reference(two);
    peer_open(p);
    send_site(p, two);
    strcpy(faults->name, "x");
    atomic_store(&faults->refuse, errnum);
    peer_batch(p);
    if (two)
        peer_unit(p, "plugins/y");
    peer_unit(p, "plugins/x");
    send_changes(p, "plugins/x");
    if (two)
        send_changes(p, "plugins/y");
    commit_with(p, ACK_EXCHANGE);
    assert_new(p, "plugins/x");
    if (two)
        assert_new(p, "plugins/y");
    assert_int_equal(foreign_count(p, NULL), 0);
    let_jobs_end(p);
    struct msg_sums sums = sums_of(p, "plugins");
    assert_sums(&sums, &want);
    peer_end(p);
}

/* overlayfs: the probe works, the directory of a lower layer does not. */
static void one_directory_cannot_be_exchanged(void **state)
{
    exchange_fails_with(*state, EXDEV, false);
}

static void one_of_two_cannot_be_exchanged(void **state)
{
    struct peer *p = *state;
    p->unit_grace = -1;
    exchange_fails_with(p, EXDEV, true);
}

/* Without root others' files cannot be linked. */
static void files_cannot_be_linked(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    peer_open(p);
    send_site(p, false);
    atomic_store(&faults->no_links, EPERM);
    send_update(p);
    commit_with(p, ACK_LINK);
    assert_new(p, "plugins/x");
    atomic_store(&faults->no_links, 0);
    let_jobs_end(p);
    assert_known(p, &want);
    peer_end(p);
}

/* --- others are served meanwhile --- */

static void others_are_served_meanwhile(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_open(p);
    send_many(p, 0);
    commit_with(p, 0);
    send_many(p, 1);
    peer_send_commit(p);
    /* Each PING is sent when the one before was answered, and each answer comes before the ACK. */
    for (uint64_t i = 1; i <= 3; i++) {
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
    peer_await_ack(p, ack);
    assert_int_equal(ack->failures, 0);
    assert_int_equal(ack->flags, 0);
    assert_text(p, numbered(4999), "same", 1);
    assert_text(p, numbered(4000), "0", 0);
    struct msg_sums want = sums_of(p, "plugins");
    assert_int_equal(want.entries, MANY + 51);
    assert_known(p, &want);
    peer_end(p);
    free(ack);
}

/* What was committed is finished, and acknowledged, when nothing more comes. */
static void bye_right_behind_the_commit(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    msg_put_commit(&p->out, &(struct msg_commit){p->batch});
    msg_put_bye(&p->out);
    peer_send(p);
    peer_await_ack(p, ack);
    assert_int_equal(ack->failures, 0);
    assert_new(p, "plugins/x");
    assert_int_equal(peer_wait(p), 0);
    free(ack);
}

static void close_right_behind_the_commit(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    msg_put_commit(&p->out, &(struct msg_commit){p->batch});
    msg_put_close(&p->out, &(struct msg_close){1});
    peer_send(p);
    peer_await_ack(p, ack);
    assert_int_equal(ack->failures, 0);
    assert_new(p, "plugins/x");
    peer_end(p);
    free(ack);
}

/* Batches behind it wait, in their order. */
static void batches_in_their_order(void **state)
{
    struct peer *p = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_open(p);
    send_site(p, false);
    send_update(p);
    msg_put_commit(&p->out, &(struct msg_commit){p->batch});
    peer_batch(p);
    put_text(p, "plugins/x/changed", "newest", 900);
    peer_send_commit(p);
    p->batch--;
    peer_await_ack(p, ack);
    p->batch++;
    peer_await_ack(p, ack);
    assert_int_equal(ack->failures, 0);
    assert_text(p, "plugins/x/changed", "newest", 900);
    assert_text(p, "plugins/x/added", "new!", 500);
    peer_end(p);
    free(ack);
}

/* --- readers --- */

enum { SWITCHES = 50, PARTS = 20 };

struct reader {
    struct peer *p;
    atomic_bool stop;
    unsigned long passes, missing, mixed;
};

/* The version that a file carries; 0: it is not there. */
static int version_at(int dir, const char *name)
{
    char content[16] = {0};
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, content, sizeof content - 1);
    close(fd);
    return n > 0 ? atoi(content) : 0;
}

/* Through one descriptor of the unit there is one version. */
static void *read_by_descriptor(void *arg)
{
    struct reader *r = arg;
    char unit[PEER_PATH + 16], name[16];
    snprintf(unit, sizeof unit, "%s/plugins/x", r->p->root);
    while (!atomic_load(&r->stop)) {
        int dir = open(unit, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r->missing += dir < 0;
        int first = version_at(dir, "0");
        for (int i = 0; dir >= 0 && i < PARTS; i++) {
            snprintf(name, sizeof name, "%d", i);
            int version = version_at(dir, name);
            r->missing += version == 0;
            r->mixed += version != first;
        }
        if (dir >= 0)
            close(dir);
        r->passes++;
    }
    return NULL;
}

/* By path nothing old follows something new. */
static void *read_by_path(void *arg)
{
    struct reader *r = arg;
    char path[PEER_PATH + 32];
    int last = 0;
    while (!atomic_load(&r->stop)) {
        for (int i = 0; i < PARTS; i++) {
            snprintf(path, sizeof path, "%s/plugins/x/%d", r->p->root, i);
            int version = version_at(AT_FDCWD, path);
            r->missing += version == 0;
            r->mixed += version < last;
            last = version;
        }
        r->passes++;
    }
    return NULL;
}

static void send_version(struct peer *p, int version)
{
    struct entry d = new_dir();
    char content[16], path[64];
    snprintf(content, sizeof content, "%d", version);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_put(p, "plugins/x", &d, NULL);
    for (int i = 0; i < PARTS; i++) {
        snprintf(path, sizeof path, "plugins/x/%d", i);
        put_text(p, path, content, version);
    }
    commit_with(p, 0);
}

static void readers_see_one_version(void **state)
{
    struct peer *p = *state;
    struct reader by_descriptor = {.p = p}, by_path = {.p = p};
    struct entry d = old_dir();
    pthread_t threads[2];
    peer_open(p);
    peer_batch(p);
    peer_put(p, "plugins", &d, NULL);
    peer_commit_all(p);
    send_version(p, 1);
    assert_int_equal(pthread_create(&threads[0], NULL, read_by_descriptor, &by_descriptor), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, read_by_path, &by_path), 0);
    for (int version = 2; version <= SWITCHES; version++)
        send_version(p, version);
    atomic_store(&by_descriptor.stop, true);
    atomic_store(&by_path.stop, true);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    assert_true(by_descriptor.passes > 0 && by_path.passes > 0);
    assert_int_equal(by_descriptor.missing, 0);
    assert_int_equal(by_descriptor.mixed, 0);
    assert_int_equal(by_path.missing, 0);
    assert_int_equal(by_path.mixed, 0);
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, faults_peer_make, faults_peer_unmake)
    const struct CMUnitTest tests[] = {
        T(changes_between_clone_and_exchange),
        T(put_back_at_once),
        T(a_file_whose_times_change_is_changed),
        T(what_drifted_stays),
        T(an_adopted_tree),
        T(an_adopted_tree_file_by_file),
        T(a_backup_by_hard_links),
        T(a_backup_behind_the_staging),
        T(excluded_entries),
        T(one_directory_cannot_be_exchanged),
        T(one_of_two_cannot_be_exchanged),
        T(files_cannot_be_linked),
        T(others_are_served_meanwhile),
        T(bye_right_behind_the_commit),
        T(close_right_behind_the_commit),
        T(batches_in_their_order),
        T(readers_see_one_version),
    };
    return faults_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
