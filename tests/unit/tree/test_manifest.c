#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/set.h"
#include "scratch.h"
#include "tree/content/digest.h"
#include "tree/manifest/manifest.h"
#include "tree/manifest/sound.h"

static const struct digest filter_a = {{1}}, filter_b = {{2}};

struct place {
    char *path;
    struct manifest *m;
};

static struct manifest *open_at(const char *path, const struct digest *filter, bool expect_fresh)
{
    struct manifest *m = NULL;
    struct err err = {0};
    bool fresh = !expect_fresh;
    if (manifest_open(path, filter, &m, &fresh, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(fresh, expect_fresh);
    return m;
}

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    p->path = scratch_new();
    p->m = open_at(p->path, &filter_a, true);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    manifest_close(p->m);
    scratch_free(p->path);
    free(p);
    return 0;
}

static struct manifest_txn *begin(struct manifest *m, bool write)
{
    struct manifest_txn *t;
    struct err err;
    if (manifest_begin(m, write, &t, &err) != 0)
        fail_msg("%s", err.text);
    return t;
}

static void commit(struct manifest_txn *t)
{
    struct err err;
    if (manifest_commit(t, &err) != 0)
        fail_msg("%s", err.text);
}

static struct record file_of(uint64_t size)
{
    return (struct record){
        .entry = {.type = ENTRY_FILE,
            .mode = 0644,
            .size = size,
            .mtime = -5,
            .mtime_nsec = 999999999,
            .owner = bytes_of("alice"),
            .group = bytes_of("www"),
            .acl = bytes_of("u::rw-,u:bob:r--,g::r--,m::r--,o::---")},
        .validators = {.inode = size, .ctime = -1, .ctime_nsec = 3, .size = size, .mtime = -5},
        .flags = RECORD_COMMITTED,
    };
}

static struct record proven_file_of(uint64_t size)
{
    struct record r = file_of(size);
    r.entry.has_digest = true;
    digest_plain(&size, sizeof size, &r.entry.digest);
    return r;
}

static struct record dir_of(int64_t mtime)
{
    return (struct record){.entry = {.type = ENTRY_DIR, .mode = 0755, .mtime = mtime}};
}

static struct record link_of(const char *target)
{
    return (struct record){.entry = {.type = ENTRY_LINK, .target = bytes_of(target)}};
}

static uint64_t put(struct manifest_txn *t, uint64_t dir, const char *name, struct record r)
{
    struct err err;
    if (manifest_put(t, dir, bytes_of(name), &r, &err) != 0)
        fail_msg("%s", err.text);
    return r.dir;
}

static int get(struct manifest_txn *t, uint64_t dir, const char *name, struct record *out)
{
    struct err err;
    return manifest_get(t, dir, bytes_of(name), out, &err);
}

static bool sums_equal(const struct msg_sums *a, const struct msg_sums *b)
{
    return digest_equal(&a->meta, &b->meta) && digest_equal(&a->owner, &b->owner) &&
           digest_equal(&a->content, &b->content) && a->entries == b->entries &&
           a->files == b->files && a->bytes == b->bytes && a->unproven == b->unproven;
}

static struct msg_sums sums_of(struct manifest_txn *t, uint64_t dir)
{
    struct msg_sums s;
    struct err err;
    if (manifest_sums(t, dir, &s, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void test_records_come_back(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    struct record r = proven_file_of(7), got;
    put(t, MANIFEST_ROOT, "f", r);
    put(t, MANIFEST_ROOT, "l", link_of("../x"));
    commit(t);
    t = begin(p->m, false);
    assert_int_equal(get(t, MANIFEST_ROOT, "f", &got), 1);
    assert_true(entry_meta_equal(&got.entry, &r.entry));
    assert_true(entry_owner_equal(&got.entry, &r.entry));
    assert_true(got.entry.has_digest && digest_equal(&got.entry.digest, &r.entry.digest));
    assert_true(validators_equal(&got.validators, &r.validators));
    assert_int_equal(got.flags, RECORD_COMMITTED);
    assert_int_equal(got.dir, 0);
    assert_int_equal(get(t, MANIFEST_ROOT, "l", &got), 1);
    assert_true(bytes_equal(got.entry.target, bytes_of("../x")));
    assert_int_equal(get(t, MANIFEST_ROOT, "x", &got), 0);
    assert_int_equal(get(t, 99, "f", &got), 0);
    manifest_abort(t);
}

static void test_lookup(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    struct record r;
    struct err err;
    uint64_t parent = 77;
    assert_int_equal(manifest_lookup(t, bytes_of(""), &r, &parent, &err), 0);
    struct record root = dir_of(5);
    assert_int_equal(manifest_put_root(t, &root, &err), 0);
    assert_int_equal(manifest_lookup(t, bytes_of(""), &r, &parent, &err), 1);
    assert_int_equal(r.dir, MANIFEST_ROOT);
    assert_int_equal(r.entry.mtime, 5);
    assert_int_equal(parent, 77);
    uint64_t a = put(t, MANIFEST_ROOT, "a", dir_of(1)), b = put(t, a, "b", dir_of(1));
    put(t, b, "f", file_of(3));
    assert_int_equal(manifest_lookup(t, bytes_of("a/b/f"), &r, &parent, &err), 1);
    assert_int_equal(r.entry.size, 3);
    assert_int_equal(parent, b);
    assert_int_equal(manifest_lookup(t, bytes_of("a/b/none"), &r, &parent, &err), 0);
    assert_int_equal(parent, b);
    assert_int_equal(manifest_lookup(t, bytes_of("a/none/f"), &r, &parent, &err), 0);
    assert_int_equal(parent, 0);
    assert_int_equal(manifest_lookup(t, bytes_of("a/b/f/x"), &r, &parent, &err), 0);
    assert_int_equal(parent, 0);
    assert_int_equal(manifest_lookup(t, bytes_of("a"), &r, &parent, &err), 1);
    assert_int_equal(parent, MANIFEST_ROOT);
    assert_int_equal(r.dir, a);
    manifest_abort(t);
}

/* A look without a transaction at hand has nothing that points into the store. */
static void test_peek(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    struct record r = proven_file_of(3), got;
    struct err err;
    uint64_t a = put(t, MANIFEST_ROOT, "a", dir_of(1));
    put(t, a, "f", r);
    put(t, a, "l", link_of("elsewhere"));
    commit(t);
    assert_int_equal(manifest_peek(p->m, bytes_of("a/f"), &got, &err), 1);
    assert_int_equal(got.entry.size, 3);
    assert_true(got.entry.has_digest && digest_equal(&got.entry.digest, &r.entry.digest));
    assert_true(validators_equal(&got.validators, &r.validators));
    assert_true(got.entry.owner.len + got.entry.group.len + got.entry.acl.len == 0);
    assert_int_equal(manifest_peek(p->m, bytes_of("a/l"), &got, &err), 1);
    assert_int_equal(got.entry.type, ENTRY_LINK);
    assert_int_equal(got.entry.target.len, 0);
    assert_int_equal(manifest_peek(p->m, bytes_of("a"), &got, &err), 1);
    assert_int_equal(got.dir, a);
    assert_int_equal(manifest_peek(p->m, bytes_of("a/none"), &got, &err), 0);
}

static void test_next_in_order(void **state)
{
    static const char *const names[] = {"a", "a\n", "aa", "b", "b\xff", "\xfe"};
    struct place *p = *state;
    struct err err;
    for (int write = 1; write >= 0; write--) {
        struct manifest_txn *t = begin(p->m, write);
        if (write) {
            for (size_t i = 6; i-- > 0;)
                put(t, MANIFEST_ROOT, names[i], file_of(i));
            uint64_t d = put(t, MANIFEST_ROOT, "zz", dir_of(0));
            put(t, d, "inside", file_of(9));
            manifest_delete(t, MANIFEST_ROOT, bytes_of("none"), &err);
        }
        struct bytes name = {0};
        struct record r;
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(manifest_next(t, MANIFEST_ROOT, name, &name, &r, &err), 1);
            assert_true(bytes_equal(name, bytes_of(names[i])));
            assert_int_equal(r.entry.size, i);
        }
        assert_int_equal(manifest_next(t, MANIFEST_ROOT, bytes_of("b\xff"), &name, &r, &err), 1);
        assert_true(bytes_equal(name, bytes_of("zz")));
        assert_int_equal(manifest_next(t, MANIFEST_ROOT, name, &name, &r, &err), 1);
        assert_true(bytes_equal(name, bytes_of("\xfe")));
        assert_int_equal(manifest_next(t, MANIFEST_ROOT, name, &name, &r, &err), 0);
        /* From a name that is not there. */
        assert_int_equal(manifest_next(t, MANIFEST_ROOT, bytes_of("ab"), &name, &r, &err), 1);
        assert_true(bytes_equal(name, bytes_of("b")));
        assert_int_equal(manifest_next(t, 12345, (struct bytes){0}, &name, &r, &err), 0);
        commit(t);
    }
}

static void test_directory_keeps_number(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    struct record r;
    uint64_t d = put(t, MANIFEST_ROOT, "d", dir_of(1));
    put(t, d, "f", file_of(1));
    assert_true(d > MANIFEST_ROOT);
    commit(t);
    t = begin(p->m, true);
    assert_int_equal(put(t, MANIFEST_ROOT, "d", dir_of(2)), d);
    assert_int_equal(get(t, d, "f", &r), 1);
    /* A file in its place takes the content away. */
    assert_int_equal(put(t, MANIFEST_ROOT, "d", file_of(2)), 0);
    assert_int_equal(get(t, d, "f", &r), 0);
    assert_int_equal(sums_of(t, MANIFEST_ROOT).entries, 1);
    assert_true(put(t, MANIFEST_ROOT, "d", dir_of(3)) > d);
    commit(t);
}

static void test_sums_count(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    struct digest zero = {{0}};
    struct msg_sums s = sums_of(t, MANIFEST_ROOT);
    assert_true(digest_equal(&s.meta, &zero) && digest_equal(&s.content, &zero));
    uint64_t d = put(t, MANIFEST_ROOT, "d", dir_of(1));
    put(t, d, "f", file_of(10));
    put(t, d, "g", proven_file_of(5));
    put(t, MANIFEST_ROOT, "l", link_of("x"));
    s = sums_of(t, MANIFEST_ROOT);
    assert_int_equal(s.entries, 4);
    assert_int_equal(s.bytes, 15);
    assert_int_equal(s.unproven, 1);
    s = sums_of(t, d);
    assert_int_equal(s.entries, 2);
    commit(t);
    t = begin(p->m, false);
    struct msg_sums read = sums_of(t, d);
    assert_true(sums_equal(&s, &read));
    struct err err;
    assert_int_equal(manifest_sums(t, 99, &s, &err), -1);
    manifest_abort(t);
}

/* What each kind of change does to which sum, two directories up. */
static void test_sums_tell_what_changed(void **state)
{
    struct place *p = *state;
    struct manifest_txn *t = begin(p->m, true);
    uint64_t a = put(t, MANIFEST_ROOT, "a", dir_of(1)), b = put(t, a, "b", dir_of(1));
    struct record r = proven_file_of(4);
    put(t, b, "f", r);
    struct msg_sums was = sums_of(t, MANIFEST_ROOT), is;

    r.entry.mtime++;
    put(t, b, "f", r);
    is = sums_of(t, MANIFEST_ROOT);
    assert_false(digest_equal(&was.meta, &is.meta));
    assert_true(digest_equal(&was.owner, &is.owner) && digest_equal(&was.content, &is.content));
    r.entry.mtime--;

    r.entry.owner = bytes_of("carol");
    put(t, b, "f", r);
    is = sums_of(t, MANIFEST_ROOT);
    assert_false(digest_equal(&was.owner, &is.owner));
    assert_true(digest_equal(&was.meta, &is.meta) && digest_equal(&was.content, &is.content));
    r.entry.owner = bytes_of("alice");

    r.entry.digest.b[0] ^= 1;
    put(t, b, "f", r);
    is = sums_of(t, MANIFEST_ROOT);
    assert_false(digest_equal(&was.content, &is.content));
    assert_true(digest_equal(&was.meta, &is.meta) && digest_equal(&was.owner, &is.owner));
    r.entry.digest.b[0] ^= 1;

    put(t, a, "b", dir_of(2));
    is = sums_of(t, MANIFEST_ROOT);
    assert_false(digest_equal(&was.meta, &is.meta));
    put(t, a, "b", dir_of(1));

    /* Validators and flags are nobody else's business. */
    r.validators.ctime++;
    r.flags = RECORD_RACY;
    put(t, b, "f", r);
    is = sums_of(t, MANIFEST_ROOT);
    assert_true(sums_equal(&was, &is));
    commit(t);
}

static unsigned count_all(struct manifest *m)
{
    struct manifest_txn *t = begin(m, false);
    struct manifest_place at = {0};
    struct manifest_drift row = {0};
    struct record r;
    struct err err;
    unsigned n = 0;
    while (manifest_next_of_all(t, &at, &r, &err) == 1)
        n++;
    while (manifest_drift_next(t, &row, &err) == 1)
        n++;
    manifest_abort(t);
    return n;
}

static uint64_t put_many(struct manifest_txn *t, uint64_t dir, const char *name, unsigned n)
{
    char file[16];
    uint64_t sub = put(t, dir, name, dir_of(1));
    for (unsigned i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%u", i);
        put(t, sub, file, file_of(i));
    }
    return sub;
}

/* A large directory is gone at once; what was in it goes in steps, across reopenings. */
static void test_cut(void **state)
{
    struct place *p = *state;
    struct err err;
    struct record r;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct manifest_txn *t = begin(p->m, true);
    put(t, MANIFEST_ROOT, "stays", file_of(1));
    struct msg_sums before = sums_of(t, MANIFEST_ROOT), after;
    uint64_t d = put_many(t, MANIFEST_ROOT, "d", 1000), a = put_many(t, d, "a", 1000);
    uint64_t deep = put_many(t, a, "deep", 500);
    commit(t);
    t = begin(p->m, true);
    assert_int_equal(manifest_drift_put(t, deep, bytes_of("x"), NULL, &err), 0);
    put(t, deep, "last", file_of(4)); /* not carried up yet */
    assert_int_equal(manifest_cut(t, MANIFEST_ROOT, bytes_of("d"), &err), 1);
    assert_int_equal(manifest_cut(t, MANIFEST_ROOT, bytes_of("d"), &err), 0);
    after = sums_of(t, MANIFEST_ROOT);
    assert_true(sums_equal(&before, &after));
    put(t, MANIFEST_ROOT, "d", dir_of(2));
    commit(t);
    t = begin(p->m, false);
    assert_int_equal(manifest_dir_path(t, deep, path, &len, &err), 0);
    assert_int_equal(get(t, MANIFEST_ROOT, "d", &r), 1);
    assert_true(r.dir != d);
    manifest_abort(t);
    assert_int_equal(count_all(p->m), 2 + 2503 + 1);
    int more = 1;
    unsigned steps = 0;
    for (; more == 1; steps++) {
        manifest_close(p->m);
        p->m = open_at(p->path, &filter_a, false);
        t = begin(p->m, true);
        more = manifest_prune(t, 600, &err);
        commit(t);
    }
    assert_int_equal(more, 0);
    assert_true(steps >= 2503 / 600);
    assert_int_equal(count_all(p->m), 2);
    t = begin(p->m, true);
    put_many(t, MANIFEST_ROOT, "few", 10);
    assert_int_equal(manifest_cut(t, MANIFEST_ROOT, bytes_of("few"), &err), 1);
    commit(t);
    assert_int_equal(count_all(p->m), 2);
}

static void test_moves(void **state)
{
    struct place *p = *state;
    struct err err;
    struct manifest_txn *t = begin(p->m, true);
    uint64_t a = put(t, MANIFEST_ROOT, "a", dir_of(1)), b = put(t, a, "b", dir_of(1));
    uint64_t z = put(t, MANIFEST_ROOT, "z", dir_of(1));
    put(t, b, "f", proven_file_of(4));
    put(t, z, "old", dir_of(1));
    commit(t);
    t = begin(p->m, true);
    struct msg_sums was = sums_of(t, MANIFEST_ROOT), of_b = sums_of(t, b), is;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    struct record r;
    assert_int_equal(manifest_move(t, a, bytes_of("b"), z, bytes_of("old"), &err), 1);
    assert_int_equal(manifest_dir_path(t, b, path, &len, &err), 1);
    assert_string_equal(path, "z/old");
    assert_int_equal(len, 5);
    assert_int_equal(get(t, z, "old", &r), 1);
    assert_int_equal(r.dir, b);
    is = sums_of(t, b);
    assert_true(sums_equal(&of_b, &is));
    is = sums_of(t, MANIFEST_ROOT);
    assert_int_equal(is.entries, was.entries - 1);
    assert_int_equal(manifest_move(t, a, bytes_of("b"), z, bytes_of("x"), &err), 0);
    /* And back, with what was replaced: all as before. */
    assert_int_equal(manifest_move(t, z, bytes_of("old"), a, bytes_of("b"), &err), 1);
    put(t, z, "old", dir_of(1));
    is = sums_of(t, MANIFEST_ROOT);
    assert_true(sums_equal(&was, &is));
    /* A file; and onto itself. */
    assert_int_equal(manifest_move(t, b, bytes_of("f"), MANIFEST_ROOT, bytes_of("g"), &err), 1);
    assert_int_equal(get(t, b, "f", &r), 0);
    assert_int_equal(get(t, MANIFEST_ROOT, "g", &r), 1);
    assert_int_equal(r.entry.size, 4);
    assert_int_equal(
        manifest_move(t, MANIFEST_ROOT, bytes_of("g"), MANIFEST_ROOT, bytes_of("g"), &err), 1);
    assert_int_equal(get(t, MANIFEST_ROOT, "g", &r), 1);
    commit(t);
}

static void test_moves_that_cannot_be(void **state)
{
    struct place *p = *state;
    struct err err;
    struct manifest_txn *t = begin(p->m, true);
    uint64_t a = put(t, MANIFEST_ROOT, "a", dir_of(1)), b = put(t, a, "b", dir_of(1));
    struct msg_sums was = sums_of(t, MANIFEST_ROOT), is;
    assert_int_equal(manifest_move(t, MANIFEST_ROOT, bytes_of("a"), b, bytes_of("c"), &err), -1);
    assert_int_equal(manifest_move(t, MANIFEST_ROOT, bytes_of("a"), a, bytes_of("c"), &err), -1);
    assert_int_equal(manifest_move(t, a, bytes_of("b"), MANIFEST_ROOT, bytes_of("a"), &err), -1);
    assert_int_equal(manifest_move(t, a, bytes_of("b"), 99, bytes_of("x"), &err), -1);
    is = sums_of(t, MANIFEST_ROOT);
    assert_true(sums_equal(&was, &is));
    manifest_abort(t);
}

static void test_bad_puts(void **state)
{
    struct place *p = *state;
    struct err err;
    char longest[PATH_NAME_MAX + 1];
    memset(longest, 'n', sizeof longest);
    struct manifest_txn *t = begin(p->m, true);
    struct record r = file_of(1), none = {0};
    assert_int_equal(manifest_put(t, 99, bytes_of("x"), &r, &err), -1);
    assert_int_equal(manifest_put(t, MANIFEST_ROOT, (struct bytes){0}, &r, &err), -1);
    assert_int_equal(
        manifest_put(t, MANIFEST_ROOT, (struct bytes){longest, sizeof longest}, &r, &err), -1);
    assert_int_equal(manifest_put(t, MANIFEST_ROOT, bytes_of("x"), &none, &err), -1);
    assert_int_equal(manifest_put_root(t, &r, &err), -1);
    assert_int_equal(
        manifest_put(t, MANIFEST_ROOT, (struct bytes){longest, PATH_NAME_MAX}, &r, &err), 0);
    assert_int_equal(manifest_delete(t, 99, bytes_of("x"), &err), 0);
    commit(t);
}

/* What put is given may be the store's own memory, which dies while it writes. */
static void test_put_what_was_got(void **state)
{
    struct place *p = *state;
    struct err err;
    struct record r;
    struct bytes name;
    struct manifest_txn *t = begin(p->m, true);
    for (uint64_t i = 0; i < 300; i++) {
        char text[32];
        snprintf(text, sizeof text, "file-%03d", (int)i);
        put(t, MANIFEST_ROOT, text, file_of(i));
    }
    commit(t);
    t = begin(p->m, true);
    name = (struct bytes){0};
    char last[PATH_NAME_MAX];
    while (manifest_next(t, MANIFEST_ROOT, name, &name, &r, &err) == 1) {
        memcpy(last, name.data, name.len);
        r.entry.mtime = 77;
        assert_int_equal(manifest_put(t, MANIFEST_ROOT, name, &r, &err), 0);
        name.data = last;
    }
    assert_int_equal(get(t, MANIFEST_ROOT, "file-123", &r), 1);
    assert_int_equal(r.entry.mtime, 77);
    assert_true(bytes_equal(r.entry.owner, bytes_of("alice")));
    commit(t);
}

static void test_very_deep(void **state)
{
    enum { DEPTH = 5000 };
    struct place *p = *state;
    struct err err;
    struct manifest_txn *t = begin(p->m, true);
    uint64_t dir = MANIFEST_ROOT, deepest;
    for (int i = 0; i < DEPTH; i++)
        dir = put(t, dir, "d", dir_of(i));
    deepest = dir;
    put(t, dir, "f", file_of(1));
    struct msg_sums s = sums_of(t, MANIFEST_ROOT);
    assert_int_equal(s.entries, DEPTH + 1);
    assert_int_equal(s.bytes, 1);
    commit(t);
    t = begin(p->m, true);
    put(t, deepest, "f", file_of(2));
    assert_int_equal(sums_of(t, MANIFEST_ROOT).bytes, 2);
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    assert_int_equal(manifest_dir_path(t, deepest, path, &len, &err), 1);
    assert_int_equal(len, DEPTH * 2 - 1);
    assert_int_equal(manifest_delete(t, MANIFEST_ROOT, bytes_of("d"), &err), 1);
    s = sums_of(t, MANIFEST_ROOT);
    assert_int_equal(s.entries, 0);
    assert_int_equal(manifest_dir_path(t, deepest, path, &len, &err), 0);
    commit(t);
}

static void test_abort(void **state)
{
    struct place *p = *state;
    struct record r;
    struct manifest_txn *t = begin(p->m, true);
    put(t, MANIFEST_ROOT, "a", dir_of(1));
    manifest_abort(t);
    manifest_abort(NULL);
    t = begin(p->m, false);
    assert_int_equal(get(t, MANIFEST_ROOT, "a", &r), 0);
    assert_int_equal(sums_of(t, MANIFEST_ROOT).entries, 0);
    manifest_abort(t);
}

static void test_journal(void **state)
{
    struct place *p = *state;
    struct err err;
    struct bytes value;
    uint64_t key = 0;
    struct manifest_txn *t = begin(p->m, true);
    assert_int_equal(manifest_journal_next(t, 0, &key, &value, &err), 0);
    assert_int_equal(manifest_journal_put(t, 300, bytes_of("c"), &err), 0);
    assert_int_equal(manifest_journal_put(t, 1, bytes_of("a"), &err), 0);
    assert_int_equal(manifest_journal_put(t, 2, bytes_of("x"), &err), 0);
    assert_int_equal(manifest_journal_put(t, 2, bytes_of("b"), &err), 0);
    commit(t);
    t = begin(p->m, true);
    char all[8] = "";
    size_t n = 0;
    while (manifest_journal_next(t, key, &key, &value, &err) == 1) {
        assert_int_equal(value.len, 1);
        all[n++] = *(const char *)value.data;
    }
    assert_string_equal(all, "abc");
    assert_int_equal(key, 300);
    assert_int_equal(manifest_journal_next(t, UINT64_MAX, &key, &value, &err), 0);
    assert_int_equal(manifest_journal_clear(t, &err), 0);
    assert_int_equal(manifest_journal_next(t, 0, &key, &value, &err), 0);
    commit(t);
}

static void test_reopening(void **state)
{
    struct place *p = *state;
    struct record r;
    struct manifest_txn *t = begin(p->m, true);
    uint64_t d = put(t, MANIFEST_ROOT, "d", dir_of(1));
    commit(t);
    manifest_close(p->m);
    p->m = open_at(p->path, &filter_a, false);
    t = begin(p->m, true);
    assert_int_equal(get(t, MANIFEST_ROOT, "d", &r), 1);
    assert_int_equal(r.dir, d);
    assert_true(put(t, MANIFEST_ROOT, "e", dir_of(1)) > d);
    commit(t);
    /* Another filter covers another set of paths. */
    manifest_close(p->m);
    p->m = open_at(p->path, &filter_b, true);
    t = begin(p->m, false);
    assert_int_equal(get(t, MANIFEST_ROOT, "d", &r), 0);
    manifest_abort(t);
    manifest_close(p->m);
    p->m = open_at(p->path, &filter_b, false);
}

static void test_unusable_files(void **state)
{
    struct place *p = *state;
    char garbage[8192];
    char *data CLEANUP_FREE = mem_format("%s/data.mdb", p->path);
    manifest_close(p->m);
    memset(garbage, 'x', sizeof garbage);
    int fd = open(data, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(io_write_full(fd, garbage, sizeof garbage), 0);
    close(fd);
    p->m = open_at(p->path, &filter_a, true);
    commit(begin(p->m, true));
}

static bool fill(struct place *p)
{
    struct manifest_txn *t;
    struct err err;
    if (manifest_begin(p->m, true, &t, &err) != 0)
        return false;
    for (int i = 0; i < 400; i++) {
        char name[32];
        struct record r = file_of((uint64_t)i);
        snprintf(name, sizeof name, "file-%d", i);
        if (manifest_put(t, MANIFEST_ROOT, bytes_of(name), &r, &err) != 0) {
            manifest_abort(t);
            return false;
        }
    }
    return manifest_commit(t, &err) == 0;
}

static void damage_page(const char *data, int round)
{
    struct stat st;
    uint8_t noise[4096];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(round % 3 == 0 ? 0 : round % 3 == 1 ? 0xff : i * 31 + 7);
    int fd CLEANUP_FD = open(data, O_WRONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    off_t page = (round / 3 * 5 + 2) % (st.st_size / 4096);
    assert_int_equal(pwrite(fd, noise, sizeof noise, page * 4096), sizeof noise);
    if (round % 8 == 7)
        assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
}

/* Any page may hold anything: that is found out at the opening, or it is an error after which the
 * next opening is fresh, or it does no harm. It is never a crash. */
static void test_damaged_pages(void **state)
{
    struct place *p = *state;
    char *data CLEANUP_FREE = mem_format("%s/data.mdb", p->path);
    for (int round = 0; round < 24; round++) {
        struct err err;
        bool fresh;
        assert_true(fill(p));
        manifest_close(TAKE_PTR(p->m));
        damage_page(data, round);
        if (manifest_open(p->path, &filter_a, &p->m, &fresh, &err) == 0 && fill(p))
            continue;
        manifest_close(TAKE_PTR(p->m));
        p->m = open_at(p->path, &filter_a, true);
    }
}

/* A receiver that was taken over may leave links: whoever opens the manifest after it, with more
 * rights, writes through none. */
static void test_links_are_damage(void **state)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    struct place *p = *state;
    char *victim CLEANUP_FREE = mem_format("%s.victim", p->path);
    struct stat st;
    int fd CLEANUP_FD = open(victim, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (size_t i = 0; i < 2; i++) {
        char *file CLEANUP_FREE = mem_format("%s/%s", p->path, files[i]);
        assert_true(fill(p));
        manifest_close(TAKE_PTR(p->m));
        assert_int_equal(unlink(file) | symlink(victim, file), 0);
        p->m = open_at(p->path, &filter_a, true);
        assert_int_equal(lstat(file, &st), 0);
        assert_true(S_ISREG(st.st_mode));
    }
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(unlink(victim), 0);
}

static bool sound(const struct place *p)
{
    char *file CLEANUP_FREE = mem_format("%s/sound", p->path);
    return access(file, F_OK) == 0;
}

/* What was closed and not touched since is believed; anything else is read first. */
static void test_closed_and_not_touched_since(void **state)
{
    struct place *p = *state;
    char *data CLEANUP_FREE = mem_format("%s/data.mdb", p->path);
    struct stat st;
    assert_true(fill(p));
    usleep(50000); /* times tell nothing yet */
    manifest_close(TAKE_PTR(p->m));
    assert_true(sound(p) && sound_is(p->path));
    assert_int_equal(stat(data, &st), 0);
    p->m = open_at(p->path, &filter_a, false);
    usleep(50000);
    manifest_close(TAKE_PTR(p->m));
    assert_true(sound_is(p->path));
    int fd CLEANUP_FD = open(data, O_RDWR | O_CLOEXEC);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, st.st_size - 1), 1);
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 1), 1);
    struct timespec times[2] = {st.st_atim, st.st_mtim}; /* of no use to whoever would hide it */
    assert_int_equal(futimens(fd, times), 0);
    assert_false(sound_is(p->path));
    p->m = open_at(p->path, &filter_a, false);
    assert_true(fill(p));
    manifest_close(TAKE_PTR(p->m));
    assert_false(sound_is(p->path)); /* it was written to just now, or another is there */
    p->m = open_at(p->path, &filter_a, false);
}

static void test_one_process_at_a_time(void **state)
{
    struct place *p = *state;
    struct manifest *second = NULL;
    struct err err;
    bool fresh;
    assert_int_equal(manifest_open(p->path, &filter_a, &second, &fresh, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_null(second);
    char *none CLEANUP_FREE = mem_format("%s/none", p->path);
    assert_int_equal(manifest_open(none, &filter_a, &second, &fresh, &err), -1);
    assert_null(second);
}

struct reader {
    struct manifest *m;
    atomic_bool *stop;
    bool good; /* it never saw fewer entries than before, nor a part of a transaction */
};

enum { GROWTH_TXNS = 40, GROWTH_ENTRIES = 1000 };

static void *count_entries(void *arg)
{
    struct reader *r = arg;
    uint64_t most = 0;
    r->good = true;
    while (r->good && !atomic_load(r->stop)) {
        struct manifest_txn *t;
        struct msg_sums s;
        struct err err;
        if (manifest_begin(r->m, false, &t, &err) != 0)
            return NULL;
        r->good = manifest_sums(t, MANIFEST_ROOT, &s, &err) == 0 && s.entries >= most &&
                  s.entries % GROWTH_ENTRIES == 0;
        most = s.entries;
        manifest_abort(t);
    }
    return NULL;
}

/* One directory of records; two thirds small, one third with the longest ACLs. */
static bool fill_one(struct manifest *m, int number)
{
    static const char acl[ENTRY_ACL_MAX] = "u::rwx";
    struct manifest_txn *t;
    struct err err;
    char name[32];
    struct record d = dir_of(number);
    snprintf(name, sizeof name, "d%d", number);
    if (manifest_begin(m, true, &t, &err) != 0)
        return false;
    bool good = manifest_put(t, MANIFEST_ROOT, bytes_of(name), &d, &err) == 0;
    for (int k = 0; k < GROWTH_ENTRIES - 1 && good; k++) {
        struct record r = file_of(1);
        snprintf(name, sizeof name, "f%d", k);
        if (k % 3 == 0)
            r.entry.acl = r.entry.default_acl = (struct bytes){acl, sizeof acl};
        good = manifest_put(t, d.dir, bytes_of(name), &r, &err) == 0;
    }
    if (good)
        return manifest_commit(t, &err) == 0;
    manifest_abort(t);
    return false;
}

/* Readers see whole transactions only, and the map, 256 MiB at first, grows under them. */
static void test_readers_and_growth(void **state)
{
    struct place *p = *state;
    pthread_t threads[3];
    struct reader readers[3];
    atomic_bool stop = false;
    bool good = true;
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reader){.m = p->m, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, count_entries, &readers[i]), 0);
    }
    for (int i = 0; i < GROWTH_TXNS && good; i++)
        good = fill_one(p->m, i);
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(readers[i].good);
    }
    assert_true(good);
    struct stat st;
    char *data CLEANUP_FREE = mem_format("%s/data.mdb", p->path);
    assert_int_equal(stat(data, &st), 0);
    assert_true(st.st_size > 256 * 1024 * 1024);
}

/* --- a random life, held against a plain map of paths and against a manifest made at once --- */

struct thing {
    uint8_t type;
    uint64_t size;
};

struct life {
    uint64_t random;
    struct set *things; /* path → struct thing */
    struct manifest *m;
    struct manifest_txn *t;
};

static uint32_t dice(struct life *l, uint32_t sides)
{
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(l->random >> 33) % sides;
}

static void forget_beneath(struct life *l, struct bytes top)
{
    for (struct set_item *i = set_first(l->things), *next; i; i = next) {
        next = i->next;
        if (path_beneath((struct bytes){i->key, i->len}, top)) {
            free(i->value);
            set_remove(l->things, i);
        }
    }
}

static struct thing *thing_at(struct life *l, struct bytes path)
{
    struct set_item *i = set_find(l->things, path.data, path.len);
    return i ? i->value : NULL;
}

static void random_path(struct life *l, char out[64])
{
    size_t n = 0;
    for (uint32_t depth = 1 + dice(l, 5); depth > 0; depth--) {
        out[n++] = (char)('a' + dice(l, 4));
        out[n++] = '/';
    }
    out[n - 1] = '\0';
}

static bool parent_is_dir(struct life *l, struct bytes path)
{
    struct bytes up = path_parent(path);
    struct thing *t = up.len ? thing_at(l, up) : NULL;
    return up.len == 0 || (t && t->type == ENTRY_DIR);
}

static struct record record_of(const struct thing *thing)
{
    return thing->type == ENTRY_DIR    ? dir_of((int64_t)thing->size)
           : thing->type == ENTRY_LINK ? link_of("t")
           : thing->size % 3           ? proven_file_of(thing->size)
                                       : file_of(thing->size);
}

static uint64_t number_of(struct manifest_txn *t, struct bytes path)
{
    struct record r;
    uint64_t parent;
    struct err err;
    if (path.len == 0)
        return MANIFEST_ROOT;
    assert_int_equal(manifest_lookup(t, path, &r, &parent, &err), 1);
    assert_int_equal(r.entry.type, ENTRY_DIR);
    return r.dir;
}

static void put_path(struct manifest_txn *t, struct bytes path, const struct thing *thing)
{
    struct record r = record_of(thing);
    struct err err;
    assert_int_equal(
        manifest_put(t, number_of(t, path_parent(path)), path_name(path), &r, &err), 0);
}

static void live_put(struct life *l, struct bytes path)
{
    struct thing *thing = thing_at(l, path);
    struct thing now = {
        .type = (uint8_t)(dice(l, 2) ? ENTRY_DIR : 1 + dice(l, 3) % 3), .size = dice(l, 100)};
    if (now.type == ENTRY_NONE || !parent_is_dir(l, path))
        return;
    if (!thing || thing->type != ENTRY_DIR || now.type != ENTRY_DIR) {
        forget_beneath(l, path);
        thing = set_add(l->things, path.data, path.len)->value = mem_alloc(sizeof *thing);
    }
    *thing = now;
    put_path(l->t, path, thing);
}

static void live_delete(struct life *l, struct bytes path)
{
    struct err err;
    if (!parent_is_dir(l, path))
        return;
    bool there = thing_at(l, path) != NULL;
    uint64_t dir = number_of(l->t, path_parent(path));
    assert_int_equal(manifest_delete(l->t, dir, path_name(path), &err), there);
    forget_beneath(l, path);
}

/* Moves what is at or beneath `from` in the map. */
static void rename_things(struct life *l, struct bytes from, struct bytes to)
{
    struct set *moved = set_new();
    for (struct set_item *i = set_first(l->things), *next; i; i = next) {
        char path[128];
        next = i->next;
        if (!path_beneath((struct bytes){i->key, i->len}, from))
            continue;
        int n = snprintf(path, sizeof path, "%s%s", (const char *)to.data, i->key + from.len);
        set_add(moved, path, (size_t)n)->value = i->value;
        set_remove(l->things, i);
    }
    for (struct set_item *i = set_first(moved); i; i = i->next)
        set_add(l->things, i->key, i->len)->value = i->value;
    set_free(moved);
}

static void live_move(struct life *l, struct bytes from, struct bytes to)
{
    struct err err;
    if (!parent_is_dir(l, from) || !parent_is_dir(l, to) || path_beneath(to, from) ||
        path_beneath(from, to))
        return;
    bool there = thing_at(l, from) != NULL;
    uint64_t from_dir = number_of(l->t, path_parent(from));
    uint64_t to_dir = number_of(l->t, path_parent(to));
    assert_int_equal(
        manifest_move(l->t, from_dir, path_name(from), to_dir, path_name(to), &err), there);
    if (there) {
        forget_beneath(l, to);
        rename_things(l, from, to);
    }
}

static void live(struct life *l)
{
    char a[64], b[64];
    random_path(l, a);
    random_path(l, b);
    switch (dice(l, 8)) {
    case 0: live_delete(l, bytes_of(a)); break;
    case 1:
    case 2: live_move(l, bytes_of(a), bytes_of(b)); break;
    default: live_put(l, bytes_of(a));
    }
}

/* Each thing of the map is in the manifest, with the sums of its directory as in `other`. */
static void compare_all(struct life *l, struct manifest_txn *t, struct manifest_txn *other)
{
    for (struct set_item *i = set_first(l->things); i; i = i->next) {
        struct bytes path = {i->key, i->len};
        struct record r, want = record_of(i->value);
        uint64_t parent;
        struct err err;
        assert_int_equal(manifest_lookup(t, path, &r, &parent, &err), 1);
        assert_true(entry_meta_equal(&r.entry, &want.entry));
        if (r.dir) {
            struct msg_sums a = sums_of(t, r.dir), b = sums_of(other, number_of(other, path));
            assert_true(sums_equal(&a, &b));
        }
    }
    struct msg_sums a = sums_of(t, MANIFEST_ROOT), b = sums_of(other, MANIFEST_ROOT);
    assert_true(sums_equal(&a, &b));
    assert_int_equal(a.entries, set_count(l->things));
}

static int shorter_first(const void *a, const void *b)
{
    const struct set_item *x = *(struct set_item *const *)a, *y = *(struct set_item *const *)b;
    return (x->len > y->len) - (x->len < y->len);
}

static void compare_with_rebuilt(struct life *l)
{
    char *path = scratch_new();
    struct manifest *fresh = open_at(path, &filter_a, true);
    struct manifest_txn *t = begin(fresh, true);
    size_t n = set_count(l->things), k = 0;
    struct set_item **order CLEANUP_FREE = mem_array(n + 1, sizeof *order);
    for (struct set_item *i = set_first(l->things); i; i = i->next)
        order[k++] = i;
    qsort(order, n, sizeof *order, shorter_first);
    for (size_t i = 0; i < n; i++)
        put_path(t, (struct bytes){order[i]->key, order[i]->len}, order[i]->value);
    commit(t);
    t = begin(fresh, false);
    struct manifest_txn *lived = begin(l->m, false);
    compare_all(l, lived, t);
    manifest_abort(lived);
    manifest_abort(t);
    manifest_close(fresh);
    scratch_free(path);
}

static void test_random_life(void **state)
{
    struct place *p = *state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct life l = {.random = seed, .things = set_new(), .m = p->m};
        struct err err;
        for (int round = 0; round < 12; round++) {
            l.t = begin(p->m, true);
            for (uint32_t i = 1 + dice(&l, 60); i > 0; i--) {
                live(&l);
                if (dice(&l, 20) == 0) /* in the middle, too */
                    assert_int_equal(sums_of(l.t, MANIFEST_ROOT).entries, set_count(l.things));
            }
            commit(l.t);
            compare_with_rebuilt(&l);
        }
        assert_true(set_count(l.things) > 0);
        l.t = begin(p->m, true);
        for (char name[] = "a"; *name <= 'd'; ++*name)
            assert_true(manifest_delete(l.t, MANIFEST_ROOT, bytes_of(name), &err) >= 0);
        struct msg_sums s = sums_of(l.t, MANIFEST_ROOT), zero = {0};
        assert_true(sums_equal(&s, &zero));
        commit(l.t);
        forget_beneath(&l, (struct bytes){0});
        set_free(l.things);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lookup, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_peek, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_next_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory_keeps_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sums_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sums_tell_what_changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moves_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_puts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put_what_was_got, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_very_deep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_abort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reopening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unusable_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_and_not_touched_since, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_process_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_readers_and_growth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_life, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
