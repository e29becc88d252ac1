/* Entries: each type comes back, each field that a type does not have is refused. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

/* Encodes e and decodes it; false when it is refused. */
static bool passes(struct entry e)
{
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    assert_false(w.bad);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    struct entry out;
    entry_decode(&r, &out);
    bool done = wire_done(&r);
    wire_free(&w);
    return done;
}

static void check_equal(const struct entry *a, const struct entry *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->has_digest, b->has_digest);
    assert_int_equal(a->mode, b->mode);
    assert_true(a->mtime == b->mtime);
    assert_int_equal(a->mtime_nsec, b->mtime_nsec);
    assert_true(a->size == b->size);
    assert_true(bytes_equal(a->owner, b->owner));
    assert_true(bytes_equal(a->group, b->group));
    assert_true(bytes_equal(a->target, b->target));
    assert_true(bytes_equal(a->acl, b->acl));
    assert_true(bytes_equal(a->default_acl, b->default_acl));
    assert_memory_equal(a->digest.b, b->digest.b, sizeof(a->digest.b));
}

static void check_comes_back(struct entry e)
{
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    struct entry out;
    entry_decode(&r, &out);
    assert_true(wire_done(&r));
    check_equal(&e, &out);
    for (size_t n = 0; n < w.len; n++) {
        uint8_t *cut = check_copy(w.data, n);
        r = wire_reader_of(cut, n);
        entry_decode(&r, &out);
        assert_true(r.bad);
        free(cut);
    }
    wire_free(&w);
}

static void test_each_type_comes_back_and_none_is_cut(void **state)
{
    (void)state;
    check_comes_back(sample_file());
    check_comes_back(sample_dir());
    check_comes_back(sample_link());
    check_comes_back((struct entry){.type = ENTRY_NONE});
    struct entry e = sample_file();
    e.has_digest = false;
    e.digest = (struct digest){{0}};
    check_comes_back(e);
}

static void test_layout(void **state)
{
    (void)state;
    struct entry e = {.type = ENTRY_FILE,
        .has_digest = true,
        .mode = 0644,
        .mtime = -2,
        .mtime_nsec = 3,
        .size = 4,
        .owner = bytes_of("o"),
        .group = bytes_of("g"),
        .acl = bytes_of("A"),
        .digest = sample_digest(0xa0)};
    static const uint8_t want[] = {1, 1, 0xa4, 0x01, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'o', 1, 0, 'g', 0, 0, 1, 0, 'A', 0, 0, 0xa0, 0xa1,
        0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(w.data, want, sizeof(want));
    wire_free(&w);
}

static void test_ranges(void **state)
{
    (void)state;
    struct entry e = sample_file();
    e.mode = 07777;
    e.mtime = INT64_MIN;
    e.mtime_nsec = 999999999;
    e.size = ENTRY_SIZE_MAX;
    assert_true(passes(e));
    e.mode = 010000;
    assert_false(passes(e));
    e = sample_file();
    e.mtime_nsec = 1000000000;
    assert_false(passes(e));
    e = sample_file();
    e.size = (uint64_t)ENTRY_SIZE_MAX + 1;
    assert_false(passes(e));
    e = sample_file();
    e.type = ENTRY_LINK + 1;
    assert_false(passes(e));
    e.type = 255;
    assert_false(passes(e));
}

static void test_unknown_flag(void **state)
{
    (void)state;
    struct entry e = sample_dir();
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    assert_int_equal(w.data[1], 0);
    w.data[1] = 2;
    struct wire_reader r = wire_reader_of(w.data, w.len);
    entry_decode(&r, &e);
    assert_true(r.bad);
    wire_free(&w);
}

static void test_string_limits(void **state)
{
    (void)state;
    struct bytes b = check_long(ENTRY_ACL_MAX + 1);
    struct entry e = sample_dir();
    e.owner = e.group = (struct bytes){b.data, ENTRY_OWNER_MAX};
    e.acl = e.default_acl = (struct bytes){b.data, ENTRY_ACL_MAX};
    assert_true(passes(e));
    e.acl.len++;
    assert_false(passes(e));
    e.acl.len--;
    e.default_acl.len++;
    assert_false(passes(e));
    e.default_acl.len--;
    e.owner.len++;
    assert_false(passes(e));
    e.owner.len--;
    e.group.len++;
    assert_false(passes(e));
    e = sample_link();
    e.target = (struct bytes){b.data, PATH_TARGET_MAX};
    assert_true(passes(e));
    e.target.len++;
    assert_false(passes(e));
    check_long_free(b);
}

static void test_no_nul_in_strings(void **state)
{
    (void)state;
    struct bytes nul = {"a\0b", 3};
    struct entry e = sample_file();
    e.owner = nul;
    assert_false(passes(e));
    e = sample_file();
    e.group = nul;
    assert_false(passes(e));
    e = sample_link();
    e.target = nul;
    assert_false(passes(e));
    e = sample_file();
    e.acl = nul;
    assert_true(passes(e));
}

static void test_files_have_no_target_and_no_default_acl(void **state)
{
    (void)state;
    struct entry e = sample_file();
    e.target = bytes_of("x");
    assert_false(passes(e));
    e = sample_file();
    e.default_acl = bytes_of("x");
    assert_false(passes(e));
}

static void test_directories_have_no_content(void **state)
{
    (void)state;
    struct entry e = sample_dir();
    e.size = 4096;
    assert_false(passes(e));
    e = sample_dir();
    e.has_digest = true;
    assert_false(passes(e));
    e = sample_dir();
    e.target = bytes_of("x");
    assert_false(passes(e));
}

static void test_links_have_a_target_and_little_else(void **state)
{
    (void)state;
    struct entry e = sample_link();
    e.target.len = 0;
    assert_false(passes(e));
    e = sample_link();
    e.mode = 0777;
    assert_false(passes(e));
    e = sample_link();
    e.size = 12;
    assert_false(passes(e));
    e = sample_link();
    e.has_digest = true;
    assert_false(passes(e));
    e = sample_link();
    e.acl = bytes_of("x");
    assert_false(passes(e));
    e = sample_link();
    e.default_acl = bytes_of("x");
    assert_false(passes(e));
}

static void test_nothing_has_nothing(void **state)
{
    (void)state;
    struct entry with[] = {{.has_digest = true}, {.mode = 1}, {.mtime = 1}, {.mtime_nsec = 1},
        {.size = 1}, {.owner = bytes_of("x")}, {.group = bytes_of("x")}, {.target = bytes_of("x")},
        {.acl = bytes_of("x")}, {.default_acl = bytes_of("x")}};
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
        assert_false(passes(with[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type_comes_back_and_none_is_cut),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_unknown_flag),
        cmocka_unit_test(test_string_limits),
        cmocka_unit_test(test_no_nul_in_strings),
        cmocka_unit_test(test_files_have_no_target_and_no_default_acl),
        cmocka_unit_test(test_directories_have_no_content),
        cmocka_unit_test(test_links_have_a_target_and_little_else),
        cmocka_unit_test(test_nothing_has_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
