/*
 * Receivers killed in the middle of a commit: every path is old or new, the next opening (or
 * `recover`) finishes what was begun, and the manifest is then the same as after a commit that
 * nobody interrupted. And readers that watch a path while it is replaced.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/health/health_note.h"
#include "secondary/receive.h"
#include "tree/manifest/manifest.h"
#include "tree/state/state.h"

enum { FILES = 5, KEEP_DAYS = 7 };

/* The linker puts these in front of the calls by which a commit changes the disk (see meson.build).
 * The process is killed when the countdown, shared with the receivers, comes to its end. */
static atomic_int *countdown;

static void tick(void)
{
    if (atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1)
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
/* Filesystems that cannot exchange. */
static atomic_int *no_exchange;

static bool refused(unsigned flags)
{
    if (!(flags & RENAME_EXCHANGE) || !atomic_load(no_exchange))
        return false;
    errno = EINVAL;
    return true;
}

int __real_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags);
int __wrap_renameat2(int a, const char *b, int c, const char *d, unsigned flags)
{
    tick();
    return refused(flags) ? -1 : __real_renameat2(a, b, c, d, flags);
}

WRAPPED(int, linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))
WRAPPED(int, unlinkat, (int a, const char *b, int c), (a, b, c))
WRAPPED(int, mkdirat, (int a, const char *b, mode_t c), (a, b, c))
WRAPPED(int, fchmod, (int a, mode_t b), (a, b))
WRAPPED(int, futimens, (int a, const struct timespec b[2]), (a, b))
WRAPPED(int, manifest_commit, (struct manifest_txn * a, struct err *b), (a, b))

static const char *file_name(const char *dir, int i)
{
    static char name[64];
    snprintf(name, sizeof name, "%s/%03d", dir, i);
    return name;
}

static void send_first(struct peer *p)
{
    struct entry d = a_dir(0755), f = a_file("old", 3, 0644), l = a_link("old");
    peer_batch(p);
    peer_put(p, "", &d, NULL);
    static const char *const dirs[] = {"a-deleted", "c-changed", "e-becomes-file", "g-moved"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        peer_put(p, dirs[i], &d, NULL);
        for (int n = 0; n < FILES; n++)
            peer_put(p, file_name(dirs[i], n), &f, "old");
    }
    peer_put(p, "f-becomes-dir", &f, "old");
    peer_put(p, "h-link", &l, NULL);
    peer_put(p, "i-moved", &f, "old");
    peer_put(p, "j-meta", &f, "old");
    peer_commit_all(p);
}

static void send_second(struct peer *p)
{
    struct entry d = a_dir(0755), f = a_file("new!", 4, 0600), l = a_link("new"),
                 m = a_file("old", 3, 0600);
    d.mtime += 100;
    peer_batch(p);
    peer_put(p, "", &d, NULL);
    peer_delete(p, "a-deleted");
    peer_put(p, "b-new", &d, NULL);
    peer_put(p, "b-new/in", &d, NULL);
    for (int n = 0; n < FILES; n++)
        peer_put(p, file_name("b-new/in", n), &f, "new!");
    peer_put(p, "c-changed", &d, NULL);
    for (int n = 0; n < FILES; n++)
        peer_put(p, file_name("c-changed", n), &f, "new!");
    peer_put(p, "e-becomes-file", &f, "new!");
    peer_put(p, "f-becomes-dir", &d, NULL);
    peer_put(p, "f-becomes-dir/in", &f, "new!");
    peer_move(p, "g-moved", "g-there");
    peer_put(p, "h-link", &l, NULL);
    peer_move(p, "i-moved", "b-new/i-there");
    peer_entry(p, "j-meta", &m, HOW_META, NULL);
}

/* "old", "new!" or nothing, nothing else. */
static void assert_old_or_new(struct peer *p, const char *path)
{
    char text[16] = {0};
    int fd = open(on_root(p, path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        assert_true(errno == ENOENT || errno == ENOTDIR);
        return;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    if (n < 0 && errno == EISDIR)
        return;
    if (strcmp(text, "local") == 0)
        return;
    assert_true(strcmp(text, "old") == 0 || strcmp(text, "new!") == 0);
    assert_int_equal(st.st_mtim.tv_sec, PEER_TIME);
}

static void assert_all_new(struct peer *p)
{
    struct entry d = a_dir(0755), f = a_file("new!", 4, 0600), l = a_link("new");
    struct entry o = a_file("old", 3, 0644), m = a_file("old", 3, 0600), moved = d;
    d.mtime += 100;
    assert_dir(p, "", &d);
    assert_absent(p, "a-deleted");
    assert_dir(p, "b-new", &d);
    assert_dir(p, "b-new/in", &d);
    assert_dir(p, "c-changed", &d);
    assert_dir(p, "g-there", &moved);
    assert_absent(p, "g-moved");
    assert_absent(p, "i-moved");
    assert_file(p, "b-new/i-there", "old", &o);
    assert_file(p, "e-becomes-file", "new!", &f);
    assert_file(p, "f-becomes-dir/in", "new!", &f);
    assert_link(p, "h-link", &l);
    assert_file(p, "j-meta", "old", &m);
    for (int n = 0; n < FILES; n++) {
        assert_file(p, file_name("b-new/in", n), "new!", &f);
        assert_file(p, file_name("c-changed", n), "new!", &f);
        assert_file(p, file_name("g-there", n), "old", &o);
    }
}

static struct msg_sums reference(void)
{
    struct peer p;
    peer_setup(&p);
    peer_open(&p);
    send_first(&p);
    send_second(&p);
    peer_commit_all(&p);
    peer_end(&p);
    struct msg_sums sums = peer_open(&p).sums;
    assert_all_new(&p);
    peer_end(&p);
    peer_cleanup(&p);
    return sums;
}

/* --- what others may not read --- */

static unsigned closed_seen;

/* What holds "new!" is 0600 where the primary has it; and nobody else comes into a stage. */
static int check_closed(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    char text[5] = {0};
    if (flag == FTW_D && strncmp(path + at->base, ".mirrord-", 9) == 0)
        return st->st_mode & 077 ? -1 : 0;
    int fd CLEANUP_FD = flag == FTW_F ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0 || read(fd, text, 4) != 4 || strcmp(text, "new!") != 0)
        return 0;
    closed_seen++;
    return st->st_mode & 077 ? -1 : 0;
}

static void assert_closed(const struct peer *p)
{
    assert_int_equal(nftw(p->fence, check_closed, 16, FTW_PHYS), 0);
}

/* Waits for the answer to COMMIT: true when the receiver was killed before it. */
static bool dies(struct peer *p)
{
    char byte;
    peer_send_commit(p);
    bool dead = read(p->fd, &byte, 1) <= 0;
    peer_kill(p);
    return dead;
}

static void assert_finished(struct peer *p, const struct msg_sums *want)
{
    struct msg_opened m = peer_open(p);
    assert_all_new(p);
    assert_int_equal(m.sums.entries, want->entries);
    assert_int_equal(m.sums.unproven, want->unproven);
    assert_memory_equal(&m.sums.content, &want->content, sizeof want->content);
    assert_memory_equal(&m.sums.meta, &want->meta, sizeof want->meta);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
}

/* What is there is all old or all new, path by path. Sent again it converges. */
static void assert_converges(struct peer *p, const struct msg_sums *want)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    for (int n = 0; n < FILES; n++)
        assert_old_or_new(p, file_name("c-changed", n));
    assert_old_or_new(p, "e-becomes-file");
    assert_old_or_new(p, "f-becomes-dir");
    peer_open(p);
    send_second(p);
    peer_commit(p, ack); /* moves that were done already find no source */
    free(ack);
    peer_end(p);
    assert_finished(p, want);
}

static const char *const foreign_paths[] = {
    "a-deleted", "c-changed/000", "e-becomes-file", "f-becomes-dir", "h-link"};

/* What mirrord did not put there, in the way of all kinds of steps. */
static void put_foreign(struct peer *p)
{
    write_file(p, "a-deleted/upload", "local");
    write_file(p, "c-changed/000", "local");
    write_file(p, "e-becomes-file/upload", "local");
    write_file(p, "f-becomes-dir", "local");
    assert_int_equal(unlink(on_root(p, "h-link")), 0);
    write_file(p, "h-link", "local");
}

/* Each was set aside, once, and nothing else. */
static void assert_foreign(struct peer *p, bool there)
{
    size_t n = sizeof foreign_paths / sizeof *foreign_paths;
    assert_int_equal(foreign_count(p, NULL), there ? n : 0);
    for (size_t i = 0; there && i < n; i++)
        assert_int_equal(foreign_count(p, foreign_paths[i]), 1);
}

/* What was overwritten or deleted of our own is there, whatever happened; where it was not killed,
 * once. */
static void assert_kept(struct peer *p, bool once)
{
    static const char *const paths[] = {
        "a-deleted", "c-changed/000", "e-becomes-file", "f-becomes-dir", "h-link"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char item[2048];
        unsigned n = aside_count(p, "kept", paths[i], item);
        assert_true(once ? n == 1 : n >= 1);
    }
}

/* Does whoever asks for the site's health hear that a commit is not finished? */
static bool is_half(struct peer *p)
{
    struct err err;
    int64_t since;
    int dir = state_open_dir(p->state, p->root, &err);
    assert_true(dir >= 0);
    int found = health_mark_read(dir, &since, &err);
    close(dir);
    assert_true(found >= 0);
    return found == 1;
}

/* How many kills came to something. */
struct kills {
    unsigned finished; /* by the next opening */
    unsigned half;     /* until then it was known that it was not finished */
};

/* The receiver is killed before its n-th change of the disk after COMMIT. False when it came
 * through. */
static bool killed_at(int n, const struct msg_sums *want, bool foreign, struct kills *kills)
{
    struct peer p;
    struct err err;
    struct receive_policy policy = {.keep_days = foreign ? 0 : KEEP_DAYS};
    peer_setup(&p);
    p.keep_days = foreign ? 0 : KEEP_DAYS;
    peer_open(&p);
    send_first(&p);
    if (foreign)
        put_foreign(&p);
    send_second(&p);
    msg_put_ping(&p.out, &(struct msg_ping){1});
    peer_send(&p);
    peer_expect(&p, MSG_PONG); /* all is staged */
    atomic_store(countdown, n);
    bool dead = dies(&p);
    atomic_store(countdown, 0);
    struct entry old = a_dir(0755);
    bool begun = access(on_root(&p, "g-there"), F_OK) == 0;
    assert_closed(&p);
    kills->half += is_half(&p);
    assert_false(is_half(&p) && (!dead || n == 1));
    if (n % 2) {
        assert_int_equal(receive_recover(p.state, p.root, &policy, &err), 0);
        assert_false(is_half(&p));
    }
    if (begun) {
        kills->finished++;
        assert_finished(&p, want);
        assert_foreign(&p, foreign);
    } else if (dead && n == 1)
        assert_dir(&p, "g-moved", &old); /* the journal was not written yet */
    assert_converges(&p, want);
    assert_foreign(&p, foreign);
    if (!foreign)
        assert_kept(&p, !dead);
    assert_false(is_half(&p));
    assert_true(foreign || p.drifts == 0); /* what a crash leaves is nobody else's doing */
    peer_cleanup(&p);
    return dead;
}

static void killed_commits_are_finished(void **state)
{
    (void)state;
    struct msg_sums want = reference();
    struct kills kills = {0};
    int n = 1;
    while (killed_at(n, &want, false, &kills))
        n++;
    assert_true(n > 30);
    assert_true(kills.finished > 20);
    assert_true(kills.half > 20);
}

static void what_is_foreign_survives_any_kill(void **state)
{
    (void)state;
    struct msg_sums want = reference();
    struct kills kills = {0};
    int n = 1;
    while (killed_at(n, &want, true, &kills))
        n++;
    assert_true(n > 30);
    assert_true(kills.finished > 20);
    assert_true(kills.half > 20);
}

static void filesystems_that_cannot_exchange(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference();
    atomic_store(no_exchange, 1);
    p->keep_days = KEEP_DAYS;
    peer_open(p);
    send_first(p);
    put_foreign(p);
    send_second(p);
    peer_commit_all(p);
    peer_end(p);
    assert_finished(p, &want);
    assert_foreign(p, true);
    char item[2048];
    assert_int_equal(aside_count(p, "kept", "c-changed/001", item), 1);
    assert_int_equal(aside_count(p, "kept", "c-changed/000", item), 0);
    atomic_store(no_exchange, 0);
}

/* Killed while content is staged: nothing was changed, and nothing stays. */
static void killed_while_staging(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    struct msg_ping ping = {1};
    peer_open(p);
    peer_batch(p);
    peer_put(p, "f", &f, "x");
    msg_put_ping(&p->out, &ping);
    peer_send(p);
    peer_expect(p, MSG_PONG);
    assert_int_equal(staged_count(p), 1);
    peer_kill(p);
    assert_absent(p, "f");
    peer_open(p);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
    assert_absent(p, "f");
}

/* At no step of staging and committing, of new files and of one that replaces an open one. */
static void closed_files_are_never_open(void **state)
{
    struct entry closed = a_file("new!", 4, 0600), open_one = a_file("old", 3, 0644);
    bool dead = true;
    (void)state;
    for (int n = 1; dead; n++) {
        struct peer p;
        peer_setup(&p);
        peer_open(&p);
        peer_batch(&p);
        peer_put(&p, "wp-config.php", &open_one, "old");
        peer_commit_all(&p);
        peer_batch(&p);
        peer_put(&p, "wp-config.php", &closed, "new!");
        peer_put(&p, ".htpasswd", &closed, "new!");
        uint32_t atom = peer_entry(&p, ".env", &closed, HOW_DATA, "");
        atomic_store(countdown, n);
        msg_put_data(
            &p.out, &(struct msg_data){.atom = atom, .kind = DATA_CONTENT, .content = {"new!", 4}});
        peer_finish(&p, atom, &closed); /* all in one write, with the COMMIT */
        dead = dies(&p);
        atomic_store(countdown, 0);
        assert_closed(&p);
        peer_cleanup(&p);
        assert_true(n < 200);
    }
    assert_true(closed_seen > 20);
}

/* A receiver that is killed while it tries the stage leaves what it tried it with in the root. */
static void what_a_probe_left_goes(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    send_first(p);
    peer_end(p);
    write_file(p, ".mirrord-probe-0123456789abcdef", "");
    assert_int_equal(mkdir(on_root(p, ".mirrord-probe-fedcba9876543210"), 0700), 0);
    peer_open(p);
    assert_absent(p, ".mirrord-probe-0123456789abcdef");
    assert_absent(p, ".mirrord-probe-fedcba9876543210");
    peer_end(p);
}

static void recover_has_nothing_to_do(void **state)
{
    struct peer *p = *state;
    struct err err;
    assert_int_equal(mkdir(p->root, 0755), 0);
    assert_int_equal(receive_recover(p->state, p->root, &(struct receive_policy){0}, &err), 0);
    peer_open(p);
    assert_int_equal(receive_recover(p->state, p->root, &(struct receive_policy){0}, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    peer_end(p);
    assert_int_equal(receive_recover(p->state, p->root, &(struct receive_policy){0}, &err), 0);
}

/* --- readers --- */

enum { REPLACEMENTS = 200, LARGEST = 40000 };

struct reader {
    const char *path;
    atomic_bool stop;
    unsigned long looks;
    unsigned long missing, torn; /* what must not be */
};

static void look(struct reader *r, char *content)
{
    struct stat st;
    r->looks++;
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        r->missing++;
        return;
    }
    ssize_t n = fstat(fd, &st) == 0 ? read(fd, content, LARGEST + 1) : -1;
    close(fd);
    int version = n > 0 ? (unsigned char)content[0] : -1;
    bool whole = n == 1000 + 100 * version && st.st_mtim.tv_sec == PEER_TIME + version &&
                 (st.st_mode & 07777) == (version % 2 ? 0600 : 0644);
    for (ssize_t i = 0; i < n; i++)
        whole = whole && (unsigned char)content[i] == version;
    r->torn += !whole;
}

static void *read_on(void *arg)
{
    struct reader *r = arg;
    char *content = mem_alloc(LARGEST + 1);
    while (!atomic_load(&r->stop))
        look(r, content);
    free(content);
    return NULL;
}

static void readers_see_old_or_new(void **state)
{
    struct peer *p = *state;
    char path[PEER_PATH * 2];
    char *content = mem_alloc(LARGEST);
    struct reader reader = {.path = path};
    pthread_t thread;
    snprintf(path, sizeof path, "%s/f", p->root);
    peer_open(p);
    for (int version = 0; version <= REPLACEMENTS; version++) {
        size_t n = (size_t)(1000 + 100 * version);
        memset(content, version, n);
        struct entry e = a_file(content, n, version % 2 ? 0600 : 0644);
        e.mtime = PEER_TIME + version;
        peer_batch(p);
        peer_put(p, "f", &e, content);
        peer_commit_all(p);
        if (version == 0)
            assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    }
    atomic_store(&reader.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reader.looks > 0);
    assert_int_equal(reader.missing, 0);
    assert_int_equal(reader.torn, 0);
    free(content);
    peer_end(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_commits_are_finished),
        cmocka_unit_test(what_is_foreign_survives_any_kill),
        T(filesystems_that_cannot_exchange),
        T(killed_while_staging),
        T(closed_files_are_never_open),
        T(what_a_probe_left_goes),
        T(recover_has_nothing_to_do),
        T(readers_see_old_or_new),
    };
    countdown = mmap(
        NULL, 2 * sizeof *countdown, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (countdown == MAP_FAILED)
        return 1;
    no_exchange = countdown + 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
