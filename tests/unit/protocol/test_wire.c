/* Byte order, bounds and the sticky flags of wire.c. */
#include "tests/unit/protocol/check.h"

static void test_integers_are_little_endian(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    wire_u8(&w, 0x01);
    wire_u16(&w, 0x0203);
    wire_u32(&w, 0x04050607);
    wire_u64(&w, 0x08090a0b0c0d0e0f);
    static const uint8_t want[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(w.data, want, sizeof(want));

    struct wire_reader r = wire_reader_of(w.data, w.len);
    assert_int_equal(wire_get_u8(&r), 0x01);
    assert_int_equal(wire_get_u16(&r), 0x0203);
    assert_int_equal(wire_get_u32(&r), 0x04050607);
    assert_false(wire_done(&r));
    assert_true(wire_get_u64(&r) == 0x08090a0b0c0d0e0f);
    assert_true(wire_done(&r));
    wire_free(&w);
}

static void test_strings_come_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    wire_short(&w, bytes_of("short"));
    wire_blob(&w, bytes_of("blob"));
    wire_short(&w, (struct bytes){NULL, 0});
    static const uint8_t want[] = "\5\0short\4\0\0\0blob\0";
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(w.data, want, sizeof(want));

    struct wire_reader r = wire_reader_of(w.data, w.len);
    check_text(wire_get_short(&r, 5), "short");
    check_text(wire_get_blob(&r, 4), "blob");
    assert_int_equal(wire_get_short(&r, 0).len, 0);
    assert_true(wire_done(&r));
    wire_free(&w);
}

static void test_reader_stays_bad(void **state)
{
    (void)state;
    static const uint8_t in[] = {1, 2, 3, 4, 5, 6};
    struct wire_reader r = wire_reader_of(in, sizeof(in));
    assert_int_equal(wire_get_u16(&r), 0x0201);
    assert_true(wire_get_u64(&r) == 0);
    assert_true(r.bad);
    assert_int_equal(wire_get_u8(&r), 0);
    uint8_t raw[2] = {9, 9};
    wire_get_raw(&r, raw, sizeof(raw));
    assert_int_equal(raw[0] | raw[1], 0);
    assert_int_equal(wire_get_short(&r, 10).len, 0);
    assert_int_equal(wire_get_blob(&r, 10).len, 0);
    assert_false(wire_done(&r));
}

static void test_empty_reader(void **state)
{
    (void)state;
    struct wire_reader r = wire_reader_of(NULL, 0);
    assert_true(wire_done(&r));
    wire_get_raw(&r, NULL, 0);
    assert_true(wire_done(&r));
    assert_int_equal(wire_get_u8(&r), 0);
    assert_true(r.bad);
}

static void test_length_over_limit_is_bad_although_bytes_are_there(void **state)
{
    (void)state;
    static const uint8_t in[] = "\4\0abcd";
    struct wire_reader r = wire_reader_of(in, 6);
    assert_int_equal(wire_get_short(&r, 3).len, 0);
    assert_true(r.bad);
    r = wire_reader_of(in, 6);
    check_text(wire_get_short(&r, 4), "abcd");
    assert_true(wire_done(&r));
}

static void test_length_over_input_is_bad(void **state)
{
    (void)state;
    static const uint8_t blob[] = "\xff\xff\xff\xff...";
    struct wire_reader r = wire_reader_of(blob, 7);
    assert_int_equal(wire_get_blob(&r, SIZE_MAX).len, 0);
    assert_true(r.bad);
    static const uint8_t one_short[] = "\4\0abc";
    r = wire_reader_of(one_short, 5);
    assert_int_equal(wire_get_short(&r, 100).len, 0);
    assert_true(r.bad);
}

static void test_writer_stops_at_its_maximum(void **state)
{
    (void)state;
    struct wire_writer w = {.max = 6};
    wire_u32(&w, 1);
    wire_u16(&w, 2);
    assert_false(w.bad);
    assert_int_equal(w.len, 6);
    wire_u8(&w, 3);
    assert_true(w.bad);
    assert_int_equal(w.len, 6);
    assert_true(w.cap <= 6);

    wire_reset(&w);
    assert_false(w.bad);
    assert_int_equal(w.len, 0);
    wire_u32(&w, 1);
    wire_u32(&w, 1); /* does not fit, and what would fit comes behind it */
    wire_u8(&w, 1);
    assert_true(w.bad);
    assert_int_equal(w.len, 4);
    wire_free(&w);
    assert_null(w.data);
    assert_int_equal(w.max, 6);
}

static void test_writer_grows(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    for (uint32_t i = 0; i < 10000; i++)
        wire_u32(&w, i);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(wire_get_u32(&r), i);
    assert_true(wire_done(&r));
    wire_free(&w);
}

static void test_short_holds_65535_bytes(void **state)
{
    (void)state;
    struct bytes b = check_long(UINT16_MAX + 1);
    struct wire_writer w = {0};
    b.len = UINT16_MAX;
    wire_short(&w, b);
    assert_false(w.bad);
    assert_int_equal(w.len, 2 + UINT16_MAX);
    b.len++;
    wire_short(&w, b);
    assert_true(w.bad);
    wire_free(&w);
    check_long_free(b);
}

static void test_patch(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    wire_patch_u32(&w, 0, 1);
    assert_true(w.bad);
    wire_reset(&w);
    wire_u64(&w, 0);
    wire_patch_u32(&w, 4, 0x01020304);
    static const uint8_t want[] = {0, 0, 0, 0, 4, 3, 2, 1};
    assert_memory_equal(w.data, want, sizeof(want));
    assert_false(w.bad);
    wire_patch_u32(&w, 5, 1);
    assert_true(w.bad);
    wire_free(&w);
}

static void test_bytes(void **state)
{
    (void)state;
    struct bytes none = {NULL, 0};
    assert_true(bytes_equal(none, bytes_of("")));
    assert_true(bytes_equal(none, bytes_of(NULL)));
    assert_true(bytes_equal(bytes_of("a"), bytes_of("a")));
    assert_false(bytes_equal(bytes_of("a"), bytes_of("b")));
    assert_false(bytes_equal(bytes_of("a"), bytes_of("ab")));
    assert_int_equal(bytes_compare(none, bytes_of("")), 0);
    assert_true(bytes_compare(none, bytes_of("a")) < 0);
    assert_true(bytes_compare(bytes_of("a"), bytes_of("ab")) < 0);
    assert_true(bytes_compare(bytes_of("b"), bytes_of("ab")) > 0);
    assert_true(bytes_compare(bytes_of("\xff"), bytes_of("a")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_are_little_endian),
        cmocka_unit_test(test_strings_come_back),
        cmocka_unit_test(test_reader_stays_bad),
        cmocka_unit_test(test_empty_reader),
        cmocka_unit_test(test_length_over_limit_is_bad_although_bytes_are_there),
        cmocka_unit_test(test_length_over_input_is_bad),
        cmocka_unit_test(test_writer_stops_at_its_maximum),
        cmocka_unit_test(test_writer_grows),
        cmocka_unit_test(test_short_holds_65535_bytes),
        cmocka_unit_test(test_patch),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
