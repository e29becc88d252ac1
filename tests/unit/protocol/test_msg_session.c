/* HELLO, ERROR, PING, PONG, BYE. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static const struct msg_hello hello = {.magic = MSG_MAGIC,
    .oldest = 1,
    .newest = 3,
    .session = 0x0102030405060708,
    .host_id = {{1, 2, 3}},
    .software = {"sw", 2},
    .host = {"web1", 4}};

static bool hello_passes(const struct msg_hello *m)
{
    struct wire_writer w = {0};
    struct msg_hello out;
    msg_put_hello(&w, m);
    bool valid = msg_get_hello(check_payload(&w, MSG_HELLO), &out);
    wire_free(&w);
    return valid;
}

static void test_hello_layout(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    msg_put_hello(&w, &hello);
    static const uint8_t want[] = {43, 0, 0, 0, 1, 'M', 'I', 'R', 'D', 1, 0, 3, 0, 8, 7, 6, 5, 4, 3,
        2, 1, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 's', 'w', 4, 0, 'w', 'e', 'b',
        '1'};
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(w.data, want, sizeof(want));
    wire_free(&w);
}

static void test_hello_comes_back(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_hello out;
    msg_put_hello(&w, &hello);
    assert_true(msg_get_hello(check_payload(&w, MSG_HELLO), &out));
    assert_int_equal(out.magic, MSG_MAGIC);
    assert_int_equal(out.oldest, 1);
    assert_int_equal(out.newest, 3);
    assert_true(out.session == hello.session);
    assert_memory_equal(out.host_id.b, hello.host_id.b, 16);
    check_text(out.software, "sw");
    check_text(out.host, "web1");
    wire_free(&w);
}

static void test_hello_refuses(void **state)
{
    (void)state;
    struct msg_hello m = hello;
    m.magic++;
    assert_false(hello_passes(&m));
    m = hello;
    m.oldest = 0;
    assert_false(hello_passes(&m));
    m = hello;
    m.oldest = 4;
    assert_false(hello_passes(&m));
    m.oldest = m.newest;
    assert_true(hello_passes(&m));
    m = hello;
    m.host = (struct bytes){"a\0b", 3};
    assert_false(hello_passes(&m));
    struct bytes text = check_long(MSG_TEXT_MAX + 1);
    m = hello;
    m.software = text;
    assert_false(hello_passes(&m));
    m.software.len--;
    assert_true(hello_passes(&m));
    m.host = text;
    assert_false(hello_passes(&m));
    check_long_free(text);
}

/* An end that knows none of the reasons of a later version can still print the text. */
static void test_error(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_error out;
    msg_put_error(&w, &(struct msg_error){REASON_LAST + 1, bytes_of("new")});
    assert_true(msg_get_error(check_payload(&w, MSG_ERROR), &out));
    assert_int_equal(out.reason, REASON_LAST + 1);
    check_text(out.text, "new");
    wire_reset(&w);
    msg_put_error(&w, &(struct msg_error){REASON_NONE, bytes_of("x")});
    assert_false(msg_get_error(check_payload(&w, MSG_ERROR), &out));
    wire_reset(&w);
    struct bytes text = check_long(MSG_TEXT_MAX + 1);
    msg_put_error(&w, &(struct msg_error){REASON_IO, text});
    assert_false(msg_get_error(check_payload(&w, MSG_ERROR), &out));
    check_long_free(text);
    wire_free(&w);
}

static void test_ping_pong_bye(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_ping out;
    msg_put_ping(&w, &(struct msg_ping){UINT64_MAX});
    assert_true(msg_get_ping(check_payload(&w, MSG_PING), &out));
    assert_true(out.token == UINT64_MAX);
    wire_reset(&w);
    msg_put_pong(&w, &(struct msg_ping){5});
    assert_true(msg_get_ping(check_payload(&w, MSG_PONG), &out));
    assert_true(out.token == 5);
    wire_reset(&w);
    msg_put_bye(&w);
    assert_true(msg_get_bye(check_payload(&w, MSG_BYE)));
    assert_false(msg_get_bye(bytes_of("x")));
    wire_free(&w);
}

static void test_renewed(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_renewed out;
    msg_put_renewed(&w, &(struct msg_renewed){bytes_of("why")});
    assert_true(msg_get_renewed(check_payload(&w, MSG_RENEWED), &out));
    assert_true(bytes_equal(out.text, bytes_of("why")));
    wire_reset(&w);
    struct bytes text = check_long(MSG_TEXT_MAX + 1);
    msg_put_renewed(&w, &(struct msg_renewed){text});
    assert_false(msg_get_renewed(check_payload(&w, MSG_RENEWED), &out));
    assert_false(msg_get_renew(bytes_of("x")));
    check_long_free(text);
    wire_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_layout),
        cmocka_unit_test(test_hello_comes_back),
        cmocka_unit_test(test_hello_refuses),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_ping_pong_bye),
        cmocka_unit_test(test_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
