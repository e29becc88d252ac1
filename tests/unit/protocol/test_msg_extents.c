/* EXTENTS and RANGE. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static bool extents_pass(uint64_t size, size_t bytes)
{
    struct wire_writer w = {0};
    struct bytes items = check_long(bytes);
    struct msg_extents out, m = {5, 1, size, items};
    msg_put_extents(&w, &m);
    bool valid = msg_get_extents(check_payload(&w, MSG_EXTENTS), &out);
    if (valid) {
        assert_int_equal(out.atom, 5);
        assert_int_equal(out.last, 1);
        assert_true(out.size == size);
        assert_true(bytes_equal(out.items, m.items));
    }
    check_long_free(items);
    wire_free(&w);
    return valid;
}

static void test_extents(void **state)
{
    (void)state;
    const uint64_t most = (uint64_t)MSG_EXTENT * MSG_EXTENTS_MAX;
    assert_true(extents_pass(0, 0));
    assert_true(extents_pass(1, MSG_EXTENT_BYTES));
    assert_true(extents_pass(MSG_EXTENT + 1, 2 * MSG_EXTENT_BYTES));
    assert_true(extents_pass(most, MSG_EXTENTS_FRAME * MSG_EXTENT_BYTES));
    assert_false(extents_pass(most + 1, 0));
    assert_false(extents_pass(UINT64_MAX, 0));
    assert_false(extents_pass(MSG_EXTENT, MSG_EXTENT_BYTES - 1)); /* not whole items */
    assert_false(extents_pass(MSG_EXTENT, MSG_EXTENT_BYTES + 1));
    assert_false(extents_pass(MSG_EXTENT, 2 * MSG_EXTENT_BYTES)); /* more than the file has */
    assert_false(extents_pass(0, MSG_EXTENT_BYTES));
    assert_false(extents_pass(most, (MSG_EXTENTS_FRAME + 1) * MSG_EXTENT_BYTES));
}

static void test_extent_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_extent e = {sample_digest(7), 0x0102030405060708}, out;
    msg_extent_encode(&w, &e);
    assert_int_equal(w.len, MSG_EXTENT_BYTES);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    msg_extent_decode(&r, &out);
    assert_true(wire_done(&r));
    assert_memory_equal(&out.digest, &e.digest, sizeof e.digest);
    assert_true(out.anchor == e.anchor);
    wire_free(&w);
    assert_true(msg_extent_count(0) == 0);
    assert_true(msg_extent_count(1) == 1);
    assert_true(msg_extent_count(MSG_EXTENT) == 1);
    assert_true(msg_extent_count(MSG_EXTENT + 1) == 2);
    assert_true(msg_extent_count(UINT64_MAX) == 1ull << 46);
}

static bool range_passes(struct msg_range m)
{
    struct wire_writer w = {0};
    struct msg_range out;
    msg_put_range(&w, &m);
    bool valid = msg_get_range(check_payload(&w, MSG_RANGE), &out);
    if (valid) {
        assert_int_equal(out.atom, m.atom);
        assert_int_equal(out.use, m.use);
        assert_true(out.offset == m.offset && out.length == m.length);
    }
    wire_free(&w);
    return valid;
}

static void test_range(void **state)
{
    (void)state;
    assert_true(range_passes((struct msg_range){5, RANGE_COPY, 0, 1}));
    assert_true(range_passes((struct msg_range){5, RANGE_COPY, INT64_MAX, INT64_MAX}));
    assert_true(range_passes((struct msg_range){5, RANGE_SIGN, 7, MSG_RANGE_MAX}));
    assert_true(range_passes((struct msg_range){5, RANGE_BASE, 7, MSG_RANGE_MAX}));
    assert_false(range_passes((struct msg_range){5, RANGE_COPY, 0, 0}));
    assert_false(range_passes((struct msg_range){5, RANGE_COPY, 1ull << 63, 1}));
    assert_false(range_passes((struct msg_range){5, RANGE_COPY, 1, 1ull << 63}));
    assert_false(range_passes((struct msg_range){5, RANGE_SIGN, 7, MSG_RANGE_MAX + 1}));
    assert_false(range_passes((struct msg_range){5, RANGE_BASE, 7, MSG_RANGE_MAX + 1}));
    assert_false(range_passes((struct msg_range){5, RANGE_LAST + 1, 7, 1}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_extent_comes_back),
        cmocka_unit_test(test_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
