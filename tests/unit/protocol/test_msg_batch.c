/* BATCH, ENTRY and what may follow it, DELETE, UNIT, MOVE, ABORT, COMMIT, DROP, SIGNATURE, ACK. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static bool entry_passes(struct msg_entry m)
{
    struct wire_writer w = {0};
    struct msg_entry out;
    msg_put_entry(&w, &m);
    bool valid = msg_get_entry(check_payload(&w, MSG_ENTRY), &out);
    wire_free(&w);
    return valid;
}

/* A valid atom of each kind; tests change one thing. */
static struct msg_entry meta(struct entry e)
{
    return sample_atom(e, HOW_META);
}

static struct msg_entry inlined(void)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_INLINE);
    m.content = bytes_of("hello");
    return m;
}

static struct msg_entry copied(void)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_COPY);
    m.source = bytes_of("c/d");
    return m;
}

static void test_entry_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_entry m = copied(), out;
    msg_put_entry(&w, &m);
    assert_true(msg_get_entry(check_payload(&w, MSG_ENTRY), &out));
    assert_int_equal(out.batch, 3);
    assert_int_equal(out.atom, 9);
    check_text(out.path, "a/b");
    assert_int_equal(out.how, HOW_COPY);
    assert_int_equal(out.encoding, ENCODING_RAW);
    assert_int_equal(out.entry.type, ENTRY_FILE);
    assert_memory_equal(out.entry.digest.b, m.entry.digest.b, 16);
    check_text(out.source, "c/d");
    assert_int_equal(out.content.len, 0);

    wire_reset(&w);
    m = inlined();
    msg_put_entry(&w, &m);
    assert_true(msg_get_entry(check_payload(&w, MSG_ENTRY), &out));
    assert_int_equal(out.how, HOW_INLINE);
    check_text(out.content, "hello");
    wire_free(&w);
}

static void test_entry_meta(void **state)
{
    (void)state;
    assert_true(entry_passes(meta(sample_dir())));
    assert_true(entry_passes(meta(sample_link())));
    assert_true(entry_passes(meta(sample_file())));
    struct msg_entry m = meta(sample_file());
    m.entry.has_digest = false;
    assert_false(entry_passes(m));
    assert_false(entry_passes(meta((struct entry){.type = ENTRY_NONE})));
    m = meta(sample_dir());
    m.content = bytes_of("x");
    assert_false(entry_passes(m));
    m = meta(sample_file());
    m.source = bytes_of("x");
    assert_false(entry_passes(m));
    m = meta(sample_link());
    m.encoding = ENCODING_ZSTD;
    assert_false(entry_passes(m));
}

static void test_only_files_have_content(void **state)
{
    (void)state;
    for (uint8_t how = HOW_INLINE; how <= HOW_LAST; how++) {
        struct msg_entry m = sample_atom(sample_dir(), how);
        m.source = how == HOW_COPY ? bytes_of("c/d") : bytes_of("");
        assert_false(entry_passes(m));
        m.entry = sample_link();
        assert_false(entry_passes(m));
    }
}

static void test_entry_inline(void **state)
{
    (void)state;
    assert_true(entry_passes(inlined()));
    struct msg_entry m = inlined();
    m.entry.has_digest = false;
    assert_false(entry_passes(m));
    m = inlined();
    m.entry.size++;
    assert_false(entry_passes(m));
    m = inlined();
    m.content.len--;
    assert_false(entry_passes(m));
    m = inlined();
    m.source = bytes_of("x");
    assert_false(entry_passes(m));
    m = inlined();
    m.content.len = 0;
    m.entry.size = 0;
    assert_true(entry_passes(m)); /* an empty file */
}

static void test_entry_inline_packed(void **state)
{
    (void)state;
    struct msg_entry m = inlined();
    m.encoding = ENCODING_ZSTD;
    m.entry.size = MSG_CHUNK_MAX;
    assert_true(entry_passes(m));
    m.entry.size++;
    assert_false(entry_passes(m));
    m.entry.size = 0;
    m.content.len = 0;
    assert_false(entry_passes(m));
    m = inlined();
    m.encoding = ENCODING_ZSTD + 1;
    assert_false(entry_passes(m));
}

static void test_entry_data_and_delta(void **state)
{
    (void)state;
    for (uint8_t how = HOW_DATA; how <= HOW_DELTA; how++) {
        struct msg_entry m = sample_atom(sample_file(), how);
        assert_true(entry_passes(m));
        m.entry.has_digest = false; /* known only when the last byte is read */
        assert_true(entry_passes(m));
        m.content = bytes_of("x");
        assert_false(entry_passes(m));
        m = sample_atom(sample_file(), how);
        m.source = bytes_of("x");
        assert_false(entry_passes(m));
        m = sample_atom(sample_file(), how);
        m.encoding = ENCODING_ZSTD;
        assert_false(entry_passes(m));
    }
}

static void test_entry_based(void **state)
{
    (void)state;
    struct msg_entry m = sample_atom(sample_file(), HOW_BASED), out;
    struct wire_writer w = {0};
    m.content = bytes_of("0123456789abcdef");
    assert_true(entry_passes(m));
    m.entry.has_digest = false;
    assert_true(entry_passes(m));
    msg_put_entry(&w, &m);
    assert_true(msg_get_entry(check_payload(&w, MSG_ENTRY), &out));
    assert_int_equal(out.how, HOW_BASED);
    assert_memory_equal(out.content.data, m.content.data, 16);
    wire_free(&w);
    for (size_t n = 0; n < 20; n++) { /* a digest, and nothing else */
        m.content = (struct bytes){"0123456789abcdefghij", n};
        assert_true(entry_passes(m) == (n == 16));
    }
    m.content.len = 16;
    m.source = bytes_of("x");
    assert_false(entry_passes(m));
    m.source = bytes_of("");
    m.encoding = ENCODING_ZSTD;
    assert_false(entry_passes(m));
    m.encoding = ENCODING_RAW;
    m.entry = sample_dir();
    assert_false(entry_passes(m));
}

static void test_entry_copy(void **state)
{
    (void)state;
    assert_true(entry_passes(copied()));
    struct msg_entry m = copied();
    m.source = bytes_of("");
    assert_false(entry_passes(m));
    m.source = bytes_of("../d");
    assert_false(entry_passes(m));
    m.source = bytes_of(PATH_RESERVED "stage/d");
    assert_false(entry_passes(m));
    m = copied();
    m.entry.has_digest = false;
    assert_false(entry_passes(m));
    m = copied();
    m.content = bytes_of("x");
    assert_false(entry_passes(m));
    m = copied();
    m.how = HOW_LAST + 1;
    assert_false(entry_passes(m));
}

static void test_entry_paths(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "/a", "a/", "a//b", ".", "..", "a/..", PATH_RESERVED "x", "a/" PATH_RESERVED "x/b"};
    struct msg_entry m = meta(sample_dir());
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        m.path = bytes_of(refused[i]);
        assert_false(entry_passes(m));
    }
    m.path = bytes_of("");
    assert_true(entry_passes(m)); /* the root's own mode and times */
    m.entry = sample_file();
    assert_false(entry_passes(m));
    m.entry = sample_link();
    assert_false(entry_passes(m));
    m = inlined();
    m.path = bytes_of("");
    assert_false(entry_passes(m));
}

static bool data_passes(struct msg_data m)
{
    struct wire_writer w = {0};
    struct msg_data out;
    msg_put_data(&w, &m);
    bool valid = msg_get_data(check_payload(&w, MSG_DATA), &out);
    if (valid) {
        assert_int_equal(out.atom, m.atom);
        assert_int_equal(out.kind, m.kind);
        assert_int_equal(out.encoding, m.encoding);
        assert_true(bytes_equal(out.content, m.content));
    }
    wire_free(&w);
    return valid;
}

static void test_data(void **state)
{
    (void)state;
    assert_true(data_passes((struct msg_data){9, DATA_DELTA, ENCODING_ZSTD, bytes_of("x")}));
    assert_true(data_passes((struct msg_data){9, DATA_CONTENT, ENCODING_RAW, bytes_of("")}));
    assert_false(data_passes((struct msg_data){9, DATA_CONTENT, ENCODING_ZSTD, bytes_of("")}));
    assert_false(data_passes((struct msg_data){9, 2, ENCODING_RAW, bytes_of("x")}));
    assert_false(data_passes((struct msg_data){9, DATA_CONTENT, 2, bytes_of("x")}));
}

static void test_finish(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_finish out, m = {9, sample_digest(1), ENTRY_SIZE_MAX};
    msg_put_finish(&w, &m);
    assert_true(msg_get_finish(check_payload(&w, MSG_FINISH), &out));
    assert_int_equal(out.atom, 9);
    assert_memory_equal(out.digest.b, m.digest.b, 16);
    assert_true(out.size == ENTRY_SIZE_MAX);
    wire_reset(&w);
    m.size++;
    msg_put_finish(&w, &m);
    assert_false(msg_get_finish(check_payload(&w, MSG_FINISH), &out));
    wire_free(&w);
}

static bool delete_passes(const char *path)
{
    struct wire_writer w = {0};
    struct msg_delete out;
    msg_put_delete(&w, &(struct msg_delete){1, 2, bytes_of(path)});
    bool valid = msg_get_delete(check_payload(&w, MSG_DELETE), &out);
    if (valid) {
        assert_int_equal(out.batch, 1);
        assert_int_equal(out.atom, 2);
        check_text(out.path, path);
    }
    wire_free(&w);
    return valid;
}

static void test_delete(void **state)
{
    (void)state;
    assert_true(delete_passes("a/b"));
    assert_false(delete_passes("")); /* never the root */
    assert_false(delete_passes("/"));
    assert_false(delete_passes(".."));
    assert_false(delete_passes(PATH_RESERVED "stage"));
}

static bool unit_passes(const char *path)
{
    struct wire_writer w = {0};
    struct msg_unit out;
    msg_put_unit(&w, &(struct msg_unit){1, 2, bytes_of(path)});
    bool valid = msg_get_unit(check_payload(&w, MSG_UNIT), &out);
    if (valid) {
        assert_int_equal(out.batch, 1);
        assert_int_equal(out.atom, 2);
        check_text(out.path, path);
    }
    wire_free(&w);
    return valid;
}

static void test_unit(void **state)
{
    (void)state;
    assert_true(unit_passes("wp-content/plugins/shop"));
    assert_false(unit_passes("")); /* never the root */
    assert_false(unit_passes("a/../b"));
    assert_false(unit_passes(PATH_RESERVED "stage"));
}

static bool move_passes(const char *from, const char *to)
{
    struct wire_writer w = {0};
    struct msg_move out;
    msg_put_move(&w, &(struct msg_move){1, 2, bytes_of(from), bytes_of(to)});
    bool valid = msg_get_move(check_payload(&w, MSG_MOVE), &out);
    if (valid) {
        assert_int_equal(out.batch, 1);
        assert_int_equal(out.atom, 2);
        check_text(out.from, from);
        check_text(out.to, to);
    }
    wire_free(&w);
    return valid;
}

static void test_move(void **state)
{
    (void)state;
    assert_true(move_passes("a", "b"));
    assert_true(move_passes("a", "ab"));
    assert_true(move_passes("a/b", "a")); /* up, over its own parent */
    assert_false(move_passes("a", "a"));
    assert_false(move_passes("a", "a/b"));
    assert_false(move_passes("", "b"));
    assert_false(move_passes("a", ""));
    assert_false(move_passes("../a", "b"));
    assert_false(move_passes("a", "../b"));
    assert_false(move_passes(PATH_RESERVED "a", "b"));
    assert_false(move_passes("a", PATH_RESERVED "b"));
}

/* Two paths of the greatest length are more than a frame holds: the sender sees it. */
static void test_move_over_a_frame(void **state)
{
    (void)state;
    struct bytes path = check_long(PATH_TOTAL_MAX);
    struct wire_writer w = {0};
    msg_put_move(&w, &(struct msg_move){1, 2, path, path});
    assert_true(w.bad);
    assert_int_equal(w.len, 0);
    wire_free(&w);
    check_long_free(path);
}

static void test_batch_abort_commit(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_begin batch;
    msg_put_begin(&w, &(struct msg_begin){1, 2});
    assert_true(msg_get_begin(check_payload(&w, MSG_BEGIN), &batch));
    assert_int_equal(batch.batch, 1);
    assert_int_equal(batch.site, 2);
    wire_reset(&w);
    struct msg_abort abort;
    msg_put_abort(&w, &(struct msg_abort){3});
    assert_true(msg_get_abort(check_payload(&w, MSG_ABORT), &abort));
    assert_int_equal(abort.atom, 3);
    wire_reset(&w);
    struct msg_commit commit;
    msg_put_commit(&w, &(struct msg_commit){4});
    assert_true(msg_get_commit(check_payload(&w, MSG_COMMIT), &commit));
    assert_int_equal(commit.batch, 4);
    wire_free(&w);
}

static bool signature_passes(struct msg_signature m)
{
    struct wire_writer w = {0};
    struct msg_signature out;
    msg_put_signature(&w, &m);
    bool valid = msg_get_signature(check_payload(&w, MSG_SIGNATURE), &out);
    if (valid) {
        assert_int_equal(out.atom, m.atom);
        assert_int_equal(out.last, m.last);
        assert_int_equal(out.none, m.none);
        assert_true(bytes_equal(out.content, m.content));
    }
    wire_free(&w);
    return valid;
}

static void test_signature(void **state)
{
    (void)state;
    assert_true(signature_passes((struct msg_signature){5, 0, 0, bytes_of("x")}));
    assert_true(signature_passes((struct msg_signature){5, 1, 0, bytes_of("")}));
    assert_true(signature_passes((struct msg_signature){5, 1, 1, bytes_of("")}));
    assert_false(signature_passes((struct msg_signature){5, 0, 1, bytes_of("")}));
    assert_false(signature_passes((struct msg_signature){5, 1, 1, bytes_of("x")}));
    assert_false(signature_passes((struct msg_signature){5, 2, 0, bytes_of("x")}));
    assert_false(signature_passes((struct msg_signature){5, 1, 2, bytes_of("")}));
}

static void test_ack_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_ack out,
        m = {.batch = 3, .flags = ACK_PIECEMEAL, .free_bytes = 8, .count = MSG_FAILURES_MAX};
    struct bytes text = check_long(MSG_TEXT_MAX);
    for (uint32_t i = 0; i < MSG_FAILURES_MAX; i++)
        m.failures[i] = (struct msg_failure){i, REASON_IO, i + 100, text};
    msg_put_ack(&w, &m);
    assert_true(msg_get_ack(check_payload(&w, MSG_ACK), &out));
    assert_int_equal(out.batch, 3);
    assert_int_equal(out.last, 0);
    assert_int_equal(out.flags, ACK_PIECEMEAL);
    assert_true(out.free_bytes == 8);
    assert_int_equal(out.count, MSG_FAILURES_MAX);
    for (uint32_t i = 0; i < MSG_FAILURES_MAX; i++) {
        assert_int_equal(out.failures[i].atom, i);
        assert_int_equal(out.failures[i].reason, REASON_IO);
        assert_int_equal(out.failures[i].errno_value, i + 100);
        assert_true(bytes_equal(out.failures[i].text, text));
    }
    wire_free(&w);
    check_long_free(text);
}

static bool ack_passes(uint8_t last, struct msg_failure failure)
{
    struct wire_writer w = {0};
    struct msg_ack out, m = {.batch = 1, .last = last, .count = 1, .failures = {failure}};
    msg_put_ack(&w, &m);
    bool valid = msg_get_ack(check_payload(&w, MSG_ACK), &out);
    wire_free(&w);
    return valid;
}

static void test_ack_refuses(void **state)
{
    (void)state;
    assert_true(ack_passes(1, (struct msg_failure){1, REASON_IO, 5, bytes_of("x")}));
    assert_false(ack_passes(2, (struct msg_failure){1, REASON_IO, 5, bytes_of("x")}));
    assert_false(ack_passes(1, (struct msg_failure){1, REASON_NONE, 5, bytes_of("x")}));
    assert_false(ack_passes(1, (struct msg_failure){1, REASON_LAST + 1, 5, bytes_of("x")}));
    struct bytes text = check_long(MSG_TEXT_MAX + 1);
    assert_false(ack_passes(1, (struct msg_failure){1, REASON_IO, 5, text}));
    check_long_free(text);
}

static void test_ack_refuses_unknown_flags(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 256; flags++) {
        struct wire_writer w = {0};
        struct msg_ack out;
        msg_put_ack(&w, &(struct msg_ack){.batch = 1, .last = 1, .flags = (uint8_t)flags});
        assert_int_equal(msg_get_ack(check_payload(&w, MSG_ACK), &out), flags <= ACK_FLAGS_ALL);
        wire_free(&w);
    }
}

/* One failure more than the struct has room for, all of them there. */
static void test_ack_counts_failures(void **state)
{
    (void)state;
    for (uint16_t count = MSG_FAILURES_MAX; count <= MSG_FAILURES_MAX + 1; count++) {
        struct wire_writer w = {0};
        struct msg_ack out;
        wire_u32(&w, 1);
        wire_u8(&w, 1);
        wire_u8(&w, 0);
        wire_u64(&w, 0);
        wire_u16(&w, count);
        for (uint32_t i = 0; i < count; i++) {
            wire_u32(&w, i);
            wire_u16(&w, REASON_IO);
            wire_u32(&w, 5);
            wire_short(&w, bytes_of("x"));
        }
        assert_int_equal(
            msg_get_ack((struct bytes){w.data, w.len}, &out), count <= MSG_FAILURES_MAX);
        wire_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_comes_back),
        cmocka_unit_test(test_entry_meta),
        cmocka_unit_test(test_only_files_have_content),
        cmocka_unit_test(test_entry_inline),
        cmocka_unit_test(test_entry_inline_packed),
        cmocka_unit_test(test_entry_data_and_delta),
        cmocka_unit_test(test_entry_copy),
        cmocka_unit_test(test_entry_based),
        cmocka_unit_test(test_entry_paths),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_unit),
        cmocka_unit_test(test_ack_refuses_unknown_flags),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_move_over_a_frame),
        cmocka_unit_test(test_batch_abort_commit),
        cmocka_unit_test(test_signature),
        cmocka_unit_test(test_ack_comes_back),
        cmocka_unit_test(test_ack_refuses),
        cmocka_unit_test(test_ack_counts_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
