/* The bound of bulk on its way, over links of several kinds: what it leaves of their rate, and how
 * long a live change that comes behind it would wait. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "primary/push/pace.h"

enum { TICK_US = 100, FRAME = 16 * 1024, PERIOD_US = 10000000 };

/* A link that takes so many bytes a tick, the rest waits; what has passed it is known here after
 * the delay. */
struct link {
    struct pace pace;
    uint64_t now_us, delay_us;
    double rate, passed; /* bytes a tick; in all */
    uint64_t tokens[PACE_MARKS], at[PACE_MARKS], back_us[PACE_MARKS];
    unsigned first, count;
    uint64_t waited_us; /* at most, of what came behind */
    uint64_t idle;      /* ticks with nothing to do */
};

static void begin(struct link *l, double bytes_a_second, uint64_t delay_us)
{
    *l = (struct link){.rate = bytes_a_second * TICK_US / 1e6, .delay_us = delay_us};
    l->now_us = 1;
    pace_begin(&l->pace, l->now_us);
}

/* At most so many frames. */
static void send_some(struct link *l, unsigned most)
{
    uint64_t token;
    for (; most > 0 && pace_is_open(&l->pace); most--)
        if (pace_sent(&l->pace, FRAME, true, l->now_us, &token)) {
            unsigned i = (l->first + l->count++) % PACE_MARKS;
            l->tokens[i] = token;
            l->at[i] = l->pace.sent;
            l->back_us[i] = 0;
        }
}

static void pass(struct link *l)
{
    double most = (double)l->pace.sent;
    l->idle += l->passed + l->rate > most;
    l->passed = l->passed + l->rate > most ? most : l->passed + l->rate;
    for (unsigned n = 0; n < l->count; n++) {
        unsigned i = (l->first + n) % PACE_MARKS;
        if (!l->back_us[i] && (double)l->at[i] <= l->passed)
            l->back_us[i] = l->now_us + l->delay_us;
    }
    while (l->count && l->back_us[l->first] && l->back_us[l->first] <= l->now_us) {
        pace_came(&l->pace, l->tokens[l->first], l->now_us);
        l->first = (l->first + 1) % PACE_MARKS;
        l->count--;
    }
}

static void run(struct link *l, uint64_t us)
{
    l->waited_us = l->idle = 0;
    for (uint64_t end = l->now_us + us; l->now_us < end; l->now_us += TICK_US) {
        send_some(l, UINT_MAX);
        pass(l);
        uint64_t waits = (uint64_t)(((double)l->pace.sent - l->passed) / l->rate * TICK_US);
        l->waited_us = waits > l->waited_us ? waits : l->waited_us;
    }
}

/* How long what comes behind may wait: what is aimed at, thrice, and the least that is on its way.
 */
static uint64_t patience_us(const struct link *l)
{
    uint64_t part = l->delay_us / 8, least = (uint64_t)(PACE_MIN / l->rate * TICK_US);
    return 3 * (part < PACE_QUEUE_MIN_US ? PACE_QUEUE_MIN_US : part) + least;
}

static double share_idle(const struct link *l, uint64_t us)
{
    return (double)l->idle * TICK_US / (double)us;
}

static void keeps_links_busy_and_queues_short(void **state)
{
    static const struct {
        double rate;
        uint64_t delay_us;
    } links[] = {{250e6, 300}, {100e6, 1000}, {12.5e6, 40000}, {125e6, 10000}, {12.5e6, 2000}};
    (void)state;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct link l;
        begin(&l, links[i].rate, links[i].delay_us);
        run(&l, 2000000);
        run(&l, 2 * PERIOD_US);
        assert_true(share_idle(&l, 2 * PERIOD_US) < 0.01);
        assert_true(l.waited_us < patience_us(&l));
    }
}

static void yields_to_a_slower_link(void **state)
{
    struct link l;
    (void)state;
    begin(&l, 250e6, 300);
    run(&l, 1000000);
    uint64_t before = l.pace.limit;
    l.rate /= 8;
    run(&l, 300000);
    assert_true(l.pace.limit < before / 2);
    run(&l, 300000);
    assert_true(l.waited_us < patience_us(&l));
    l.rate *= 8;
    run(&l, 300000);
    run(&l, 300000);
    assert_true(share_idle(&l, 300000) < 0.05);
}

/* However slow, something is on its way, and there is always a mark that opens it again. */
static void never_stops(void **state)
{
    struct link l;
    (void)state;
    begin(&l, 20e3, 100000);
    run(&l, 60000000);
    assert_true(l.pace.limit < 2 * PACE_MIN);
    assert_true(l.passed > 20e3 * 58);
    l.rate *= 1000;
    run(&l, 2 * PERIOD_US);
    run(&l, PERIOD_US);
    assert_true(share_idle(&l, PERIOD_US) < 0.05);
}

/* A sender that is slower than the link: the bound does not grow beyond what is used, so that
 * little is on its way when the far end then takes nothing for a while. */
static void a_slow_sender_keeps_the_bound_low(void **state)
{
    struct link l;
    uint64_t end;
    (void)state;
    begin(&l, 1e9, 500);
    for (end = l.now_us + 1000000; l.now_us < end; l.now_us += TICK_US) {
        send_some(&l, 2); /* 320 MB/s: 160 KB are on their way */
        pass(&l);
    }
    assert_true(l.pace.limit < 1024 * 1024);
    l.rate = 0;
    for (end = l.now_us + 50000; l.now_us < end; l.now_us += TICK_US) {
        send_some(&l, 2);
        pass(&l);
    }
    assert_true((double)l.pace.sent - l.passed < 1024.0 * 1024);
}

static void open_while_nothing_is_awaited(void **state)
{
    struct pace p;
    uint64_t token = 0;
    (void)state;
    pace_begin(&p, 1);
    for (int i = 0; i < 100; i++)
        pace_sent(&p, FRAME, true, 1, &token);
    assert_false(pace_is_open(&p));
    pace_came(&p, token + 1, 2); /* another's */
    assert_int_equal(p.reached, 0);
    p.first = 0;
    p.count = 0; /* none is on its way any more */
    assert_true(pace_is_open(&p));
}

/* What cannot have a mark behind it counts all the same, and the next mark is behind it, too. */
static void what_has_no_mark_counts(void **state)
{
    struct pace p;
    uint64_t token;
    (void)state;
    pace_begin(&p, 1);
    for (int i = 0; i < 10; i++)
        assert_false(pace_sent(&p, FRAME, false, 1, &token));
    assert_int_equal(p.sent, 10 * FRAME);
    assert_int_equal(p.count, 0);
    assert_true(pace_sent(&p, FRAME, true, 1, &token));
    pace_came(&p, token, 2);
    assert_int_equal(p.reached, 11 * FRAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_links_busy_and_queues_short),
        cmocka_unit_test(yields_to_a_slower_link),
        cmocka_unit_test(never_stops),
        cmocka_unit_test(a_slow_sender_keeps_the_bound_low),
        cmocka_unit_test(open_while_nothing_is_awaited),
        cmocka_unit_test(what_has_no_mark_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
