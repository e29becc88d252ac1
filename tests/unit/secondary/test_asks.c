/* Packets between the receiver's processes: each kind there and back, cut at every byte, and what a
 * child that was taken over may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#include "secondary/confine/asks.h"

static const struct ask samples[] = {
    {.kind = ASK_NUMBER_OF, .flag = 1, .name = {"www-data", 8}},
    {.kind = ASK_NAME_OF, .number = 33},
    {.kind = ASK_MARK, .name = {"site-0123", 9}, .text = {"1 2 3", 5}},
    {.kind = ASK_PLACE, .flag = true, .name = {"example.com", 11}, .root = {"/srv/www", 8}},
    {.kind = ASK_MAKE, .flag = 1, .root = {"/srv/www", 8}},
    {.kind = ASK_EPOCH, .name = {"x", 1}, .count = 7, .id = {{1, 2}}, .text = {"web1", 4}},
    {.kind = ASK_YIELD, .name = {"x", 1}, .id = {{3}}},
    {.kind = ASK_LINK,
        .name = {"current", 7},
        .number = UINT32_MAX,
        .other = 33,
        .seconds = -5,
        .nanoseconds = 999999999},
    {.kind = ASK_LOOSEN, .name = {"d1", 2}},
    {.kind = ASK_EXCLUDE, .number = 3, .name = {"n", 1}, .root = {"/r", 2}},
    {.kind = ASK_HOOK, .name = {"x", 1}, .records = {"+a\0-b/", 7}},
    {.kind = ASK_HOOK_STATE, .flag = 1, .name = {"x", 1}},
    {.kind = ASK_TOLD, .name = {"x", 1}, .count = 9},
    {.kind = ASK_HOLD, .name = {"x", 1}},
    {.kind = ASK_LET_GO, .flag = 1, .name = {"x", 1}, .records = {"-a/", 4}},
    {.kind = ASK_IN_PLACE, .root = {"/srv/www", 8}},
    {.kind = ASK_ANSWER,
        .flag = 1,
        .number = 1,
        .other = 2,
        .count = 3,
        .id = {{4}},
        .name = {"n", 1},
        .root = {"/r", 2},
        .text = {"t", 1},
        .result = -1,
        .code = 6,
        .sys = 28,
        .policy = {true, RECEIVE_OWNER_FIXED, 33, 34, {20, 200}, 30, 60, true, true, true,
            {5, 1ull << 33}}},
    {.kind = ASK_REPORT, .result = -1, .code = 1, .sys = 5, .text = {"read: I/O", 9}},
    {.kind = ASK_REFUSED, .number = 101},
};

enum { SAMPLES = sizeof samples / sizeof *samples };

static void there_and_back(void **state)
{
    (void)state;
    assert_int_equal(SAMPLES, ASK_LAST);
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t raw[ASK_PACKET_MAX], again[ASK_PACKET_MAX];
        struct ask got;
        size_t len = ask_encode(&samples[i], raw);
        assert_true(len > 0);
        assert_true(ask_decode((struct bytes){raw, len}, &got));
        assert_int_equal(ask_encode(&got, again), len);
        assert_memory_equal(raw, again, len);
        assert_int_equal(got.number, samples[i].number);
        assert_int_equal(got.seconds, samples[i].seconds);
        assert_int_equal(got.result, samples[i].result);
        assert_true(bytes_equal(got.root, samples[i].root));
        assert_true(bytes_equal(got.records, samples[i].records));
    }
}

static void cut_or_longer(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t raw[ASK_PACKET_MAX + 1] = {0};
        struct ask got;
        size_t len = ask_encode(&samples[i], raw);
        for (size_t n = 0; n < len; n++)
            assert_false(ask_decode((struct bytes){raw, n}, &got));
        assert_false(ask_decode((struct bytes){raw, len + 1}, &got));
    }
}

static void what_makes_no_sense(void **state)
{
    uint8_t raw[ASK_PACKET_MAX];
    char large[MSG_ROOT_MAX + 2];
    struct ask got;
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        raw[0] = (uint8_t)kind;
        assert_false(ask_decode((struct bytes){raw, 1}, &got));
    }
    size_t len = ask_encode(&samples[0], raw);
    raw[1] = 2; /* a flag is 0 or 1 */
    assert_false(ask_decode((struct bytes){raw, len}, &got));
    len = ask_encode(&samples[0], raw);
    raw[len - 1] = '\0'; /* a name that ends early */
    assert_false(ask_decode((struct bytes){raw, len}, &got));
    memset(large, 'x', sizeof large);
    assert_int_equal(ask_encode(&(struct ask){.kind = ASK_PLACE, .name = {"a\0b", 3}}, raw), 0);
    len = ask_encode(&(struct ask){.kind = ASK_LOOSEN, .name = {large, ASK_NAME_MAX + 1}}, raw);
    assert_false(ask_decode((struct bytes){raw, len}, &got));
    len = ask_encode(&(struct ask){.kind = ASK_PLACE, .root = {large, MSG_ROOT_MAX + 1}}, raw);
    assert_false(ask_decode((struct bytes){raw, len}, &got));
}

static void what_a_function_came_to(void **state)
{
    struct ask a = {.kind = ASK_ANSWER}, b;
    struct err err, same;
    uint8_t packet[ASK_PACKET_MAX];
    (void)state;
    err_sys(&err, ENOSPC, "write %0*d", ERR_TEXT_MAX, 0); /* as long as a text can be */
    ask_set_result(&a, -1, &err);
    size_t len = ask_encode(&a, packet);
    assert_true(len > 0 && ask_decode((struct bytes){packet, len}, &b));
    assert_int_equal(ask_get_result(&b, &same), -1);
    assert_int_equal(same.code, ERR_TEMPORARY);
    assert_int_equal(same.sys, ENOSPC);
    assert_string_equal(same.text, err.text);
    a = (struct ask){.kind = ASK_ANSWER};
    ask_set_result(&a, 0, &err);
    assert_int_equal(a.text.len, 0);
    assert_int_equal(ask_get_result(&a, &same), 0);
    assert_int_equal(same.sys, ENOSPC); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(cut_or_longer),
        cmocka_unit_test(what_makes_no_sense),
        cmocka_unit_test(what_a_function_came_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
