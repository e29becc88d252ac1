/* CLAIM and CLAIMED. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static struct msg_claim claim(void)
{
    return (struct msg_claim){.request = 4,
        .name = bytes_of("example.com"),
        .epoch = 1ull << 50,
        .epoch_id = sample_digest(7),
        .take = 1,
        .primary = bytes_of("web2")};
}

static void test_claim_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_claim m = claim(), out;
    msg_put_claim(&w, &m);
    assert_true(msg_get_claim(check_payload(&w, MSG_CLAIM), &out));
    assert_int_equal(out.request, 4);
    check_text(out.name, "example.com");
    assert_true(out.epoch == 1ull << 50);
    assert_memory_equal(out.epoch_id.b, m.epoch_id.b, 16);
    assert_int_equal(out.take, 1);
    check_text(out.primary, "web2");
    wire_free(&w);
}

static void test_claim_needs_a_site(void **state)
{
    (void)state;
    static const char *const names[] = {"", "a/b", "..", PATH_RESERVED "x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct wire_writer w = {0};
        struct msg_claim m = claim(), out;
        m.name = bytes_of(names[i]);
        msg_put_claim(&w, &m);
        assert_false(msg_get_claim(check_payload(&w, MSG_CLAIM), &out));
        wire_free(&w);
    }
}

static void test_claimed(void **state)
{
    (void)state;
    for (uint16_t reason = 0; reason <= REASON_LAST + 1; reason++) {
        struct wire_writer w = {0};
        struct msg_claimed m = {.request = 5,
            .reason = reason,
            .epoch = 6,
            .epoch_id = sample_digest(8),
            .primary = bytes_of("web3"),
            .text = bytes_of("why")};
        struct msg_claimed out;
        msg_put_claimed(&w, &m);
        bool valid = msg_get_claimed(check_payload(&w, MSG_CLAIMED), &out);
        assert_int_equal(valid, reason <= REASON_LAST);
        if (valid) {
            assert_int_equal(out.request, 5);
            assert_int_equal(out.reason, reason);
            assert_true(out.epoch == 6);
            assert_memory_equal(out.epoch_id.b, m.epoch_id.b, 16);
            check_text(out.primary, "web3");
            check_text(out.text, "why");
        }
        wire_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim_comes_back),
        cmocka_unit_test(test_claim_needs_a_site),
        cmocka_unit_test(test_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
