#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "scratch.h"
#include "tree/content/digest.h"
#include "tree/manifest/buckets.h"

static const struct digest no_filter;

struct place {
    char *path;
    struct manifest *m;
    struct buckets a, b;
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    struct err err;
    bool fresh;
    p->path = scratch_new();
    *state = p;
    return manifest_open(p->path, &no_filter, &p->m, &fresh, &err);
}

static int tear_down(void **state)
{
    struct place *p = *state;
    manifest_close(p->m);
    scratch_free(p->path);
    free(p);
    return 0;
}

static struct record record_of(uint8_t type, const char *owner, int64_t mtime)
{
    return (struct record){
        .entry = {.type = type, .mode = 0644, .mtime = mtime, .owner = bytes_of(owner)}};
}

static uint64_t put(struct place *p, uint64_t dir, const char *name, struct record r)
{
    struct manifest_txn *t;
    struct err err;
    if (manifest_begin(p->m, true, &t, &err) != 0 ||
        manifest_put(t, dir, bytes_of(name), &r, &err) != 0 || manifest_commit(t, &err) != 0)
        fail_msg("%s", err.text);
    return r.dir;
}

static void put_many(struct place *p, int count)
{
    struct manifest_txn *t = NULL;
    struct err err;
    for (int i = 0; i < count; i++) {
        char name[16];
        struct record r = record_of(ENTRY_FILE, "alice", i);
        snprintf(name, sizeof name, "f%d", i);
        if (!t)
            assert_int_equal(manifest_begin(p->m, true, &t, &err), 0);
        assert_int_equal(manifest_put(t, MANIFEST_ROOT, bytes_of(name), &r, &err), 0);
        if (i % 2000 == 1999 || i == count - 1) {
            assert_int_equal(manifest_commit(t, &err), 0);
            t = NULL;
        }
    }
}

static void make(struct place *p, bool owner, unsigned bits, struct buckets *out)
{
    struct err err;
    if (buckets_make(p->m, MANIFEST_ROOT, owner, bits, out, &err) != 0)
        fail_msg("%s", err.text);
}

/* How many buckets differ between a and b, and whether that of `name` does. */
static unsigned count_differing(struct place *p, const char *name, bool *named)
{
    uint8_t encoded[BUCKETS_BYTES(BUCKETS_BITS_MAX)], differ[MSG_BUCKETS_MAX / 8];
    unsigned n = 0;
    assert_int_equal(p->a.bits, p->b.bits);
    buckets_encode(&p->a, encoded);
    buckets_compare(&p->b, (struct bytes){encoded, BUCKETS_BYTES(p->a.bits)}, differ);
    for (unsigned i = 0; i < 1U << p->a.bits; i++)
        n += buckets_differ(differ, i);
    if (named)
        *named = buckets_differ(differ, buckets_index(bytes_of(name), p->a.bits));
    return n;
}

/* The sum by the letter of the protocol, of one file in one bucket. */
static void test_one_entry(void **state)
{
    struct place *p = *state;
    struct record r = record_of(ENTRY_FILE, "alice", 7);
    put(p, MANIFEST_ROOT, "name", r);
    make(p, true, 3, &p->a);
    assert_int_equal(p->a.entries, 1);
    struct wire_writer w = {0};
    struct digest of_item, of_name;
    msg_item_encode(&w, &(struct msg_item){.name = bytes_of("name"), .entry = r.entry});
    digest_plain(w.data, w.len, &of_item);
    digest_plain("name", 4, &of_name);
    uint64_t want = 0;
    for (int i = 0; i < 8; i++)
        want = want << 8 | of_item.b[i];
    for (unsigned i = 0; i < 8; i++)
        assert_true(p->a.sums[i] == (i == of_name.b[0] >> 5 ? want : 0));
    wire_free(&w);
}

static void test_a_change_is_in_one_bucket(void **state)
{
    struct place *p = *state;
    bool named;
    put_many(p, 9000); /* several transactions */
    make(p, true, 9, &p->a);
    assert_int_equal(p->a.entries, 9000);
    make(p, true, 9, &p->b);
    assert_int_equal(count_differing(p, "f17", &named), 0);
    put(p, MANIFEST_ROOT, "f17", record_of(ENTRY_FILE, "alice", 18));
    make(p, true, 9, &p->b);
    assert_int_equal(count_differing(p, "f17", &named), 1);
    assert_true(named);
    put(p, MANIFEST_ROOT, "f17", record_of(ENTRY_FILE, "alice", 17));
    put(p, MANIFEST_ROOT, "one more", record_of(ENTRY_FILE, "alice", 17));
    make(p, true, 9, &p->b);
    assert_int_equal(count_differing(p, "one more", &named), 1);
    assert_true(named);
}

static void test_folding(void **state)
{
    struct place *p = *state;
    put_many(p, 300);
    for (unsigned bits = 1; bits <= BUCKETS_BITS_MAX; bits++) {
        make(p, true, BUCKETS_BITS_MAX, &p->a);
        buckets_fold(&p->a, bits);
        make(p, true, bits, &p->b);
        assert_int_equal(count_differing(p, "", NULL), 0);
        assert_int_equal(buckets_bits(BUCKETS_BYTES(bits)), bits);
    }
}

/* Owners count only where they are mirrored; what is beneath a directory always does. */
static void test_owners_and_directories(void **state)
{
    struct place *p = *state;
    put(p, MANIFEST_ROOT, "f", record_of(ENTRY_FILE, "alice", 1));
    uint64_t dir = put(p, MANIFEST_ROOT, "d", record_of(ENTRY_DIR, "alice", 1));
    put(p, dir, "beneath", record_of(ENTRY_FILE, "alice", 1));
    for (int owner = 0; owner < 2; owner++) {
        make(p, owner, 4, &p->a);
        put(p, MANIFEST_ROOT, "f", record_of(ENTRY_FILE, "bob", 1));
        put(p, dir, "beneath", record_of(ENTRY_FILE, "bob", 1));
        make(p, owner, 4, &p->b);
        assert_int_equal(count_differing(p, "", NULL) > 0, owner);
        put(p, MANIFEST_ROOT, "f", record_of(ENTRY_FILE, "alice", 1));
        put(p, dir, "beneath", record_of(ENTRY_FILE, "alice", 2));
        make(p, owner, 4, &p->b);
        assert_int_equal(count_differing(p, "", NULL), 1);
        put(p, dir, "beneath", record_of(ENTRY_FILE, "alice", 1));
    }
}

static void test_what_suits(void **state)
{
    (void)state;
    assert_int_equal(buckets_suit(0), 0);
    assert_int_equal(buckets_suit(8), 0);
    assert_int_equal(buckets_suit(9), 2);
    assert_int_equal(buckets_suit(100), 5);
    assert_int_equal(buckets_suit(UINT64_MAX), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_entry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_change_is_in_one_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_owners_and_directories, set_up, tear_down),
        cmocka_unit_test(test_what_suits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
