/* Room: what is kept free, what fits, and when a full disk counts as one with room again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <unistd.h>

#include "tree/state/space.h"

static void test_keep(void **state)
{
    (void)state;
    const struct space s = {.all_bytes = 1050, .all_files = 200};
    struct space_keep k = space_keep(&(struct space_rule){.percent = 10}, &s);
    assert_true(k.bytes == 105 && k.files == 20);
    k = space_keep(&(struct space_rule){.bytes = 700}, &s);
    assert_true(k.bytes == 700 && k.files == 0);
    k = space_keep(&(struct space_rule){0}, &s);
    assert_true(k.bytes == 0 && k.files == 0);
    const struct space huge = {.all_bytes = UINT64_MAX};
    k = space_keep(&(struct space_rule){.percent = 50}, &huge);
    assert_true(k.bytes == UINT64_MAX / 2);
    k = space_keep_both((struct space_keep){1, 9}, (struct space_keep){5, 2});
    assert_true(k.bytes == 5 && k.files == 9);
}

static void test_fits(void **state)
{
    (void)state;
    const struct space s = {100, 1000, 10, 50};
    assert_true(space_fits(&s, (struct space_keep){60, 0}, 40, 99));
    assert_false(space_fits(&s, (struct space_keep){60, 0}, 41, 0));
    assert_false(space_fits(&s, (struct space_keep){60, 0}, UINT64_MAX, 0));
    assert_true(space_fits(&s, (struct space_keep){0, 9}, UINT64_MAX, 1));
    assert_false(space_fits(&s, (struct space_keep){0, 9}, 0, 2));
    assert_true(space_fits(&s, (struct space_keep){0, 0}, UINT64_MAX, UINT64_MAX));
    assert_true(space_fits(&(struct space){0}, (struct space_keep){60, 0}, 1, 1)); /* never told */
}

static void test_hysteresis(void **state)
{
    (void)state;
    const struct space_keep keep = {800, 80};
    assert_false(space_is_low(&(struct space){800, 1000, 80, 99}, keep, false));
    assert_true(space_is_low(&(struct space){799, 1000, 80, 99}, keep, false));
    assert_true(space_is_low(&(struct space){899, 1000, 90, 99}, keep, true));
    assert_true(space_is_low(&(struct space){900, 1000, 89, 99}, keep, true));
    assert_false(space_is_low(&(struct space){900, 1000, 90, 99}, keep, true));
}

static void test_look(void **state)
{
    (void)state;
    struct space s;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(space_look(fd, &s), 0);
    assert_true(s.all_bytes > 0 && s.free_bytes <= s.all_bytes && s.free_files <= s.all_files);
    assert_int_equal(space_look(-1, &s), -1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_hysteresis),
        cmocka_unit_test(test_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
