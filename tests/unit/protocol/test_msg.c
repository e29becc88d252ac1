/* What holds for all messages alike: every sample comes back byte for byte, none decodes when cut
 * or with a byte too many, and every type has a name. */
#include "tests/fuzz/again.h"
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static bool decodes(uint8_t type, const uint8_t *data, size_t n)
{
    struct wire_writer again = {0};
    bool valid = again_message(type, (struct bytes){data, n}, &again);
    wire_free(&again);
    return valid;
}

static void test_every_sample_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        struct wire_writer w = {0}, again = {0};
        samples[i].put(&w);
        struct bytes payload = check_payload(&w, samples[i].type);
        if (!again_message(samples[i].type, payload, &again))
            fail_msg("%s does not decode", samples[i].name);
        assert_int_equal(again.len, w.len);
        assert_memory_equal(again.data, w.data, w.len);
        wire_free(&w);
        wire_free(&again);
    }
}

static void test_every_sample_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        struct wire_writer w = {0};
        samples[i].put(&w);
        struct bytes payload = check_payload(&w, samples[i].type);
        for (size_t n = 0; n < payload.len; n++) {
            uint8_t *cut = check_copy(payload.data, n);
            if (decodes(samples[i].type, cut, n))
                fail_msg("%s decodes when cut to %zu bytes", samples[i].name, n);
            free(cut);
        }
        wire_free(&w);
    }
}

static void test_every_sample_with_a_byte_behind(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        struct wire_writer w = {0};
        samples[i].put(&w);
        struct bytes payload = check_payload(&w, samples[i].type);
        for (int byte = 0; byte < 256; byte += 255) {
            uint8_t *longer = malloc(payload.len + 1);
            assert_non_null(longer);
            memcpy(longer, payload.data, payload.len);
            longer[payload.len] = (uint8_t)byte;
            if (decodes(samples[i].type, longer, payload.len + 1))
                fail_msg("%s decodes with a byte too many", samples[i].name);
            free(longer);
        }
        wire_free(&w);
    }
}

/* Whatever a changed byte makes of a message: refused, or another message that comes back. */
static void test_every_sample_with_every_byte_changed(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < sample_count; i++) {
        struct wire_writer w = {0}, again = {0};
        samples[i].put(&w);
        for (size_t at = FRAME_HEADER; at < w.len; at++) {
            for (size_t m = 0; m < sizeof(masks); m++) {
                w.data[at] ^= masks[m];
                wire_reset(&again);
                if (again_message(samples[i].type, check_payload(&w, samples[i].type), &again)) {
                    assert_int_equal(again.len, w.len);
                    assert_memory_equal(again.data, w.data, w.len);
                }
                w.data[at] ^= masks[m];
            }
        }
        wire_free(&w);
        wire_free(&again);
    }
}

static void test_every_type_has_a_sample_and_a_name(void **state)
{
    (void)state;
    struct wire_writer again = {0};
    bool seen[256] = {false};
    for (size_t i = 0; i < sample_count; i++) {
        seen[samples[i].type] = true;
        assert_string_not_equal(msg_name(samples[i].type), "unknown");
    }
    size_t types = 0;
    for (int type = 0; type < 256; type++) {
        types += seen[type];
        if (seen[type])
            continue;
        assert_string_equal(msg_name((uint8_t)type), "unknown");
        assert_false(again_message((uint8_t)type, (struct bytes){NULL, 0}, &again));
    }
    assert_int_equal(types, 41);
    assert_string_equal(msg_name(MSG_OPEN), "OPEN");
    assert_string_equal(msg_name(MSG_SITE_ERROR), "SITE_ERROR");
    wire_free(&again);
}

static void test_every_reason_has_a_name(void **state)
{
    (void)state;
    for (uint16_t reason = 0; reason <= REASON_LAST; reason++) {
        assert_string_not_equal(msg_reason_name(reason), "unknown");
        for (uint16_t other = 0; other < reason; other++)
            assert_string_not_equal(msg_reason_name(reason), msg_reason_name(other));
    }
    assert_string_equal(msg_reason_name(REASON_LAST + 1), "unknown");
    assert_string_equal(msg_reason_name(REASON_LOCKED), "locked");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_comes_back),
        cmocka_unit_test(test_every_sample_cut_at_every_byte),
        cmocka_unit_test(test_every_sample_with_a_byte_behind),
        cmocka_unit_test(test_every_sample_with_every_byte_changed),
        cmocka_unit_test(test_every_type_has_a_sample_and_a_name),
        cmocka_unit_test(test_every_reason_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
