/* How much of the scanner's time looks at flushes take, by a clock that only they turn: each asks
 * for the time once, and takes as long as the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include "base/mem.h"
#include "primary/scan/scan_impl.h"

enum { SITES_MAX = 300, OTHER_US = 50, LONG_US = 20 * 1000 * 1000, SHARE = 10 };

static uint64_t clock_us, look_us, looked_us;

uint64_t __wrap_io_now_us(void);
uint64_t __wrap_io_now_ms(void);

uint64_t __wrap_io_now_us(void)
{
    return clock_us;
}

/* Asked for by each look at a flush. */
uint64_t __wrap_io_now_ms(void)
{
    clock_us += look_us;
    looked_us += look_us;
    return clock_us / 1000;
}

struct fixture {
    struct scan scan;
    struct scan_site sites[SITES_MAX];
    struct scan_flush *flushes;
    unsigned count;
};

/* Flushes that are never done: of a unit, for which an answer is not there yet. */
static struct fixture *with(unsigned sites, unsigned flushes)
{
    struct fixture *f = mem_alloc(sizeof *f);
    f->flushes = mem_array(sites * flushes, sizeof *f->flushes);
    f->count = sites;
    clock_us = 1000000;
    looked_us = 0;
    TAILQ_INIT(&f->scan.sites);
    for (unsigned i = 0; i < sites; i++) {
        struct scan_site *s = &f->sites[i];
        *s = (struct scan_site){.scan = &f->scan, .status = {.state = SCAN_OK}};
        TAILQ_INSERT_TAIL(&f->scan.sites, s, order);
        LIST_INIT(&s->flushes);
        for (unsigned j = 0; j < flushes; j++) {
            struct scan_flush *flush = &f->flushes[i * flushes + j];
            *flush = (struct scan_flush){.scan = &f->scan, .unit = bytes_of("unit"), .answers = 1};
            LIST_INSERT_HEAD(&s->flushes, flush, order);
        }
    }
    return f;
}

static void clear(struct fixture *f)
{
    free(f->flushes);
    free(f);
}

/* As the scanner's thread: something else for each site, then its flushes; the fewest and the most
 * looks that a site got, and the time of all looks in thousandths. */
struct seen {
    unsigned fewest, most;
    uint64_t share;
};

static struct seen run(struct fixture *f)
{
    unsigned *looks = mem_array(f->count, sizeof *looks);
    uint64_t began = clock_us;
    while (clock_us < began + LONG_US)
        for (unsigned i = 0; i < f->count; i++) {
            clock_us += OTHER_US;
            barrier_check(&f->sites[i]);
            looks[i] += !f->sites[i].barrier_skipped;
        }
    struct seen seen = {.fewest = looks[0], .share = looked_us * 1000 / (clock_us - began)};
    for (unsigned i = 0; i < f->count; i++) {
        seen.fewest = looks[i] < seen.fewest ? looks[i] : seen.fewest;
        seen.most = looks[i] > seen.most ? looks[i] : seen.most;
    }
    free(looks);
    return seen;
}

static void check(unsigned sites, unsigned flushes, uint64_t us)
{
    struct fixture *f = with(sites, flushes);
    look_us = us;
    struct seen seen = run(f);
    clear(f);
    /* what the last round had too many of is not paid back */
    assert_in_range(seen.share, 1, 1000 / SHARE + us * flushes * sites * 1000 / LONG_US);
    assert_true(seen.fewest > 0);
    assert_true(seen.most - seen.fewest <= 1);
}

static void of_one_site(void **state)
{
    (void)state;
    check(1, 1, 10);
    check(1, 16, 10);
    check(1, 1, 5000);
    check(1, 16, 5000);
}

static void of_many_sites(void **state)
{
    (void)state;
    check(20, 16, 10);
    check(20, 16, 500);
    check(SITES_MAX, 1, 10);
    check(SITES_MAX, 16, 100);
}

/* Sites that wait for nothing take nothing from those that do. */
static void by_itself_it_is_soon(void **state)
{
    (void)state;
    struct fixture *f = with(SITES_MAX, 1);
    for (unsigned i = 1; i < SITES_MAX; i++)
        LIST_INIT(&f->sites[i].flushes);
    look_us = 10;
    barrier_check(&f->sites[0]);
    assert_false(f->sites[0].barrier_skipped);
    barrier_check(&f->sites[0]);
    assert_true(f->sites[0].barrier_skipped);
    uint64_t now = clock_us / 1000;
    assert_in_range(barrier_next_ms(&f->sites[0], now), now, now + 1);
    clock_us += 2 * SHARE * look_us;
    barrier_check(&f->sites[0]);
    assert_false(f->sites[0].barrier_skipped);
    clear(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_one_site),
        cmocka_unit_test(of_many_sites),
        cmocka_unit_test(by_itself_it_is_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
