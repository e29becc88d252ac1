/* What repeats itself: once an hour and cause, counted, all of it at debug, and bounded. */
#include "base/often.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"

static void test_once_an_hour(void **state)
{
    (void)state;
    struct often *o = often_new(OFTEN_KEPT);
    char again[OFTEN_AGAIN];
    assert_true(often_may_say(o, "shop: full", 1000, again));
    assert_string_equal(again, "");
    assert_false(often_may_say(o, "shop: full", 2000, again));
    assert_true(often_may_say(o, "blog: full", 2000, again));
    assert_false(often_may_say(o, "shop: full", 1000 + OFTEN_EVERY_MS - 1, again));
    assert_true(often_may_say(o, "shop: full", 1000 + OFTEN_EVERY_MS, again));
    assert_string_equal(again, " (repeated 2 times)");
    assert_false(often_may_say(o, "shop: full", 1001 + OFTEN_EVERY_MS, again));
    assert_true(often_may_say(o, "shop: full", 1000 + 2 * OFTEN_EVERY_MS, again));
    assert_string_equal(again, " (repeated 1 time)");
    often_free(o);
    assert_true(often_may_say(NULL, "x", 0, again));
}

static void test_all_at_debug(void **state)
{
    (void)state;
    struct often *o = often_new(OFTEN_KEPT);
    char again[OFTEN_AGAIN];
    log_set_level(LOG_LEVEL_DEBUG);
    for (int i = 0; i < 3; i++)
        assert_true(often_may_say(o, "x", 5, again));
    assert_string_equal(again, "");
    log_set_level(LOG_LEVEL_WARNING);
    often_free(o);
}

static void test_bounded(void **state)
{
    (void)state;
    struct often *o = often_new(OFTEN_KEPT);
    char again[OFTEN_AGAIN], cause[32];
    for (int i = 0; i < 5 * OFTEN_KEPT; i++) {
        snprintf(cause, sizeof cause, "%d", i);
        assert_int_equal(often_may_say(o, cause, (uint64_t)i, again), i < OFTEN_KEPT);
        assert_int_equal(again[0] != '\0', i == OFTEN_KEPT - 1);
    }
    assert_false(often_may_say(o, "0", 5 * OFTEN_KEPT, again));
    assert_true(often_may_say(o, cause, 5 * OFTEN_KEPT + OFTEN_EVERY_MS, again));
    assert_string_equal(again, "");
    often_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_an_hour),
        cmocka_unit_test(test_all_at_debug),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
