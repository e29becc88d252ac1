#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <pwd.h>

#include "scratch.h"
#include "tree/content/digest.h"
#include "tree/entry.h"

struct place {
    char *path;
    int fd;
    struct names *names;
    struct entry_store store;
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    p->path = scratch_new();
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p->names = names_new(NULL);
    *state = p;
    return p->fd >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    names_free(p->names);
    close(p->fd);
    scratch_free(p->path);
    free(p);
    return 0;
}

static int read_entry(
    struct place *p, const char *name, bool keep_special, struct entry *out, struct err *err)
{
    struct stat st;
    assert_int_equal(fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0);
    return entry_read(p->fd, name, &st, p->names, keep_special, &p->store, out, err);
}

static void test_validators(void **state)
{
    struct place *p = *state;
    struct stat st;
    assert_true(scratch_write(p->fd, "f", "12345"));
    assert_true(scratch_date(p->fd, "f", -7, 123456789));
    assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
    struct validators v = validators_of(&st), w = v;
    assert_int_equal(v.size, 5);
    assert_int_equal(v.mtime, -7);
    assert_int_equal(v.mtime_nsec, 123456789);
    assert_int_equal(v.inode, st.st_ino);
    assert_true(validators_equal(&v, &w));
    w.ctime_nsec ^= 1;
    assert_false(validators_equal(&v, &w));
    w = v;
    w.inode++;
    assert_false(validators_equal(&v, &w));
    w = v;
    w.size++;
    assert_false(validators_equal(&v, &w));
    w = v;
    w.mtime_nsec++;
    assert_false(validators_equal(&v, &w));
}

static void test_racy(void **state)
{
    (void)state;
    struct validators v = {.ctime = 1000, .ctime_nsec = 995000000};
    struct timespec at = {.tv_sec = 1001, .tv_nsec = 4999999};
    assert_true(validators_racy(&v, &at));
    at.tv_nsec = 5000000;
    assert_false(validators_racy(&v, &at));
    at = (struct timespec){.tv_sec = 1000, .tv_nsec = 995000000};
    assert_true(validators_racy(&v, &at));
    at.tv_sec = 5; /* from the future */
    assert_true(validators_racy(&v, &at));
    at.tv_sec = 5000000000;
    assert_false(validators_racy(&v, &at));
    assert_true(validators_pause_ms(&v) > VALIDATORS_GRANULE_MS);
}

/* What has no nanoseconds may be any moment of its second. */
static void test_racy_for_a_second(void **state)
{
    (void)state;
    struct validators v = {.ctime = 1000};
    struct timespec at = {.tv_sec = 1000};
    assert_true(validators_racy(&v, &at));
    at.tv_nsec = 999999999;
    assert_true(validators_racy(&v, &at));
    at = (struct timespec){.tv_sec = 1001, .tv_nsec = 9999999};
    assert_true(validators_racy(&v, &at));
    at.tv_nsec = 10000000;
    assert_false(validators_racy(&v, &at));
    assert_true(validators_pause_ms(&v) > VALIDATORS_SECOND_MS);
}

/* What is written is not stamped earlier than the clock was before, however long ago its last tick.
 */
static void test_the_clock_of_stamps(void **state)
{
    struct place *p = *state;
    struct timespec before;
    struct stat st;
    for (int i = 0; i < 2000; i++) {
        validators_clock(&before);
        assert_true(scratch_write(p->fd, "f", i % 2 ? "odd" : "even"));
        assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
        assert_true(st.st_ctim.tv_sec > before.tv_sec ||
                    (st.st_ctim.tv_sec == before.tv_sec && st.st_ctim.tv_nsec >= before.tv_nsec));
    }
}

static void test_files(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    struct passwd *me = getpwuid(geteuid());
    assert_true(scratch_write(p->fd, "f\n\xff", "12345"));
    assert_int_equal(fchmodat(p->fd, "f\n\xff", 06751, 0), 0);
    assert_true(scratch_date(p->fd, "f\n\xff", 1700000000, 999999999));
    assert_int_equal(read_entry(p, "f\n\xff", false, &e, &err), 0);
    assert_int_equal(e.type, ENTRY_FILE);
    assert_int_equal(e.mode, 0751);
    assert_int_equal(e.size, 5);
    assert_int_equal(e.mtime, 1700000000);
    assert_int_equal(e.mtime_nsec, 999999999);
    assert_false(e.has_digest);
    assert_int_equal(e.target.len + e.acl.len + e.default_acl.len, 0);
    if (me)
        assert_true(bytes_equal(e.owner, bytes_of(me->pw_name)));
    assert_int_equal(read_entry(p, "f\n\xff", true, &e, &err), 0);
    assert_int_equal(e.mode, 06751);
}

static void test_directories(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    assert_int_equal(fchmodat(p->fd, "d", 03775, 0), 0);
    assert_int_equal(read_entry(p, "d", false, &e, &err), 0);
    assert_int_equal(e.type, ENTRY_DIR);
    assert_int_equal(e.mode, 03775);
    assert_int_equal(e.size, 0);
    /* The descriptor itself. */
    assert_int_equal(read_entry(p, "", false, &e, &err), 0);
    assert_int_equal(e.type, ENTRY_DIR);
    assert_int_equal(e.mode, 0700);
}

static void test_links(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    struct stat st;
    char longest[4096];
    memset(longest, 'x', sizeof longest);
    longest[4095] = '\0';
    assert_int_equal(symlinkat("../no\nwhere", p->fd, "l"), 0);
    assert_true(scratch_date(p->fd, "l", 12, 34));
    assert_int_equal(read_entry(p, "l", false, &e, &err), 0);
    assert_int_equal(e.type, ENTRY_LINK);
    assert_int_equal(e.mode, 0);
    assert_int_equal(e.size, 0);
    assert_int_equal(e.mtime, 12);
    assert_true(bytes_equal(e.target, bytes_of("../no\nwhere")));
    if (symlinkat(longest, p->fd, "long") == 0) {
        assert_int_equal(read_entry(p, "long", false, &e, &err), 0);
        assert_int_equal(e.target.len, 4095);
    }
    /* Gone, or something else, since the stat. */
    assert_int_equal(fstatat(p->fd, "l", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(unlinkat(p->fd, "l", 0), 0);
    assert_int_equal(entry_read(p->fd, "l", &st, p->names, false, &p->store, &e, &err), -1);
    assert_int_equal(err.sys, ENOENT);
    assert_true(scratch_write(p->fd, "l", ""));
    assert_int_equal(entry_read(p->fd, "l", &st, p->names, false, &p->store, &e, &err), -1);
    assert_int_equal(err.sys, EINVAL);
}

static void test_what_is_not_mirrored(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    assert_int_equal(mkfifoat(p->fd, "fifo", 0600), 0);
    assert_int_equal(read_entry(p, "fifo", false, &e, &err), 1);
}

static void test_file_that_vanished(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    struct stat st;
    assert_true(scratch_write(p->fd, "f", "x"));
    assert_int_equal(fstatat(p->fd, "f", &st, 0), 0);
    assert_int_equal(unlinkat(p->fd, "f", 0), 0);
    assert_int_equal(entry_read(p->fd, "f", &st, p->names, false, &p->store, &e, &err), -1);
    assert_int_equal(err.sys, ENOENT);
}

static const char acl_text[] = "u::rw-,u:root:r-x,g::r--,g:root:---,m::rwx,o::---";

/* True where this filesystem keeps ACLs. */
static bool set_acl(struct place *p, const char *name, bool of_default, const char *text)
{
    struct err err;
    int fd = openat(p->fd, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    int rc = entry_set_acl(fd, of_default, bytes_of(text), p->names, &err);
    close(fd);
    if (rc < 0)
        fail_msg("%s", err.text);
    return rc == 0;
}

static void test_acls(void **state)
{
    struct place *p = *state;
    struct entry e;
    struct err err;
    assert_true(scratch_write(p->fd, "f", "x"));
    assert_int_equal(mkdirat(p->fd, "d", 0755), 0);
    if (!set_acl(p, "f", false, acl_text))
        skip();
    assert_int_equal(read_entry(p, "f", false, &e, &err), 0);
    assert_true(bytes_equal(e.acl, bytes_of(acl_text)));
    assert_int_equal(e.mode, 0670); /* the mask stands where the group's bits were */
    assert_true(set_acl(p, "d", true, acl_text));
    assert_int_equal(read_entry(p, "d", false, &e, &err), 0);
    assert_int_equal(e.acl.len, 0);
    assert_true(bytes_equal(e.default_acl, bytes_of(acl_text)));
    /* Removed, and removed again. */
    for (int i = 0; i < 2; i++) {
        assert_true(set_acl(p, "f", false, ""));
        assert_true(set_acl(p, "d", true, ""));
    }
    assert_int_equal(read_entry(p, "f", false, &e, &err), 0);
    assert_int_equal(e.acl.len, 0);
    assert_int_equal(read_entry(p, "d", false, &e, &err), 0);
    assert_int_equal(e.default_acl.len, 0);
}

static void test_acl_of_unknown_user(void **state)
{
    struct place *p = *state;
    struct err err;
    assert_int_equal(
        entry_set_acl(p->fd, false, bytes_of("u::rwx,u:no-such-user-here:r--,g::---,m::r--,o::---"),
            p->names, &err),
        -1);
    assert_int_equal(err.code, ERR_PARTIAL);
    assert_non_null(strstr(err.text, "no-such-user-here"));
}

static struct entry sample(void)
{
    return (struct entry){.type = ENTRY_FILE,
        .has_digest = true,
        .mode = 0644,
        .mtime = 5,
        .mtime_nsec = 6,
        .size = 7,
        .owner = bytes_of("alice"),
        .group = bytes_of("www"),
        .digest = {{1, 2, 3}}};
}

static void test_equality(void **state)
{
    (void)state;
    struct entry a = sample(), b = sample();
    assert_true(entry_meta_equal(&a, &b) && entry_owner_equal(&a, &b));
    assert_true(entry_content_equal(&a, &b));
    b.digest.b[5] = 1;
    assert_false(entry_content_equal(&a, &b));
    b.has_digest = false;
    assert_true(entry_content_equal(&a, &b));
    b.size++;
    assert_false(entry_content_equal(&a, &b));
    assert_false(entry_meta_equal(&a, &b));
    b = sample();
    b.mtime_nsec++;
    assert_false(entry_meta_equal(&a, &b));
    b = sample();
    b.acl = bytes_of("x");
    assert_false(entry_meta_equal(&a, &b));
    assert_true(entry_owner_equal(&a, &b));
    b = sample();
    b.group = bytes_of("w");
    assert_true(entry_meta_equal(&a, &b));
    assert_false(entry_owner_equal(&a, &b));
    b.type = a.type = ENTRY_DIR;
    assert_true(entry_content_equal(&a, &b));
    b.type = ENTRY_FILE;
    assert_false(entry_content_equal(&a, &b));
}

struct digests {
    struct digest meta, owner, content;
};

static struct digests digests_of(const char *name, const struct entry *e)
{
    struct digests d;
    entry_digest_meta(bytes_of(name), e, &d.meta);
    entry_digest_owner(bytes_of(name), e, &d.owner);
    entry_digest_content(bytes_of(name), e, &d.content);
    return d;
}

static void assert_differ(
    const struct digests *a, const struct digests *b, bool meta, bool owner, bool content)
{
    assert_int_equal(!digest_equal(&a->meta, &b->meta), meta);
    assert_int_equal(!digest_equal(&a->owner, &b->owner), owner);
    assert_int_equal(!digest_equal(&a->content, &b->content), content);
}

static void test_digests(void **state)
{
    (void)state;
    struct entry e = sample();
    struct digests was = digests_of("n", &e), is;
    struct digest zero = {{0}};
    is = digests_of("m", &e);
    assert_differ(&was, &is, true, true, true);
    e.mode = 0600;
    is = digests_of("n", &e);
    assert_differ(&was, &is, true, false, false);
    e = sample();
    e.size = 8;
    is = digests_of("n", &e);
    assert_differ(&was, &is, true, false, false);
    e = sample();
    e.owner = bytes_of("alicew");
    e.group = bytes_of("ww");
    is = digests_of("n", &e);
    assert_differ(&was, &is, false, true, false);
    e = sample();
    e.digest.b[15] = 1;
    is = digests_of("n", &e);
    assert_differ(&was, &is, false, false, true);
    e.has_digest = false;
    is = digests_of("n", &e);
    assert_true(digest_equal(&is.content, &zero));
    e.type = ENTRY_LINK;
    e.target = bytes_of("t");
    is = digests_of("n", &e);
    assert_true(digest_equal(&is.content, &zero));
    assert_differ(&was, &is, true, false, true);
}

/* What two ends compare never changes within a version of the protocol. */
static void test_digests_are_stable(void **state)
{
    static const uint8_t meta_bytes[] = {'m', 1, 0, 'n', ENTRY_FILE, 0xa4, 1, 5, 0, 0, 0, 0, 0, 0,
        0, 6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t owner_bytes[] = {
        'o', 1, 0, 'n', 5, 0, 'a', 'l', 'i', 'c', 'e', 3, 0, 'w', 'w', 'w'};
    static const uint8_t content_bytes[] = {
        'c', 1, 0, 'n', 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct entry e = sample();
    struct digests d = digests_of("n", &e);
    struct digest want;
    (void)state;
    digest_plain(meta_bytes, sizeof meta_bytes, &want);
    assert_true(digest_equal(&d.meta, &want));
    digest_plain(owner_bytes, sizeof owner_bytes, &want);
    assert_true(digest_equal(&d.owner, &want));
    digest_plain(content_bytes, sizeof content_bytes, &want);
    assert_true(digest_equal(&d.content, &want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_validators, set_up, tear_down),
        cmocka_unit_test(test_racy),
        cmocka_unit_test(test_racy_for_a_second),
        cmocka_unit_test_setup_teardown(test_the_clock_of_stamps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_mirrored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_that_vanished, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_acls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_acl_of_unknown_user, set_up, tear_down),
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_digests_are_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
