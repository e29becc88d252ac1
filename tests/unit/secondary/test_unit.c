/*
 * Units, which are switched as a whole: what a switch leaves, what keeps it from happening, who can
 * be watching, and receivers that are killed during it.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/receive.h"
#include "tree/manifest.h"

/* Shared with the receivers. */
static struct control {
    atomic_int countdown; /* killed before so many changes of the disk; 0: not */
    atomic_int commits;   /* killed before so many transactions of the manifest; 0: not */
    atomic_int reads;     /* pieces of content that were read */
    atomic_int no_links;  /* errno of every link; 0: none fails */
    atomic_int rebooted;  /* the machine has another boot id */
    atomic_int at_switch; /* killed before (1) or after (2) the exchange of what is called `name` */
    atomic_int refuse;    /* errno of exchanges of what is called by `name`; 0: none fails */
    char name[32];
    char meddle[512]; /* a shell command to be run before the next exchange of it */
} * control;

static void tick(void)
{
    if (atomic_load(&control->countdown) > 0 && atomic_fetch_sub(&control->countdown, 1) == 1)
        raise(SIGKILL);
}

#define WRAPPED(type, name, parameters, arguments)                                                 \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        tick();                                                                                    \
        return __real_##name arguments;                                                            \
    }

WRAPPED(int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
WRAPPED(int, unlinkat, (int a, const char *b, int c), (a, b, c))
WRAPPED(int, mkdirat, (int a, const char *b, mode_t c), (a, b, c))
WRAPPED(int, fchmod, (int a, mode_t b), (a, b))
WRAPPED(int, futimens, (int a, const struct timespec b[2]), (a, b))
WRAPPED(int, fchownat, (int a, const char *b, uid_t c, gid_t d, int e), (a, b, c, d, e))

int __real_linkat(int a, const char *b, int c, const char *d, int e);
int __wrap_linkat(int a, const char *b, int c, const char *d, int e);
int __wrap_linkat(int a, const char *b, int c, const char *d, int e)
{
    tick();
    errno = atomic_load(&control->no_links);
    return errno ? -1 : __real_linkat(a, b, c, d, e);
}

int __real_manifest_commit(struct manifest_txn *t, struct err *err);
int __wrap_manifest_commit(struct manifest_txn *t, struct err *err);
int __wrap_manifest_commit(struct manifest_txn *t, struct err *err)
{
    tick();
    if (atomic_load(&control->commits) > 0 && atomic_fetch_sub(&control->commits, 1) == 1)
        raise(SIGKILL);
    return __real_manifest_commit(t, err);
}

int __real_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
    tick();
    if ((flags & RENAME_EXCHANGE) && strcmp(d, control->name) == 0) {
        if (control->meddle[0] && system(control->meddle) != 0)
            abort();
        control->meddle[0] = '\0';
        if (atomic_load(&control->at_switch) == 1)
            raise(SIGKILL);
        errno = atomic_load(&control->refuse);
        if (errno)
            return -1;
    }
    int result = __real_renameat2(a, b, c, d, flags);
    if ((flags & RENAME_EXCHANGE) && strcmp(d, control->name) == 0 &&
        atomic_load(&control->at_switch) == 2)
        raise(SIGKILL);
    return result;
}

enum { BOOT_ID = 36 };
ssize_t __real_io_pread_full(int fd, void *p, size_t n, uint64_t offset);
ssize_t __wrap_io_pread_full(int fd, void *p, size_t n, uint64_t offset);
ssize_t __wrap_io_pread_full(int fd, void *p, size_t n, uint64_t offset)
{
    ssize_t got = __real_io_pread_full(fd, p, n, offset);
    if (n != BOOT_ID)
        atomic_fetch_add(&control->reads, 1);
    else if (got > 0 && atomic_load(&control->rebooted))
        *(char *)p ^= 1;
    return got;
}

static int setup(void **state)
{
    struct peer *p = mem_alloc(sizeof *p);
    memset(control, 0, sizeof *control);
    peer_setup(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    memset(control, 0, sizeof *control);
    peer_cleanup(*state);
    free(*state);
    return 0;
}

/* --- a plugin and its update --- */

static struct entry old_dir(void)
{
    return a_dir(0755);
}

static struct entry new_dir(void)
{
    struct entry d = a_dir(0755);
    d.mtime += 500;
    return d;
}

static struct entry text(const char *content, int later)
{
    struct entry e = a_file(content, strlen(content), 0644);
    e.mtime += later;
    return e;
}

static const char *in(const char *unit, const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", unit, name);
    return path;
}

static void put_text(struct peer *p, const char *path, const char *content, int later)
{
    struct entry e = text(content, later);
    peer_put(p, path, &e, content);
}

static void send_old(struct peer *p, const char *unit)
{
    struct entry d = old_dir(), l = a_link("old");
    peer_put(p, unit, &d, NULL);
    peer_put(p, in(unit, "sub"), &d, NULL);
    peer_put(p, in(unit, "sub/deep"), &d, NULL);
    put_text(p, in(unit, "sub/deep/same"), "same", 0);
    put_text(p, in(unit, "sub/changed"), "old", 0);
    put_text(p, in(unit, "changed"), "old", 0);
    put_text(p, in(unit, "same"), "same", 0);
    put_text(p, in(unit, "times"), "times", 0);
    put_text(p, in(unit, "mode"), "mode", 0);
    put_text(p, in(unit, "deleted"), "old", 0);
    peer_put(p, in(unit, "dir-deleted"), &d, NULL);
    put_text(p, in(unit, "dir-deleted/file"), "old", 0);
    put_text(p, in(unit, "file-to-dir"), "old", 0);
    peer_put(p, in(unit, "dir-to-file"), &d, NULL);
    put_text(p, in(unit, "dir-to-file/file"), "old", 0);
    peer_put(p, in(unit, "link"), &l, NULL);
}

static void send_changes(struct peer *p, const char *unit)
{
    struct entry d = new_dir(), l = a_link("new"), times = text("times", 500),
                 mode = text("mode", 500);
    mode.mode = 0600;
    peer_put(p, unit, &d, NULL);
    put_text(p, in(unit, "sub/changed"), "new!", 500);
    put_text(p, in(unit, "changed"), "new!", 500);
    peer_entry(p, in(unit, "times"), &times, HOW_META, NULL);
    peer_entry(p, in(unit, "mode"), &mode, HOW_META, NULL);
    peer_delete(p, in(unit, "deleted"));
    peer_delete(p, in(unit, "dir-deleted"));
    put_text(p, in(unit, "added"), "new!", 500);
    peer_put(p, in(unit, "file-to-dir"), &d, NULL);
    put_text(p, in(unit, "file-to-dir/file"), "new!", 500);
    put_text(p, in(unit, "dir-to-file"), "new!", 500);
    peer_put(p, in(unit, "link"), &l, NULL);
}

static void assert_text(struct peer *p, const char *path, const char *content, int later)
{
    struct entry e = text(content, later);
    assert_file(p, path, content, &e);
}

static void assert_old(struct peer *p, const char *unit)
{
    struct entry d = old_dir(), l = a_link("old");
    assert_dir(p, unit, &d);
    assert_text(p, in(unit, "sub/changed"), "old", 0);
    assert_text(p, in(unit, "changed"), "old", 0);
    assert_text(p, in(unit, "times"), "times", 0);
    assert_text(p, in(unit, "mode"), "mode", 0);
    assert_text(p, in(unit, "deleted"), "old", 0);
    assert_text(p, in(unit, "dir-deleted/file"), "old", 0);
    assert_text(p, in(unit, "file-to-dir"), "old", 0);
    assert_text(p, in(unit, "dir-to-file/file"), "old", 0);
    assert_link(p, in(unit, "link"), &l);
    assert_absent(p, in(unit, "added"));
}

static void assert_new(struct peer *p, const char *unit)
{
    struct entry d = new_dir(), o = old_dir(), l = a_link("new"), mode = text("mode", 500);
    mode.mode = 0600;
    assert_dir(p, unit, &d);
    assert_dir(p, in(unit, "sub"), &o);
    assert_dir(p, in(unit, "sub/deep"), &o);
    assert_dir(p, in(unit, "file-to-dir"), &d);
    assert_text(p, in(unit, "sub/deep/same"), "same", 0);
    assert_text(p, in(unit, "sub/changed"), "new!", 500);
    assert_text(p, in(unit, "changed"), "new!", 500);
    assert_text(p, in(unit, "same"), "same", 0);
    assert_text(p, in(unit, "times"), "times", 500);
    assert_file(p, in(unit, "mode"), "mode", &mode);
    assert_absent(p, in(unit, "deleted"));
    assert_absent(p, in(unit, "dir-deleted"));
    assert_text(p, in(unit, "added"), "new!", 500);
    assert_text(p, in(unit, "file-to-dir/file"), "new!", 500);
    assert_text(p, in(unit, "dir-to-file"), "new!", 500);
    assert_link(p, in(unit, "link"), &l);
}

/* The site before the update: one plugin or two, and a file outside. */
static void send_site(struct peer *p, bool two)
{
    struct entry d = old_dir();
    peer_batch(p);
    peer_put(p, "", &d, NULL);
    peer_put(p, "plugins", &d, NULL);
    send_old(p, "plugins/x");
    if (two)
        send_old(p, "plugins/y");
    put_text(p, "outside", "old", 0);
    peer_commit_all(p);
}

static void send_update(struct peer *p)
{
    peer_batch(p);
    peer_unit(p, "plugins/x");
    send_changes(p, "plugins/x");
}

static ino_t inode_of(struct peer *p, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), 0);
    return st.st_ino;
}

/* What the manifest says of a directory in the root, without another walk. */
static struct msg_sums sums_of(struct peer *p, const char *name)
{
    struct msg_listing l;
    struct msg_item item = {0};
    static uint32_t request;
    msg_put_list(&p->out, &(struct msg_list){.request = ++request, .site = 1});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
    for (int i = 0; i < l.count; i++) {
        msg_item_decode(&r, &item);
        if (bytes_equal(item.name, bytes_of(name)))
            return item.sums;
    }
    fail_msg("%s is not listed", name);
    return item.sums;
}

static void assert_sums(const struct msg_sums *a, const struct msg_sums *b)
{
    assert_int_equal(a->entries, b->entries);
    assert_int_equal(a->unproven, b->unproven);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(&a->meta, &b->meta, sizeof a->meta);
    assert_memory_equal(&a->content, &b->content, sizeof a->content);
}

/* The sums of "plugins" when everything was done path by path. */
static struct msg_sums reference(bool two)
{
    struct peer p;
    peer_setup(&p);
    peer_open(&p);
    send_site(&p, two);
    peer_batch(&p);
    send_changes(&p, "plugins/x");
    if (two)
        send_changes(&p, "plugins/y");
    peer_commit_all(&p);
    struct msg_sums sums = sums_of(&p, "plugins");
    peer_end(&p);
    peer_cleanup(&p);
    return sums;
}

/* The manifest is as it should be, and agrees with the disk: the next walk reads nothing. */
static void assert_known(struct peer *p, const struct msg_sums *want)
{
    struct msg_sums sums = sums_of(p, "plugins");
    assert_sums(&sums, want);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
    atomic_store(&control->reads, 0);
    peer_open(p);
    sums = sums_of(p, "plugins");
    assert_sums(&sums, want);
    assert_int_equal(atomic_load(&control->reads), 0);
}

static void commit_with(struct peer *p, uint8_t flags)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    if (ack->failures)
        print_error("atom %u: %s\n", ack->atoms[0], ack->text);
    assert_int_equal(ack->failures, 0);
    assert_int_equal(ack->flags, flags);
    free(ack);
}

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

/* Answers come between the steps of jobs, so that enough of them let jobs end. */
static void let_jobs_end(struct peer *p)
{
    for (uint64_t i = 1; kept_count(p) || staged_count(p); i++) {
        assert_true(i < 100000);
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
}

/* The same for what was built and never live. */
static void let_unwanted_go(struct peer *p)
{
    for (uint64_t i = 1; staged_count(p); i++) {
        assert_true(i < 100000);
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
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

static void expect_one_failure(struct peer *p, uint32_t atom, uint16_t reason)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    if (ack->failures != 1)
        print_error("atom %u: %s\n", ack->atoms[0], ack->text);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->atoms[0], atom);
    assert_string_equal(msg_reason_name(ack->reasons[0]), msg_reason_name(reason));
    free(ack);
}

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
    strcpy(control->name, "y");
    atomic_store(&control->refuse, EIO);
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

/* --- what others do --- */

static void stays_in_place(struct peer *p, const char *path, const char *content)
{
    char text_there[16] = {0};
    int fd = open(on_root(p, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    assert_true(fd >= 0);
    assert_true(read(fd, text_there, sizeof text_there - 1) >= 0);
    close(fd);
    assert_string_equal(text_there, content);
}

static void meddle(struct peer *p, const char *format)
{
    strcpy(control->name, "x");
    snprintf(control->meddle, sizeof control->meddle, format, p->root);
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
    assert_true(atomic_load(&control->reads) > 0 || sums_of(p, "plugins").unproven > 0);
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
    strcpy(control->name, "x");
    atomic_store(&control->refuse, EXDEV);
    adopt(*state, ACK_PIECEMEAL);
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
    commit_with(p, ACK_PIECEMEAL);
    assert_new(p, "plugins/x");
    assert_true(inode_of(p, "plugins/x") == unit);
    stays_in_place(p, "plugins/x/sub/x.local", "local");
    assert_int_equal(kept_count(p), 0);
    assert_known(p, &want);
    /* The unit goes: what is not mirrored stays. */
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_delete(p, "plugins/x");
    commit_with(p, ACK_PIECEMEAL);
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
    strcpy(control->name, "x");
    atomic_store(&control->refuse, errnum);
    peer_batch(p);
    if (two)
        peer_unit(p, "plugins/y");
    peer_unit(p, "plugins/x");
    send_changes(p, "plugins/x");
    if (two)
        send_changes(p, "plugins/y");
    commit_with(p, ACK_PIECEMEAL);
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
    atomic_store(&control->no_links, EPERM);
    send_update(p);
    commit_with(p, ACK_PIECEMEAL);
    assert_new(p, "plugins/x");
    atomic_store(&control->no_links, 0);
    let_jobs_end(p);
    assert_known(p, &want);
    peer_end(p);
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

/* --- others are served meanwhile --- */

enum { MANY = 5000 };

static const char *numbered(int i)
{
    static char path[64];
    snprintf(path, sizeof path, "plugins/x/%02d/%04d", i % 50, i);
    return path;
}

static void send_many(struct peer *p, int version)
{
    struct entry d = old_dir();
    char path[64];
    struct entry same = text("same", version), changed = text("0", 0);
    peer_batch(p);
    if (version == 0) {
        peer_put(p, "", &d, NULL);
        peer_put(p, "plugins", &d, NULL);
        peer_put(p, "plugins/x", &d, NULL);
        for (int i = 0; i < 50; i++) {
            snprintf(path, sizeof path, "plugins/x/%02d", i);
            peer_put(p, path, &d, NULL);
        }
        peer_commit_all(p);
        peer_batch(p);
    }
    peer_unit(p, "plugins/x");
    for (int i = 0; i < MANY; i++) {
        if (version > 0 && i % 1000 == 0)
            peer_put(p, numbered(i), &changed, "0");
        else if (version > 0)
            peer_entry(p, numbered(i), &same, HOW_META, NULL);
        else
            peer_put(p, numbered(i), &same, "same");
    }
}

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
    atomic_store(&control->countdown, n);
    bool dead = !comes_through(&p, foreign);
    atomic_store(&control->countdown, 0);
    bool begun = assert_one_version(&p, "plugins/x");
    assert_one_version(&p, "plugins/y");
    if (n % 2)
        assert_int_equal(receive_recover(p.state, p.root, &err), 0);
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
        n++;
    print_message("killed at %d points, %u of them behind the journal\n", n - 1, finished);
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

/* Power is lost between the journal and the exchange, and a file that was staged with it. */
static void power_is_lost(void **state)
{
    struct peer *p = *state;
    for (int damaged = 0; damaged < 2; damaged++) {
        memset(control, 0, sizeof *control);
        peer_open(p);
        send_site(p, false);
        send_update(p);
        strcpy(control->name, "x");
        atomic_store(&control->at_switch, 1);
        assert_false(comes_through(p, false));
        atomic_store(&control->at_switch, 0);
        assert_old(p, "plugins/x");
        if (damaged) {
            char command[512];
            snprintf(command, sizeof command,
                "printf zzzz > $(find %s/.mirrord-*/u0-*/content -maxdepth 1 -name added)",
                p->fence);
            assert_int_equal(system(command), 0);
        }
        atomic_store(&control->rebooted, 1);
        peer_open(p);
        (damaged ? assert_old : assert_new)(p, "plugins/x");
        if (damaged)
            assert_text(p, "outside", "old", 0);
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
    strcpy(control->name, "x");
    atomic_store(&control->at_switch, 2);
    assert_false(comes_through(p, false));
    atomic_store(&control->at_switch, 0);
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
        atomic_store(&control->commits, n);
        dead = !comes_through(p, false);
        atomic_store(&control->commits, 0);
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
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
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
        T(changes_between_clone_and_exchange),
        T(a_file_whose_times_change_is_changed),
        T(what_drifted_stays),
        T(an_adopted_tree),
        T(an_adopted_tree_file_by_file),
        T(a_backup_by_hard_links),
        T(excluded_entries),
        T(one_directory_cannot_be_exchanged),
        T(one_of_two_cannot_be_exchanged),
        T(files_cannot_be_linked),
        T(strange_units),
        T(a_foreign_directory_in_the_way),
        T(without_root),
        T(others_are_served_meanwhile),
        T(bye_right_behind_the_commit),
        T(close_right_behind_the_commit),
        T(batches_in_their_order),
        T(readers_see_one_version),
        cmocka_unit_test(killed_switches_are_old_or_new),
        cmocka_unit_test(what_is_foreign_survives_any_kill),
        T(power_is_lost),
        T(the_journal_is_lost),
        T(large_units_are_killed),
    };
    control =
        mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (control == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
