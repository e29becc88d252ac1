/* The trash: what mirrord deletes or overwrites of its own is kept where the site wants that, apart
 * from the live tree and for a time; what is in the trash is counted. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "tests/unit/secondary/faults.h"
#include "tests/unit/secondary/plugin.h"

enum { DAYS = 7 };

static bool told(const struct peer *p, uint64_t foreign, uint64_t bytes, uint64_t kept)
{
    const struct msg_trash *t = &p->trash;
    return t->foreign == foreign && t->foreign_bytes == bytes && t->kept == kept;
}

/* TRASH comes, until it says so. */
static void await_trash(struct peer *p, uint64_t foreign, uint64_t bytes, uint64_t kept)
{
    while (!told(p, foreign, bytes, kept))
        peer_expect(p, MSG_TRASH);
    assert_int_equal(p->trash.site, 1);
}

static const char *item_of(struct peer *p, const char *path)
{
    static char item[2048];
    assert_int_equal(aside_count(p, "kept", path, item), 1);
    return item;
}

/* Beneath the content of what is kept of the path ("": the content itself). */
static const char *kept_at(struct peer *p, const char *path, const char *beneath)
{
    static char place[4096];
    snprintf(place, sizeof place, "%s/content%s", item_of(p, path), beneath);
    return place;
}

static void assert_kept(struct peer *p, const char *path, const char *beneath, const char *content)
{
    const char *place = kept_at(p, path, beneath);
    struct err err;
    struct stat st;
    char *text = NULL;
    assert_int_equal(lstat(place, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(io_slurp(AT_FDCWD, place, 4096, &text, NULL, &err), 0);
    assert_string_equal(text, content);
    free(text);
}

static unsigned kept_items(struct peer *p)
{
    char item[2048];
    return aside_count(p, "kept", NULL, item);
}

static void send_files(struct peer *p)
{
    struct entry dir = a_dir(0755), link = a_link("of old");
    peer_open(p);
    peer_batch(p);
    put_text(p, "over", "old", 0);
    put_text(p, "gone", "deleted", 0);
    put_text(p, "same", "content", 0);
    peer_put(p, "link", &link, NULL);
    peer_put(p, "d", &dir, NULL);
    put_text(p, "d/in", "inside", 0);
    put_text(p, "turns", "a file", 0);
    peer_commit_all(p);
}

static void send_changes_of_files(struct peer *p)
{
    struct entry dir = a_dir(0755), link = a_link("of new");
    peer_batch(p);
    put_text(p, "over", "new", 1);
    put_text(p, "same", "content", 1);
    peer_put(p, "link", &link, NULL);
    peer_put(p, "turns", &dir, NULL);
    peer_delete(p, "gone");
    peer_delete(p, "d");
    peer_commit_all(p);
}

static void what_is_ours_is_kept(void **state)
{
    struct peer *p = *state;
    char target[16] = "";
    p->keep_days = DAYS;
    send_files(p);
    send_changes_of_files(p);
    assert_text(p, "over", "new", 1);
    assert_absent(p, "gone");
    await_trash(p, 0, 0, 5);
    assert_kept(p, "over", "", "old");
    assert_kept(p, "gone", "", "deleted");
    assert_kept(p, "d", "/in", "inside");
    assert_kept(p, "turns", "", "a file");
    assert_int_equal(readlink(kept_at(p, "link", ""), target, sizeof target - 1), 6);
    assert_string_equal(target, "of old");
    assert_string_equal(strrchr(item_of(p, "d"), '-'), "-7d");
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
    /* It is told of again at the next opening. */
    p->trash = (struct msg_trash){0};
    peer_open(p);
    await_trash(p, 0, 0, 5);
    peer_end(p);
}

static void nothing_is_kept_unasked(void **state)
{
    struct peer *p = *state;
    send_files(p);
    send_changes_of_files(p);
    peer_end(p);
    assert_int_equal(kept_items(p), 0);
    assert_int_equal(staged_count(p), 0);
    assert_true(told(p, 0, 0, 0));
}

static void its_own_configuration_counts(void **state)
{
    struct peer *p = *state;
    p->keep_days = DAYS;
    p->policy = (struct receive_policy){.said = true, .limit = {100, 0}};
    send_files(p);
    send_changes_of_files(p);
    peer_end(p);
    assert_int_equal(kept_items(p), 0);
    p->keep_days = 0;
    p->policy.keep_days = 3;
    peer_open(p);
    peer_batch(p);
    peer_delete(p, "over");
    peer_commit_all(p);
    await_trash(p, 0, 0, 1);
    assert_string_equal(strrchr(item_of(p, "over"), '-'), "-3d");
    peer_end(p);
}

/* A backup by hard links must not make what is in the trash change with what is live. */
static void what_has_other_links_becomes_a_copy(void **state)
{
    struct peer *p = *state;
    struct stat before, after;
    char other[PEER_PATH + 8];
    p->keep_days = DAYS;
    send_files(p);
    snprintf(other, sizeof other, "%s/other", p->dir);
    assert_int_equal(link(on_root(p, "over"), other), 0);
    assert_int_equal(link(on_root(p, "d/in"), on_root(p, "second")), 0);
    assert_int_equal(stat(other, &before), 0);
    send_changes_of_files(p);
    await_trash(p, 0, 0, 5);
    assert_kept(p, "d", "/in", "inside");
    assert_kept(p, "over", "", "old");
    assert_int_equal(stat(kept_at(p, "over", ""), &after), 0);
    assert_true(after.st_ino != before.st_ino);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
    assert_true(after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
                after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    assert_int_equal(access(on_root(p, "second"), F_OK), 0);
    peer_end(p);
}

/* Of a replaced unit what the update changed or deleted; of a deleted one everything. */
static void replaced_units_are_kept(void **state)
{
    struct peer *p = *state;
    struct msg_sums want = reference(false);
    struct stat st;
    p->keep_days = DAYS;
    p->unit_grace = -1;
    peer_open(p);
    send_site(p, false);
    send_update(p);
    commit_with(p, 0);
    let_jobs_end(p);
    await_trash(p, 0, 0, 1);
    assert_kept(p, "plugins/x", "/changed", "old");
    assert_int_equal(access(kept_at(p, "plugins/x", "/same"), F_OK), -1);
    assert_int_equal(stat(on_root(p, "plugins/x/same"), &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_known(p, &want);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_delete(p, "plugins/x");
    commit_with(p, 0);
    let_jobs_end(p);
    await_trash(p, 0, 0, 2);
    assert_absent(p, "plugins/x");
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
}

/* Where only times change, nothing is left of the old one that is worth a place. */
static void a_unit_of_the_same_content_leaves_nothing(void **state)
{
    struct peer *p = *state;
    struct entry same = text("times", 901);
    p->keep_days = DAYS;
    p->unit_grace = -1;
    peer_open(p);
    send_site(p, false);
    peer_batch(p);
    peer_unit(p, "plugins/x");
    peer_entry(p, "plugins/x/times", &same, HOW_META, NULL);
    commit_with(p, 0);
    let_jobs_end(p);
    peer_batch(p);
    peer_delete(p, "outside");
    peer_commit_all(p);
    await_trash(p, 0, 0, 1); /* that one */
    while (kept_items(p) > 1)
        let_jobs_end(p);
    assert_int_equal(aside_count(p, "kept", "plugins/x", (char[2048]){0}), 0);
    peer_end(p);
}

/* Foreign things are counted with their bytes, directories with all that is in them. */
static void foreign_things_are_counted(void **state)
{
    struct peer *p = *state;
    struct entry dir = a_dir(0755), file = a_file("ours", 4, 0644);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &dir, NULL);
    peer_put(p, "f", &file, "ours");
    peer_commit_all(p);
    write_file(p, "d/upload", "12345");
    write_file(p, "f", "123");
    peer_batch(p);
    peer_delete(p, "d");
    peer_delete(p, "f");
    peer_commit_all(p);
    await_trash(p, 2, 8, 0);
    peer_end(p);
    assert_int_equal(foreign_count(p, NULL), 2);
}

/* Nobody knows whose it is: what is equal to what comes is no loss, but with a writer it might not
 * be equal for long. In a unit it is the same. */
static void what_is_equal_is_not_foreign(void **state)
{
    struct peer *p = *state;
    struct entry dir = a_dir(0755);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "u", &dir, NULL);
    put_text(p, "u/old", "old", 0);
    peer_commit_all(p);
    write_file(p, "same", "good");
    write_file(p, "other", "evil");
    write_file(p, "open", "good");
    write_file(p, "u/same", "good");
    write_file(p, "u/other", "evil");
    int fd CLEANUP_FD = open(on_root(p, "open"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    peer_batch(p);
    put_text(p, "same", "good", 0);
    put_text(p, "other", "good", 0);
    put_text(p, "open", "good", 0);
    peer_commit_all(p);
    peer_batch(p);
    peer_unit(p, "u");
    put_text(p, "u/same", "good", 0);
    put_text(p, "u/other", "good", 0);
    commit_with(p, 0);
    assert_int_equal(foreign_count(p, "same"), 0);
    assert_int_equal(foreign_count(p, "other"), 1);
    assert_int_equal(foreign_count(p, "open"), 1);
    assert_int_equal(foreign_count(p, "u/same"), 0);
    assert_int_equal(foreign_count(p, "u/other"), 1);
    peer_end(p);
}

/* As if it had come into the trash so many days ago. */
static void make_older(const char *item, unsigned days)
{
    char older[2100];
    const char *name = strrchr(item, '/') + 1;
    snprintf(older, sizeof older, "%.*s%lld%s", (int)(name - item), item,
        strtoll(name, NULL, 10) - (long long)days * 86400 - 60, strchr(name, '-'));
    assert_int_equal(rename(item, older), 0);
}

static void it_goes_after_its_days(void **state)
{
    struct peer *p = *state;
    p->keep_days = DAYS;
    send_files(p);
    write_file(p, "turns", "by somebody else");
    send_changes_of_files(p);
    await_trash(p, 1, 16, 4);
    peer_end(p);
    make_older(item_of(p, "over"), DAYS);
    make_older(item_of(p, "gone"), DAYS - 1);
    char item[2048];
    assert_int_equal(aside_count(p, "foreign", "turns", item), 1);
    make_older(item, 30);
    p->keep_days = 0; /* who opens it without does not shorten it */
    peer_open(p);
    await_trash(p, 0, 0, 3);
    assert_kept(p, "gone", "", "deleted");
    assert_int_equal(foreign_count(p, NULL), 0);
    peer_end(p);
    p->keep_days = 1;
    peer_open(p);
    await_trash(p, 0, 0, 2);
    assert_kept(p, "d", "/in", "inside");
    peer_end(p);
}

enum { DISK = 2 << 20, PIECE = 50000, LARGE = 8 * PIECE };

static uint64_t free_bytes(const struct peer *p)
{
    struct statvfs fs;
    assert_int_equal(statvfs(p->fence, &fs), 0);
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The receiver goes on with its work until so much is free. */
static void await_room(struct peer *p, uint64_t bytes)
{
    uint64_t until = io_now_ms() + 30000;
    while (free_bytes(p) < bytes) {
        assert_true(io_now_ms() < until);
        msg_put_ping(&p->out, &(struct msg_ping){1});
        peer_send(p);
        peer_expect(p, MSG_PONG);
        poll(NULL, 0, 5);
    }
}

static void put_version(struct peer *p, int version)
{
    static char content[PIECE];
    memset(content, version, sizeof content);
    struct entry e = a_file(content, sizeof content, 0644);
    peer_batch(p);
    peer_put(p, "f", &e, content);
    peer_commit_all(p);
}

static void send_large(struct peer *p)
{
    static char content[LARGE];
    memset(content, 'x', sizeof content); /* zeros would be holes */
    struct entry e = a_file(content, sizeof content, 0644);
    peer_batch(p);
    uint32_t atom = peer_entry(p, "large", &e, HOW_DATA, NULL);
    for (size_t at = 0; at < LARGE; at += PIECE)
        peer_data(p, atom, DATA_CONTENT, content + at, PIECE);
    peer_finish(p, atom, &e);
}

/* What is kept of our own makes room, foreign things do not. */
static void fill_the_disk(struct peer *p)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    p->keep_days = DAYS;
    peer_open(p);
    put_version(p, 0);
    write_file(p, "f", "somebody else's");
    for (int version = 1; version < 50; version++) {
        put_version(p, version);
        await_room(p, DISK / 100 * 5);
    }
    assert_true(kept_items(p) < 40);
    send_large(p);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->reasons[0], REASON_IO);
    await_room(p, LARGE);
    send_large(p);
    peer_commit_all(p);
    await_room(p, DISK / 100 * 5);
    assert_int_equal(foreign_count(p, "f"), 1);
    assert_in_range(kept_items(p), 20, 32);
    peer_end(p);
    free(ack);
}

static void the_oldest_goes_when_the_disk_is_full(void **state)
{
    struct peer *p = *state;
    char size[32];
    snprintf(size, sizeof size, "size=%d", DISK);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", p->fence, "tmpfs", 0, size) < 0)
        skip(); /* not root */
    fill_the_disk(p);
    assert_int_equal(umount2(p->fence, MNT_DETACH), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, peer_make, peer_unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_ours_is_kept),
        T(nothing_is_kept_unasked),
        T(its_own_configuration_counts),
        T(what_has_other_links_becomes_a_copy),
        T(replaced_units_are_kept),
        T(a_unit_of_the_same_content_leaves_nothing),
        T(foreign_things_are_counted),
        T(what_is_equal_is_not_foreign),
        T(it_goes_after_its_days),
        T(the_oldest_goes_when_the_disk_is_full),
    };
    if (faults_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
