/* When a unit comes to rest: quiet, brackets, what holds it, the longest wait, hot paths; and that
 * whatever happens in it raises its number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "primary/unrest.h"

enum { SETTLE = 1000, SETTLE_MAX = 60000 };

struct fixture {
    struct unit_rules *rules;
    struct unrest *u;
    unsigned woken;
    struct unrest_view view;
    uint64_t due;
};

static const char shop[] = "plugins/shop", file[] = "plugins/shop/a.php";

static void wake(void *ctx)
{
    ++*(unsigned *)ctx;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    f->rules = unit_rules_new();
    assert_int_equal(unit_rules_add(f->rules, "plugins/*", &err), 0);
    unit_rules_set_times(f->rules, SETTLE, SETTLE_MAX);
    f->u = unrest_new(f->rules);
    unrest_watch(f->u, wake, &f->woken);
    f->view.now_ms = io_now_ms() + 10 * SETTLE; /* whatever waited from the start has rested */
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unrest_free(f->u);
    unit_rules_free(f->rules);
    free(f);
    return 0;
}

static void stir(struct fixture *f, const char *path)
{
    unrest_stir(f->u, bytes_of(path), false, f->view.now_ms);
}

static bool settle(struct fixture *f, uint64_t later_ms)
{
    f->view.now_ms += later_ms;
    return unrest_settle(f->u, &f->view, "site", &f->due) & UNREST_RESTED;
}

static bool rests(struct fixture *f)
{
    return unrest_at_rest(f->u, bytes_of(shop));
}

static uint64_t generation(struct fixture *f)
{
    bool forced;
    return unrest_generation(f->u, bytes_of(shop), &forced);
}

static void test_quiet(void **state)
{
    struct fixture *f = *state;
    uint64_t before = generation(f);
    assert_true(rests(f));
    stir(f, file);
    assert_false(rests(f));
    assert_int_not_equal(generation(f), before);
    assert_false(settle(f, SETTLE - 1));
    assert_int_equal(f->due, f->view.now_ms + 1);
    stir(f, file);
    assert_false(settle(f, SETTLE - 1));
    assert_true(settle(f, 1));
    assert_true(rests(f));
    assert_int_equal(f->due, UINT64_MAX);
    assert_false(unrest_any_waiting(f->u));
    stir(f, "plugins/hello.php");
    stir(f, "uploads/x");
    assert_false(unrest_any_waiting(f->u));
    stir(f, file);
    assert_true(unrest_any_waiting(f->u));
}

/* It is calm soon, until the next stir, and not while something in it has still to be looked at. */
static void test_calm(void **state)
{
    struct fixture *f = *state;
    assert_true(unrest_is_calm(f->u, bytes_of(shop)));
    stir(f, file);
    assert_false(unrest_is_calm(f->u, bytes_of(shop)));
    f->view.bracket = ".maintenance";
    f->view.now_ms += SETTLE / 2;
    unrest_hold(f->u, bytes_of(file));
    assert_int_equal(unrest_settle(f->u, &f->view, "site", &f->due), 0);
    assert_false(unrest_is_calm(f->u, bytes_of(shop)));
    assert_int_equal(unrest_settle(f->u, &f->view, "site", &f->due), UNREST_CALMED);
    assert_true(unrest_is_calm(f->u, bytes_of(shop)));
    assert_false(rests(f));
    assert_int_equal(unrest_settle(f->u, &f->view, "site", &f->due), 0);
    stir(f, file);
    assert_false(unrest_is_calm(f->u, bytes_of(shop)));
}

static void test_owed_only(void **state)
{
    struct fixture *f = *state;
    uint64_t before = generation(f);
    unrest_owed(f->u, bytes_of(shop));
    assert_int_equal(f->woken, 1);
    assert_false(rests(f));
    assert_int_equal(generation(f), before);
    assert_true(settle(f, 0));
    unrest_owed(f->u, bytes_of(shop));
    assert_int_equal(f->woken, 1);
    assert_true(rests(f));
    unrest_unwatch(f->u);
    stir(f, file);
    assert_true(rests(f)); /* nobody would ever say so */
}

static void test_bracket(void **state)
{
    struct fixture *f = *state;
    struct unrest_wait wait;
    stir(f, file);
    f->view.bracket = ".maintenance";
    assert_false(settle(f, 5 * SETTLE));
    assert_int_equal(unrest_waiting(f->u, &wait, 1), 1);
    assert_string_equal(wait.unit, shop);
    assert_non_null(strstr(wait.why, ".maintenance"));
    f->view.bracket = NULL;
    assert_true(settle(f, 0));
}

/* Seen to go, the bracket says that all is done; what happens later is another matter. */
static void test_bracket_closed(void **state)
{
    struct fixture *f = *state;
    stir(f, file);
    f->view.closed_ms = f->view.now_ms + 10;
    assert_false(settle(f, UNREST_QUICK_MS - 1));
    f->view.bracket = "of another update";
    assert_true(settle(f, 1));
    stir(f, file);
    assert_false(settle(f, SETTLE));
    f->view.bracket = NULL;
    stir(f, file);
    assert_false(settle(f, SETTLE - 1));
    assert_true(settle(f, 1));
}

static void test_held(void **state)
{
    struct fixture *f = *state;
    stir(f, file);
    stir(f, "plugins/other/x");
    unrest_hold(f->u, bytes_of(file));
    assert_true(settle(f, 2 * SETTLE)); /* the other */
    assert_false(rests(f));
    f->view.busy = true;
    assert_false(settle(f, 0));
    f->view.busy = false;
    assert_true(settle(f, 0));
    assert_true(rests(f));
}

static void test_forced(void **state)
{
    struct fixture *f = *state;
    bool forced;
    uint64_t end = io_now_ms() + SETTLE_MAX;
    for (f->view.now_ms = io_now_ms(); f->view.now_ms + SETTLE / 2 < end;) {
        stir(f, file);
        assert_false(settle(f, SETTLE / 2));
    }
    stir(f, file);
    assert_true(settle(f, SETTLE));
    unrest_generation(f->u, bytes_of(shop), &forced);
    assert_true(forced);
    stir(f, file);
    assert_true(rests(f)); /* time to take it */
    f->view.now_ms += UNREST_FORCED_MS;
    stir(f, file);
    assert_false(rests(f));
    unrest_generation(f->u, bytes_of(shop), &forced);
    assert_false(forced);
}

static void test_lost_events(void **state)
{
    struct fixture *f = *state;
    uint64_t before = generation(f);
    unrest_stir_all(f->u, f->view.now_ms);
    assert_int_not_equal(generation(f), before);
}

static void change(struct fixture *f, const char *path, bool bracketed)
{
    f->view.now_ms += 60;
    unrest_note_change(f->u, bytes_of(path), f->view.now_ms, bracketed);
    stir(f, path);
}

static void test_hot(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++)
        change(f, file, true);
    assert_false(unrest_is_hot(f->u, bytes_of(file)));
    for (int i = 0; i < 6; i++)
        change(f, file, false);
    assert_true(unrest_is_hot(f->u, bytes_of(file)));
    uint64_t before = generation(f);
    stir(f, file);
    assert_int_equal(generation(f), before);
    uint64_t now = f->view.now_ms;
    assert_int_equal(unrest_hot_pause(f->u, bytes_of(file), now), 0);
    assert_int_equal(unrest_hot_pause(f->u, bytes_of(file), now), 1000);
    assert_int_equal(unrest_hot_pause(f->u, bytes_of(file), now + 1000), 0);
    assert_int_equal(unrest_hot_pause(f->u, bytes_of(file), now + 1000), 2000);
    assert_int_equal(unrest_hot_pause(f->u, bytes_of("plugins/shop/b"), now), 0);
}

/* An update without a bracket touches many paths: none of them is hot, however often. */
static void test_not_hot(void **state)
{
    struct fixture *f = *state;
    const char *const paths[] = {file, "plugins/shop/b", "plugins/shop/c", "plugins/shop/d"};
    for (int i = 0; i < 20; i++)
        for (size_t k = 0; k < 4; k++)
            change(f, paths[k], false);
    for (size_t k = 0; k < 4; k++)
        assert_false(unrest_is_hot(f->u, bytes_of(paths[k])));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(test_quiet),
        WITH(test_calm),
        WITH(test_owed_only),
        WITH(test_bracket),
        WITH(test_bracket_closed),
        WITH(test_held),
        WITH(test_forced),
        WITH(test_lost_events),
        WITH(test_hot),
        WITH(test_not_hot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
