/*
 * Power losses: another boot finds what a receiver left that had no time to end. The boot's id and
 * the clock are the test's; what a real loss does to files is done to them here: other content
 * under the same size and times. And which calls `fsync = batch` makes, in which order.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/boot.h"
#include "base/io.h"
#include "base/mem.h"
#include "secondary/receive.h"
#include "tree/content/digest.h"

enum { LOG_MAX = 4096 };

/* Seen by the receivers too. */
static struct shared {
    atomic_int boot;
    atomic_int later; /* milliseconds by which the clock is ahead */
    atomic_int die;   /* at this rename, counted down */
    atomic_bool recording;
    atomic_size_t length;
    char log[LOG_MAX]; /* a letter a call: see note */
} * shared;

void __wrap_boot_id(char out[BOOT_ID + 1]);
void __wrap_boot_id(char out[BOOT_ID + 1])
{
    memset(out, 0, BOOT_ID + 1);
    snprintf(out, BOOT_ID + 1, "boot-%d", atomic_load(&shared->boot));
}

uint64_t __real_io_now_ms(void);
uint64_t __wrap_io_now_ms(void);
uint64_t __wrap_io_now_ms(void)
{
    return __real_io_now_ms() + (uint64_t)atomic_load(&shared->later);
}

/* f: a file was synced, D: a directory, S: the stage, j: LMDB's data, c: another file's, s: a
 * filesystem, r: a rename. */
static void note(char what)
{
    if (!atomic_load(&shared->recording))
        return;
    size_t at = atomic_fetch_add(&shared->length, 1);
    if (at < LOG_MAX - 1)
        shared->log[at] = what;
}

/* LMDB's calls come here, too: the program's own functions go before libc's. */
static bool is_named(int fd, const char *begin)
{
    char link[64], path[2 * PEER_PATH] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0)
        return false;
    const char *name = strrchr(path, '/');
    return name && strncmp(name + 1, begin, strlen(begin)) == 0;
}

int fsync(int fd)
{
    struct stat st;
    bool is_dir = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    note(!is_dir ? 'f' : is_named(fd, ".mirrord-") ? 'S' : 'D');
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    note(is_named(fd, "data.mdb") ? 'j' : 'c');
    return (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
    note('s');
    return (int)syscall(SYS_syncfs, fd);
}

int renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
    note('r');
    if (atomic_load(&shared->die) > 0 && atomic_fetch_sub(&shared->die, 1) == 1)
        raise(SIGKILL);
    return (int)syscall(SYS_renameat2, a, b, c, d, flags);
}

static int setup(void **state)
{
    memset(shared, 0, sizeof *shared);
    return peer_make(state);
}

static void put(struct peer *p, const char *path, const char *content)
{
    struct entry f = a_file(content, strlen(content), 0644);
    peer_batch(p);
    peer_put(p, path, &f, content);
    peer_commit_all(p);
}

/* Other bytes, the same size and mtime. */
static void damage(struct peer *p, const char *path, const char *content)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), 0);
    assert_int_equal(st.st_size, strlen(content));
    write_file(p, path, content);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, on_root(p, path), times, 0), 0);
}

/* What the secondary says of a path at the top: 1 and its digest, 0 its content is not known. */
static bool knows(struct peer *p, const char *name, struct digest *out)
{
    struct msg_listing m;
    struct msg_item item = {0};
    bool known = false;
    msg_put_list(&p->out, &(struct msg_list){.request = 1, .site = 1});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &m));
    struct wire_reader r = wire_reader_of(m.items.data, m.items.len);
    for (unsigned i = 0; i < m.count; i++) {
        msg_item_decode(&r, &item);
        if (bytes_equal(item.name, bytes_of(name)) && item.entry.has_digest) {
            known = true;
            *out = item.entry.digest;
        }
    }
    assert_false(r.bad);
    return known;
}

static void assert_known_as(struct peer *p, const char *name, const char *content)
{
    struct digest got, want;
    digest_of(content, strlen(content), &want);
    assert_true(knows(p, name, &got));
    assert_true(digest_equal(&got, &want));
}

static void next_boot(void)
{
    atomic_fetch_add(&shared->boot, 1);
}

static void state_file(struct peer *p, const char *name, char out[2 * PEER_PATH])
{
    char command[3 * PEER_PATH];
    snprintf(command, sizeof command, "ls -d %s/roots/*/%s 2>/dev/null", p->state, name);
    FILE *f = popen(command, "r");
    out[0] = '\0';
    if (fgets(out, 2 * PEER_PATH, f))
        out[strcspn(out, "\n")] = '\0';
    pclose(f);
}

static void what_came_after_the_mark_is_read_again(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    put(p, "f", "good");
    put(p, "g", "fine");
    peer_kill(p);
    damage(p, "f", "evil");
    next_boot();
    peer_open(p);
    assert_known_as(p, "f", "evil");
    assert_known_as(p, "g", "fine");
    put(p, "f", "good");
    peer_end(p);
    struct entry f = a_file("good", 4, 0644);
    assert_file(p, "f", "good", &f);
}

static void what_was_lost_twice_is_still_read(void **state)
{
    struct peer *p = *state;
    struct err err;
    peer_open(p);
    put(p, "f", "good");
    peer_kill(p);
    damage(p, "f", "evil");
    next_boot();
    assert_int_equal(receive_recover(p->state, p->root, &(struct receive_policy){0}, &err),
        0); /* deletes the manifest */
    next_boot();
    assert_int_equal(receive_recover(p->state, p->root, &(struct receive_policy){0}, &err), 0);
    peer_open(p);
    assert_known_as(p, "f", "evil");
    peer_end(p);
}

static void a_clean_end_needs_nothing(void **state)
{
    struct peer *p = *state;
    struct digest digest;
    peer_open(p);
    put(p, "f", "good");
    peer_end(p);
    next_boot();
    peer_open(p);
    assert_true(knows(p, "f", &digest));
    put(p, "f", "new");
    peer_end(p);
    assert_int_equal(foreign_count(p, NULL), 0); /* it is known to be mirrord's */
}

static bool is_there(struct peer *p, const char *name)
{
    char path[2 * PEER_PATH];
    state_file(p, name, path);
    return path[0];
}

/* Answers until the receiver has made its checkpoint. */
static void until_checkpoint(struct peer *p)
{
    uint64_t until = __real_io_now_ms() + 20000;
    atomic_store(&shared->later, 31000);
    while (!is_there(p, "manifest.copy/data.mdb")) {
        assert_true(__real_io_now_ms() < until);
        msg_put_ping(&p->out, &(struct msg_ping){1});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
}

static void a_checkpoint_is_what_is_gone_back_to(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    put(p, "before", "good");
    assert_false(is_there(p, "manifest.copy"));
    until_checkpoint(p);
    put(p, "after", "good");
    peer_kill(p);
    damage(p, "after", "evil");
    next_boot();
    peer_open(p);
    assert_known_as(p, "before", "good");
    assert_known_as(p, "after", "evil");
    put(p, "before", "new");
    assert_int_equal(foreign_count(p, NULL), 0);
    put(p, "after", "good"); /* nobody knows any more whose that was: it is kept */
    assert_int_equal(foreign_count(p, "after"), 1);
    peer_end(p);
}

/* Behind the copy, or without one, all that was committed is known, moved things and all. */
static void what_was_committed_is_known_afterwards(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("good", 4, 0644);
    for (int copied = 0; copied < 2; copied++) {
        atomic_store(&shared->later, 0);
        peer_open(p);
        peer_batch(p);
        peer_put(p, "d", &d, NULL);
        peer_put(p, "d/moved", &f, "good");
        peer_put(p, "d/gone", &f, "good");
        peer_commit_all(p);
        put(p, "f", "good");
        if (copied)
            until_checkpoint(p);
        put(p, "f", "next");
        put(p, "theirs", "good");
        peer_batch(p);
        peer_move(p, "d", "e");
        peer_delete(p, "e/gone");
        peer_commit_all(p);
        peer_kill(p);
        write_file(p, "theirs", "written by somebody else");
        write_file(p, "e/gone", "the same");
        next_boot();
        peer_open(p);
        put(p, "f", "new");
        put(p, "e/moved", "new");
        assert_int_equal(foreign_count(p, NULL), (unsigned)copied * 2);
        put(p, "theirs", "new");
        peer_batch(p);
        peer_delete(p, "e");
        peer_delete(p, "f");
        peer_delete(p, "theirs");
        peer_commit_all(p);
        assert_int_equal(foreign_count(p, "theirs"), copied + 1);
        assert_int_equal(foreign_count(p, "e"), copied + 1);
        peer_end(p);
    }
}

/* It may go again before there is another copy, or half a frame of the ledger may be there. */
static void what_was_committed_is_known_for_long(void **state)
{
    struct peer *p = *state;
    char path[2 * PEER_PATH];
    struct stat st;
    peer_open(p);
    put(p, "a", "good");
    until_checkpoint(p);
    put(p, "b", "good");
    for (int i = 0; i < 2; i++) {
        peer_kill(p);
        next_boot();
        peer_open(p);
    }
    put(p, "c", "good");
    put(p, "cut", "good");
    peer_kill(p);
    state_file(p, "ledger", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    next_boot();
    peer_open(p);
    put(p, "d", "good"); /* behind what was cut off */
    peer_kill(p);
    next_boot();
    peer_open(p);
    for (const char *name = "abcd"; *name; name++)
        put(p, (char[]){*name, '\0'}, "new");
    assert_int_equal(foreign_count(p, NULL), 0);
    put(p, "cut", "new");
    assert_int_equal(foreign_count(p, "cut"), 1);
    peer_end(p);
}

/* What a first contact found in place is in no ledger: so a copy is there when it has ended. */
static void what_was_found_in_place_is_known_afterwards(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    peer_end(p);
    write_file(p, "f", "good");
    peer_open(p);
    msg_put_level(&p->out, &(struct msg_level){1});
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    peer_end(p);
    peer_open(p);
    put(p, "other", "good");
    peer_kill(p);
    next_boot();
    peer_open(p);
    put(p, "f", "new");
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
}

static void garbage(const char *path, off_t from, size_t n)
{
    char *noise CLEANUP_FREE = mem_alloc(n);
    memset(noise, 0xa5, n);
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, noise, n, from), n);
}

/* The database is gone, the tree is not: it is found again by looking. */
static void a_damaged_manifest_is_rebuilt(void **state)
{
    struct peer *p = *state;
    char path[2 * PEER_PATH];
    struct entry f = a_file("good", 4, 0644);
    for (int way = 0; way < 4; way++) {
        peer_open(p);
        put(p, "f", "good");
        peer_end(p);
        state_file(p, "manifest/data.mdb", path);
        if (way == 0)
            assert_int_equal(truncate(path, 3 * 4096), 0);
        else if (way == 1)
            assert_int_equal(truncate(path, 100), 0);
        else if (way == 2)
            garbage(path, 2 * 4096, 4 * 4096);
        else
            garbage(path, 0, 2 * 4096);
        struct msg_opened m = peer_open(p);
        assert_int_equal(m.sums.entries, 1);
        assert_int_equal(m.state, ROOT_OURS);
        peer_end(p);
        assert_file(p, "f", "good", &f);
    }
}

static void damage_manifest(struct peer *p, const char *name)
{
    char path[2 * PEER_PATH];
    state_file(p, name, path);
    assert_true(path[0]);
    garbage(path, 0, 16 * 4096);
}

/* No power was lost: the copy and the ledger know all of what it held, or the ledger alone does. */
static void what_a_damaged_manifest_held_is_known(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("good", 4, 0644);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "good");
    peer_commit_all(p);
    put(p, "g", "good");
    peer_kill(p);
    damage_manifest(p, "manifest/data.mdb"); /* there is no copy yet */
    peer_open(p);
    put(p, "g", "next");
    assert_int_equal(foreign_count(p, NULL), 0);
    until_checkpoint(p);
    put(p, "behind", "good");
    peer_batch(p);
    peer_move(p, "d", "e");
    peer_commit_all(p);
    peer_end(p);
    write_file(p, "theirs", "somebody else's");
    damage_manifest(p, "manifest/data.mdb");
    peer_open(p);
    put(p, "g", "last");
    put(p, "behind", "next");
    peer_batch(p);
    peer_delete(p, "e");
    peer_commit_all(p);
    assert_int_equal(foreign_count(p, NULL), 0);
    put(p, "theirs", "now it is ours");
    assert_int_equal(foreign_count(p, "theirs"), 1);
    peer_end(p);
    damage_manifest(p, "manifest/data.mdb");
    damage_manifest(p, "manifest.copy/data.mdb");
    peer_open(p);
    put(p, "behind", "last"); /* of what came behind the copy */
    assert_int_equal(foreign_count(p, "behind"), 0);
    peer_end(p);
}

/* It is of another filter than the one that is asked for now. */
static void what_a_damaged_former_manifest_held_is_known(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    put(p, "f", "good");
    until_checkpoint(p);
    put(p, "g", "good");
    peer_end(p);
    damage_manifest(p, "manifest/data.mdb");
    p->exclude = "other";
    peer_open(p);
    put(p, "f", "next");
    put(p, "g", "next");
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
}

static void a_damaged_mark_is_a_power_loss(void **state)
{
    struct peer *p = *state;
    char path[2 * PEER_PATH];
    peer_open(p);
    put(p, "f", "good");
    peer_end(p);
    state_file(p, "mark", path);
    garbage(path, 0, 8);
    damage(p, "f", "evil");
    peer_open(p);
    assert_known_as(p, "f", "evil");
    peer_end(p);
}

static void a_damaged_marker_is_an_error(void **state)
{
    struct peer *p = *state;
    char path[2 * PEER_PATH];
    struct msg_site_error m;
    peer_open(p);
    put(p, "f", "good");
    peer_end(p);
    state_file(p, "marker", path);
    garbage(path, 0, 8);
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    assert_non_null(memmem(m.text.data, m.text.len, "damaged: remove it", 18));
    peer_end(p);
}

/* The letters of what was called between here and the acknowledgement, repetitions once. */
static void record(struct peer *p, char out[LOG_MAX])
{
    size_t n = 0;
    atomic_store(&shared->length, 0);
    atomic_store(&shared->recording, true);
    peer_commit_all(p);
    atomic_store(&shared->recording, false);
    size_t length = atomic_load(&shared->length);
    assert_true(length < LOG_MAX);
    for (size_t i = 0; i < length; i++)
        if (n == 0 || out[n - 1] != shared->log[i])
            out[n++] = shared->log[i];
    out[n] = '\0';
}

static void prepare(struct peer *p)
{
    struct entry d = a_dir(0755), f = a_file("good", 4, 0644);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "good");
    peer_commit_all(p);
}

static void a_batch_syncs_nothing_by_default(void **state)
{
    struct peer *p = *state;
    char calls[LOG_MAX];
    struct entry f = a_file("new", 3, 0600);
    peer_open(p);
    prepare(p);
    peer_batch(p);
    peer_put(p, "d/f", &f, "new");
    record(p, calls);
    assert_string_equal(calls, "r");
    peer_end(p);
}

/* The calls of what goes on until then. */
static void record_until(void (*done)(struct peer *p), struct peer *p, char out[LOG_MAX])
{
    atomic_store(&shared->length, 0);
    atomic_store(&shared->recording, true);
    done(p);
    atomic_store(&shared->recording, false);
    memcpy(out, shared->log, sizeof shared->log);
    out[atomic_load(&shared->length)] = '\0';
}

static void until_marked(struct peer *p)
{
    until_checkpoint(p);
    msg_put_ping(&p->out, &(struct msg_ping){1}); /* the step that does both is over */
    peer_send(p);
    peer_expect(p, MSG_PONG);
}

/* A mark says what is on the disk, so it comes behind that. */
static void marks_come_behind_what_they_say(void **state)
{
    struct peer *p = *state;
    char calls[LOG_MAX];
    peer_open(p);
    put(p, "f", "good");
    record_until(until_marked, p, calls);
    const char *tree = strchr(calls, 's'), *mark = strrchr(calls, 'f');
    if (!tree || !mark || mark < tree)
        fail_msg("a checkpoint: %s", calls);
    put(p, "f", "new");
    record_until(peer_end, p, calls);
    tree = strchr(calls, 's');
    mark = strrchr(calls, 'f');
    const char *manifest = tree ? strchr(tree, 'j') : NULL;
    if (!tree || !manifest || !mark || mark < manifest)
        fail_msg("a clean end: %s", calls);
}

static void a_durable_batch_is_synced_in_order(void **state)
{
    struct peer *p = *state;
    char calls[LOG_MAX];
    struct entry f = a_file("new", 3, 0600), d = a_dir(0755), m = a_file("new", 3, 0644);
    p->open_flags = OPEN_FSYNC;
    peer_open(p);
    prepare(p);
    peer_batch(p);
    peer_put(p, "d/f", &f, "new");
    record(p, calls);
    /* content, stage; journal; rename; its directory, the stage's; record */
    assert_string_equal(calls, "fSjrDSj");
    peer_batch(p);
    peer_entry(p, "d/f", &m, HOW_META, NULL);
    record(p, calls);
    assert_string_equal(calls, "jfDSj"); /* nothing is staged: the file itself */
    peer_batch(p);
    peer_delete(p, "d/f");
    record(p, calls);
    assert_string_equal(calls, "jDSj"); /* it does not come back */
    peer_batch(p);
    peer_put(p, "e", &d, NULL);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "e/%d", i);
        peer_put(p, name, &f, "new");
    }
    record(p, calls);
    assert_string_equal(calls, "sjrsj"); /* many at once */
    peer_end(p);
}

/* The journal survived. A staged file that did not is not put in place. */
static void a_durable_journal_is_rolled_forward_where_it_verifies(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("new", 3, 0644), old = a_file("old", 3, 0644);
    char command[4 * PEER_PATH];
    p->open_flags = OPEN_FSYNC;
    peer_open(p);
    put(p, "a", "old");
    put(p, "b", "old");
    peer_batch(p);
    peer_put(p, "a", &f, "new");
    peer_put(p, "b", &f, "new");
    msg_put_ping(&p->out, &(struct msg_ping){1});
    peer_send(p);
    peer_expect(p, MSG_PONG);
    atomic_store(&shared->die, 1);
    peer_send_commit(p);
    char byte;
    assert_true(read(p->fd, &byte, 1) <= 0); /* it is dead */
    peer_kill(p);
    assert_file(p, "a", "old", &old);
    snprintf(command, sizeof command,
        "f=$(ls %s/.mirrord-*/n* | tail -n 1); touch -r $f $f.t; printf bad >$f; touch -r $f.t $f",
        p->fence);
    assert_int_equal(system(command), 0);
    next_boot();
    peer_open(p);
    assert_file(p, "a", "new", &f);
    assert_file(p, "b", "old", &old);
    put(p, "b", "new");
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(what_came_after_the_mark_is_read_again),
        T(what_was_lost_twice_is_still_read),
        T(a_clean_end_needs_nothing),
        T(marks_come_behind_what_they_say),
        T(a_checkpoint_is_what_is_gone_back_to),
        T(what_was_committed_is_known_afterwards),
        T(what_was_committed_is_known_for_long),
        T(what_was_found_in_place_is_known_afterwards),
        T(a_damaged_manifest_is_rebuilt),
        T(what_a_damaged_manifest_held_is_known),
        T(what_a_damaged_former_manifest_held_is_known),
        T(a_damaged_mark_is_a_power_loss),
        T(a_damaged_marker_is_an_error),
        T(a_batch_syncs_nothing_by_default),
        T(a_durable_batch_is_synced_in_order),
        T(a_durable_journal_is_rolled_forward_where_it_verifies),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
