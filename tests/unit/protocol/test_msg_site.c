/* OPEN, OPENED, CLOSE, SITE_ERROR, PROGRESS, LIST, LISTING and its items. */
#include <stdio.h>

#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static bool open_passes(const struct msg_open *m)
{
    struct wire_writer w = {0};
    struct msg_open out;
    msg_put_open(&w, m);
    bool valid = msg_get_open(check_payload(&w, MSG_OPEN), &out);
    wire_free(&w);
    return valid;
}

static void test_open_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_open m = sample_open(), out;
    msg_put_open(&w, &m);
    assert_true(msg_get_open(check_payload(&w, MSG_OPEN), &out));
    assert_int_equal(out.site, 6);
    check_text(out.name, "example.com");
    check_text(out.root, "/srv/www/example.com");
    assert_true(out.epoch == 8);
    assert_memory_equal(out.epoch_id.b, m.epoch_id.b, 16);
    assert_true(out.session == 12 && out.known == 11);
    assert_int_equal(out.flags, OPEN_OWNER | OPEN_SPECIAL_BITS);
    assert_int_equal(out.max_delete_percent, 20);
    assert_int_equal(out.max_delete_count, 200);
    assert_int_equal(out.keep_days, 14);
    assert_int_equal(out.unit_grace, 60);
    assert_int_equal(out.rule_count, 2);
    assert_int_equal(out.rules[0].include, 0);
    check_text(out.rules[0].pattern, "wp-content/cache/");
    assert_int_equal(out.rules[1].include, 1);
    check_text(out.rules[1].pattern, "*.keep");
    wire_free(&w);
}

static void test_open_refuses_names_and_flags(void **state)
{
    (void)state;
    static const char *const names[] = {"a/b", ".", "..", "/", PATH_RESERVED "x"};
    struct msg_open m = sample_open();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        m.name = bytes_of(names[i]);
        assert_false(open_passes(&m));
    }
    m.name = bytes_of("");
    assert_true(open_passes(&m));
    m.flags = OPEN_FLAGS_ALL;
    assert_true(open_passes(&m));
    m.flags = OPEN_FLAGS_ALL + 1;
    assert_false(open_passes(&m));
    m.flags = 1u << 31;
    assert_false(open_passes(&m));
    m.flags = 0;
    m.max_delete_percent = 100;
    assert_true(open_passes(&m));
    m.max_delete_percent = 101;
    assert_false(open_passes(&m));
    m = sample_open();
    m.keep_days = MSG_KEEP_DAYS_MAX;
    m.unit_grace = MSG_UNIT_GRACE_MAX;
    assert_true(open_passes(&m));
    m.keep_days++;
    assert_false(open_passes(&m));
    m.keep_days = 0;
    m.unit_grace++;
    assert_false(open_passes(&m));
    struct bytes text = check_long(MSG_SITE_NAME_MAX + 1);
    m = sample_open();
    m.name = text;
    assert_false(open_passes(&m));
    m.name.len--;
    assert_true(open_passes(&m));
    check_long_free(text);
}

static void test_open_refuses_roots(void **state)
{
    (void)state;
    static const char *const bad[] = {"srv", "srv/www", "/..", "/a/..", "/../a", "/a/../b", "//.."};
    static const char *const good[] = {
        "", "/", "/a", "/a/", "/a//b", "/..a", "/a../b", "/a/...", "/."};
    struct msg_open m = sample_open();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        m.root = bytes_of(bad[i]);
        if (open_passes(&m))
            fail_msg("root %s", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        m.root = bytes_of(good[i]);
        if (!open_passes(&m))
            fail_msg("root %s", good[i]);
    }
    m.root = (struct bytes){"/a\0b", 4};
    assert_false(open_passes(&m));
    struct bytes text = check_long(MSG_ROOT_MAX + 1);
    ((char *)text.data)[0] = '/';
    m.root = text;
    assert_false(open_passes(&m));
    m.root.len--;
    assert_true(open_passes(&m));
    check_long_free(text);
}

static void test_open_refuses_rules(void **state)
{
    (void)state;
    struct msg_open m = sample_open();
    m.rules[1].include = 2;
    assert_false(open_passes(&m));
    m = sample_open();
    m.rules[0].pattern = bytes_of("");
    assert_false(open_passes(&m));
    m.rules[0].pattern = (struct bytes){"a\0b", 3};
    assert_false(open_passes(&m));
    struct bytes text = check_long(MSG_RULE_MAX + 1);
    m.rules[0].pattern = text;
    assert_false(open_passes(&m));
    m.rules[0].pattern.len--;
    assert_true(open_passes(&m));
    check_long_free(text);
}

/* The count of rules stands right in front of them: behind it the rules, one more than allowed. */
static void test_open_counts_rules(void **state)
{
    (void)state;
    for (uint16_t count = MSG_RULES_MAX; count <= MSG_RULES_MAX + 1; count++) {
        struct wire_writer w = {0};
        struct msg_open m = sample_open(), out;
        m.rule_count = 0;
        msg_put_open(&w, &m);
        w.len -= 2;
        wire_u16(&w, count);
        for (size_t i = 0; i < count; i++) {
            wire_u8(&w, 0);
            wire_short(&w, bytes_of("x"));
        }
        struct bytes payload = {w.data + FRAME_HEADER, w.len - FRAME_HEADER};
        assert_int_equal(msg_get_open(payload, &out), count <= MSG_RULES_MAX);
        wire_free(&w);
    }
}

static bool opened_passes(const struct msg_opened *m)
{
    struct wire_writer w = {0};
    struct msg_opened out;
    msg_put_opened(&w, m);
    bool valid = msg_get_opened(check_payload(&w, MSG_OPENED), &out);
    wire_free(&w);
    return valid;
}

static struct msg_opened opened(uint8_t root_state, struct entry root)
{
    return (struct msg_opened){.site = 6,
        .state = root_state,
        .caps = CAP_SET_ACL,
        .root = root,
        .sums = sample_sums(),
        .free_bytes = 99,
        .deleted = 7,
        .deleted_from = 70,
        .session = 5};
}

static void check_sums(const struct msg_sums *s)
{
    struct msg_sums want = sample_sums();
    assert_memory_equal(s->meta.b, want.meta.b, 16);
    assert_memory_equal(s->owner.b, want.owner.b, 16);
    assert_memory_equal(s->content.b, want.content.b, 16);
    assert_true(s->entries == want.entries);
    assert_true(s->files == want.files);
    assert_true(s->bytes == want.bytes);
    assert_true(s->unproven == want.unproven);
}

static void test_opened_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_opened m = opened(ROOT_FOREIGN, sample_dir()), out;
    msg_put_opened(&w, &m);
    assert_true(msg_get_opened(check_payload(&w, MSG_OPENED), &out));
    assert_int_equal(out.site, 6);
    assert_int_equal(out.state, ROOT_FOREIGN);
    assert_int_equal(out.caps, CAP_SET_ACL);
    assert_int_equal(out.root.type, ENTRY_DIR);
    assert_int_equal(out.root.mode, 02755);
    check_sums(&out.sums);
    assert_true(out.free_bytes == 99);
    assert_true(out.deleted == 7 && out.deleted_from == 70 && out.session == 5);
    wire_free(&w);
}

static void test_opened_refuses(void **state)
{
    (void)state;
    struct msg_opened m = opened(0, sample_dir());
    assert_false(opened_passes(&m));
    m = opened(ROOT_OURS + 1, sample_dir());
    assert_false(opened_passes(&m));
    m = opened(ROOT_OURS, sample_file());
    assert_false(opened_passes(&m));
    m = opened(ROOT_OURS, sample_link());
    assert_false(opened_passes(&m));
    m = opened(ROOT_OURS, (struct entry){0});
    assert_false(opened_passes(&m));
    m = opened(ROOT_CREATED, (struct entry){0});
    assert_true(opened_passes(&m));
    m.caps = CAPS_ALL + 1;
    assert_false(opened_passes(&m));
}

static void test_close_progress_and_trash(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_close close;
    msg_put_close(&w, &(struct msg_close){0x01020304});
    assert_true(msg_get_close(check_payload(&w, MSG_CLOSE), &close));
    assert_int_equal(close.site, 0x01020304);
    wire_reset(&w);
    struct msg_progress progress;
    msg_put_progress(&w, &(struct msg_progress){7, 1ull << 60});
    assert_true(msg_get_progress(check_payload(&w, MSG_PROGRESS), &progress));
    assert_int_equal(progress.site, 7);
    assert_true(progress.done == 1ull << 60);
    wire_reset(&w);
    struct msg_trash trash;
    msg_put_trash(&w, &(struct msg_trash){7, 1ull << 58, 1ull << 59, 1ull << 60});
    assert_true(msg_get_trash(check_payload(&w, MSG_TRASH), &trash));
    assert_int_equal(trash.site, 7);
    assert_true(trash.foreign == 1ull << 58);
    assert_true(trash.foreign_bytes == 1ull << 59);
    assert_true(trash.kept == 1ull << 60);
    wire_reset(&w);
    struct msg_space space, sent = {7, 1ull << 61, 1ull << 62, 3, 4, 5, 6};
    msg_put_space(&w, &sent);
    assert_true(msg_get_space(check_payload(&w, MSG_SPACE), &space));
    assert_int_equal(space.site, 7);
    assert_true(space.free_bytes == 1ull << 61 && space.all_bytes == 1ull << 62);
    assert_true(space.free_files == 3 && space.all_files == 4);
    assert_true(space.keep_bytes == 5 && space.keep_files == 6);
    wire_reset(&w);
    struct msg_tell tell, told;
    msg_put_tell(&w, &(struct msg_tell){7, 1ull << 60});
    assert_true(msg_get_tell(check_payload(&w, MSG_TELL), &tell));
    assert_true(tell.site == 7 && tell.token == 1ull << 60);
    wire_reset(&w);
    msg_put_told(&w, &tell);
    assert_true(msg_get_tell(check_payload(&w, MSG_TOLD), &told));
    assert_true(told.site == 7 && told.token == 1ull << 60);
    wire_reset(&w);
    struct msg_proving proving;
    msg_put_proving(&w, &(struct msg_proving){7, 1ull << 61});
    assert_true(msg_get_proving(check_payload(&w, MSG_PROVING), &proving));
    assert_true(proving.site == 7 && proving.unproven == 1ull << 61);
    wire_free(&w);
}

static bool owed_passes(uint8_t flags, uint64_t paths, uint64_t failing, uint64_t age_ms)
{
    struct wire_writer w = {0};
    struct msg_owed out, m = {7, flags, paths, failing, age_ms};
    msg_put_owed(&w, &m);
    bool valid = msg_get_owed(check_payload(&w, MSG_OWED), &out);
    if (valid) {
        assert_int_equal(out.site, 7);
        assert_true(out.flags == flags && out.paths == paths);
        assert_true(out.failing == failing && out.age_ms == age_ms);
    }
    wire_free(&w);
    return valid;
}

static void test_owed(void **state)
{
    (void)state;
    assert_true(owed_passes(OWED_LEVEL, 0, 0, 0));
    assert_true(owed_passes(0, 0, 0, 0));
    assert_true(owed_passes(OWED_PAUSED, 1ull << 60, 1ull << 59, UINT64_MAX));
    assert_false(owed_passes(4, 0, 0, 0));
    assert_false(owed_passes(0, 0, 0, 1));          /* the age of nothing */
    assert_false(owed_passes(0, 1, 2, 1));          /* more fail than are owed */
    assert_false(owed_passes(OWED_LEVEL, 1, 0, 5)); /* level, and yet … */
}

static bool hook_passes(uint32_t failures, uint64_t since, const char *text)
{
    struct wire_writer w = {0};
    struct msg_hook out, m = {7, failures, since, bytes_of(text)};
    msg_put_hook(&w, &m);
    bool valid = msg_get_hook(check_payload(&w, MSG_HOOK), &out);
    if (valid) {
        assert_int_equal(out.site, 7);
        assert_int_equal(out.failures, failures);
        assert_true(out.since == since && bytes_equal(out.text, bytes_of(text)));
    }
    wire_free(&w);
    return valid;
}

static void hooks(void **state)
{
    char large[MSG_TEXT_MAX + 2];
    (void)state;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_true(hook_passes(2, 1700000000, "exit code 1") && hook_passes(0, 0, ""));
    assert_false(hook_passes(0, 0, "well, but why?") || hook_passes(0, 5, ""));
    assert_false(hook_passes(1, 5, large));
}

static bool drift_passes(uint8_t kind, const char *path, struct entry committed)
{
    struct wire_writer w = {0};
    struct msg_drift out, m = {7, kind, bytes_of(path), committed};
    msg_put_drift(&w, &m);
    bool valid = msg_get_drift(check_payload(&w, MSG_DRIFT), &out);
    if (valid) {
        assert_int_equal(out.site, 7);
        assert_int_equal(out.kind, kind);
        assert_true(bytes_equal(out.path, bytes_of(path)));
        assert_int_equal(out.committed.type, committed.type);
    }
    wire_free(&w);
    return valid;
}

static void test_drift(void **state)
{
    (void)state;
    struct entry none = {0};
    assert_true(drift_passes(DRIFT_CHANGED, "a/b", sample_file()));
    assert_true(drift_passes(DRIFT_CHANGED, "", sample_dir()));
    assert_true(drift_passes(DRIFT_ADDED, "a", none));
    assert_true(drift_passes(DRIFT_REMOVED, "a", sample_link()));
    assert_true(drift_passes(DRIFT_TIMES, "a", sample_dir()));
    assert_false(drift_passes(0, "a", sample_file()));
    assert_false(drift_passes(DRIFT_TIMES + 1, "a", sample_dir()));
    assert_false(drift_passes(DRIFT_CHANGED, "a", none));
    assert_false(drift_passes(DRIFT_ADDED, "a", sample_file()));
    assert_false(drift_passes(DRIFT_ADDED, "", none));
    assert_false(drift_passes(DRIFT_REMOVED, "", sample_file()));
    assert_false(drift_passes(DRIFT_TIMES, "a", sample_file()));
    assert_false(drift_passes(DRIFT_CHANGED, "../a", sample_file()));
}

static bool site_error_passes(uint16_t reason, struct bytes text, struct msg_site_error *out)
{
    struct wire_writer w = {0};
    struct msg_site_error m = {.site = 7, .reason = reason, .errno_value = 13, .text = text};
    msg_put_site_error(&w, &m);
    bool valid = msg_get_site_error(check_payload(&w, MSG_SITE_ERROR), out);
    out->text.data = NULL; /* it pointed into w */
    wire_free(&w);
    return valid;
}

static void test_site_error(void **state)
{
    (void)state;
    struct msg_site_error out;
    assert_true(site_error_passes(REASON_LAST, bytes_of("t"), &out));
    assert_int_equal(out.site, 7);
    assert_int_equal(out.reason, REASON_LAST);
    assert_int_equal(out.errno_value, 13);
    assert_int_equal(out.text.len, 1);
    assert_false(site_error_passes(REASON_NONE, bytes_of(""), &out));
    assert_false(site_error_passes(REASON_LAST + 1, bytes_of(""), &out));
    struct bytes text = check_long(MSG_TEXT_MAX + 1);
    assert_false(site_error_passes(REASON_IO, text, &out));
    text.len--;
    assert_true(site_error_passes(REASON_IO, text, &out));
    check_long_free(text);
}

static void test_fenced(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_site_error m = {.site = 7,
        .reason = REASON_FENCED,
        .epoch = 1ull << 40,
        .epoch_id = sample_digest(5),
        .primary = bytes_of("web2")};
    struct msg_site_error out;
    msg_put_site_error(&w, &m);
    assert_true(msg_get_site_error(check_payload(&w, MSG_SITE_ERROR), &out));
    assert_true(out.epoch == 1ull << 40);
    assert_memory_equal(out.epoch_id.b, m.epoch_id.b, 16);
    check_text(out.primary, "web2");
    wire_free(&w);
}

static bool list_passes(struct bytes path)
{
    struct wire_writer w = {0};
    struct msg_list out;
    msg_put_list(&w, &(struct msg_list){1, 2, path, {0}});
    bool valid = msg_get_list(check_payload(&w, MSG_LIST), &out);
    if (valid) {
        assert_int_equal(out.request, 1);
        assert_int_equal(out.site, 2);
        assert_true(bytes_equal(out.path, path));
    }
    wire_free(&w);
    return valid;
}

static void test_list(void **state)
{
    (void)state;
    assert_true(list_passes(bytes_of("")));
    assert_true(list_passes(bytes_of("a/b")));
    assert_false(list_passes(bytes_of("/a")));
    assert_false(list_passes(bytes_of("a/../b")));
    assert_false(list_passes(bytes_of("a/" PATH_RESERVED "stage")));
    struct bytes text = check_long(PATH_TOTAL_MAX + 1);
    assert_false(list_passes(text));
    check_long_free(text);
}

static bool list_buckets_pass(size_t len)
{
    struct wire_writer w = {0};
    struct msg_list out;
    struct bytes buckets = check_long(len);
    msg_put_list(&w, &(struct msg_list){1, 2, bytes_of("a"), buckets});
    bool valid = msg_get_list(check_payload(&w, MSG_LIST), &out);
    if (valid)
        assert_true(bytes_equal(out.buckets, buckets));
    check_long_free(buckets);
    wire_free(&w);
    return valid;
}

static void test_list_buckets(void **state)
{
    (void)state;
    assert_true(list_buckets_pass(2 * 8));
    assert_true(list_buckets_pass(MSG_BUCKETS_MAX * 8));
    assert_false(list_buckets_pass(8));
    assert_false(list_buckets_pass(3 * 8));
    assert_false(list_buckets_pass(4 * 8 + 1));
    assert_false(list_buckets_pass(2 * MSG_BUCKETS_MAX * 8));
}

static void test_items_come_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    sample_items(&w);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    struct msg_item item;
    msg_item_decode(&r, &item);
    check_text(item.name, "a dir");
    assert_int_equal(item.entry.type, ENTRY_DIR);
    check_sums(&item.sums);
    memset(&item.sums, 0xff, sizeof(item.sums));
    msg_item_decode(&r, &item);
    check_text(item.name, "b\nfile");
    assert_int_equal(item.entry.type, ENTRY_FILE);
    struct msg_sums zeros = {0};
    assert_memory_equal(&item.sums, &zeros, sizeof(zeros));
    msg_item_decode(&r, &item);
    check_text(item.entry.target, "../elsewhere");
    assert_true(wire_done(&r));
    wire_free(&w);
}

/* A LISTING with these names, all of them files. */
static bool listing_passes(const char *const *names, size_t n, uint16_t count)
{
    struct wire_writer items = {0}, w = {0};
    struct msg_listing out;
    for (size_t i = 0; i < n; i++)
        msg_item_encode(&items, &(struct msg_item){bytes_of(names[i]), sample_file(), {{{0}}}});
    struct msg_listing m = {.request = 4, .count = count, .items = {items.data, items.len}};
    msg_put_listing(&w, &m);
    bool valid = msg_get_listing(check_payload(&w, MSG_LISTING), &out);
    wire_free(&items);
    wire_free(&w);
    return valid;
}

static void test_listing_checks_its_items(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "ab", "b"};
    assert_true(listing_passes(good, 3, 3));
    assert_true(listing_passes(good, 0, 0));
    assert_false(listing_passes(good, 3, 2));
    assert_false(listing_passes(good, 3, 4));
    static const char *const twice[] = {"a", "a"};
    assert_false(listing_passes(twice, 2, 2));
    static const char *const falling[] = {"b", "a"};
    assert_false(listing_passes(falling, 2, 2));
    static const char *const refused[] = {"", ".", "..", "a/b", PATH_RESERVED "x"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_false(listing_passes(refused + i, 1, 1));
}

static void test_item_of_nothing(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_item item = {.name = bytes_of("a")};
    msg_item_encode(&w, &item);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    msg_item_decode(&r, &item);
    assert_true(r.bad);
    wire_free(&w);
}

static bool listing_head_passes(struct msg_listing m)
{
    struct wire_writer w = {0};
    struct msg_listing out;
    msg_put_listing(&w, &m);
    bool valid = msg_get_listing(check_payload(&w, MSG_LISTING), &out);
    wire_free(&w);
    return valid;
}

static void test_listing_head(void **state)
{
    (void)state;
    assert_true(listing_head_passes((struct msg_listing){.last = 1, .missing = 1}));
    assert_false(listing_head_passes((struct msg_listing){.last = 0, .missing = 1}));
    assert_true(listing_head_passes((struct msg_listing){.differ = {"xy", 2}}));
    assert_false(
        listing_head_passes((struct msg_listing){.last = 1, .missing = 1, .differ = {"xy", 2}}));
    struct bytes long_bits = check_long(MSG_BUCKETS_MAX / 8 + 1);
    assert_false(listing_head_passes((struct msg_listing){.differ = long_bits}));
    check_long_free(long_bits);
    assert_false(listing_head_passes((struct msg_listing){.last = 2}));
    assert_false(listing_head_passes((struct msg_listing){.last = 1, .missing = 2}));
    assert_false(listing_head_passes((struct msg_listing){.count = MSG_ITEMS_MAX + 1}));
    struct wire_writer items = {0};
    sample_items(&items);
    struct msg_listing m = {
        .last = 1, .missing = 1, .count = SAMPLE_ITEMS, .items = {items.data, items.len}};
    assert_false(listing_head_passes(m));
    m.missing = 0;
    assert_true(listing_head_passes(m));
    wire_free(&items);
}

/* As many items as a frame may announce, and one more, which would fit it too. */
static void test_listing_counts_items(void **state)
{
    (void)state;
    struct entry link = {.type = ENTRY_LINK, .target = bytes_of("t")};
    struct wire_writer items = {0}, w = {0};
    struct msg_listing out;
    for (uint16_t count = 1; count <= MSG_ITEMS_MAX + 1; count++) {
        char name[8];
        snprintf(name, sizeof(name), "%05d", count);
        msg_item_encode(&items, &(struct msg_item){bytes_of(name), link, {{{0}}}});
        if (count < MSG_ITEMS_MAX)
            continue;
        wire_reset(&w);
        struct msg_listing m = {.count = count, .items = {items.data, items.len}};
        msg_put_listing(&w, &m);
        assert_int_equal(
            msg_get_listing(check_payload(&w, MSG_LISTING), &out), count <= MSG_ITEMS_MAX);
    }
    wire_free(&items);
    wire_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owed),
        cmocka_unit_test(test_open_comes_back),
        cmocka_unit_test(test_open_refuses_names_and_flags),
        cmocka_unit_test(test_open_refuses_roots),
        cmocka_unit_test(test_open_refuses_rules),
        cmocka_unit_test(test_open_counts_rules),
        cmocka_unit_test(test_opened_comes_back),
        cmocka_unit_test(test_opened_refuses),
        cmocka_unit_test(test_close_progress_and_trash),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_site_error),
        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_buckets),
        cmocka_unit_test(test_items_come_back),
        cmocka_unit_test(test_listing_checks_its_items),
        cmocka_unit_test(test_item_of_nothing),
        cmocka_unit_test(test_listing_head),
        cmocka_unit_test(hooks),
        cmocka_unit_test(test_listing_counts_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
