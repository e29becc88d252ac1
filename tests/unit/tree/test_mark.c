/* The mark beside a manifest: its line, and what is made of it after this boot and after another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "scratch.h"
#include "tree/manifest/mark.h"

static const char *boot = "first";

void __wrap_boot_id(char out[BOOT_ID + 1]);
void __wrap_boot_id(char out[BOOT_ID + 1])
{
    memset(out, 0, BOOT_ID + 1);
    snprintf(out, BOOT_ID + 1, "%s", boot);
}

static void test_line(void **state)
{
    (void)state;
    struct mark in = {.state = MARK_DURABLE,
        .generation = UINT64_MAX,
        .saved = 1700000000,
        .since = -1,
        .boot = "0123-4567",
        .given = UINT64_MAX,
        .taken = 7,
        .from = {{1, 2, 0xfe}}};
    struct mark out;
    char text[MARK_TEXT_MAX];
    mark_format(&in, text);
    assert_true(mark_parse(text, &out));
    assert_int_equal(out.state, in.state);
    assert_true(out.generation == in.generation && out.saved == in.saved && out.since == in.since);
    assert_string_equal(out.boot, in.boot);
    assert_true(out.given == in.given && out.taken == in.taken);
    assert_memory_equal(out.from.b, in.from.b, sizeof in.from.b);
    for (size_t n = 0; n < strlen(text); n++) {
        char part[MARK_TEXT_MAX];
        memcpy(part, text, n);
        part[n] = '\0';
        assert_false(mark_parse(part, &out));
    }
    assert_false(mark_parse("1 4 1 1 1 x\n", &out));
    assert_false(mark_parse("2 1 1 1 1 x\n", &out));
    assert_false(mark_parse("3 1 1 1 1 x 1 1 00\n", &out));
    assert_true(mark_parse("1 1 1 1 1 x\n", &out)); /* of an earlier release */
    assert_true(out.given == 0 && out.taken == 0);
    assert_false(mark_parse("1 1 1 1 1 x\nmore", &out));
}

/* Opens, as a process does, and leaves the mark in this state; the verdict. */
static int visit(int dir, const char *now, bool durable, enum mark_state left, struct mark *m)
{
    struct err err;
    boot = now;
    int verdict = mark_begin(dir, durable, m, &err);
    assert_true(verdict >= 0);
    struct mark end = *m;
    end.state = left;
    end.since = 0;
    assert_int_equal(mark_write(dir, &end, &err), 0);
    return verdict;
}

static void test_verdicts(void **state)
{
    (void)state;
    struct mark m;
    char *path = scratch_new();
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(visit(dir, "1", false, MARK_OPEN, &m), MARK_LOST); /* nothing there */
    assert_int_equal(m.since, 0);
    assert_int_equal(visit(dir, "1", false, MARK_OPEN, &m), MARK_TRUSTED); /* was killed */
    assert_int_equal(visit(dir, "2", false, MARK_CLEAN, &m), MARK_LOST);
    assert_true(m.since > 0);
    assert_int_equal(m.generation, 2);
    assert_int_equal(visit(dir, "3", true, MARK_DURABLE, &m), MARK_TRUSTED);
    assert_true(m.settled);
    assert_int_equal(visit(dir, "4", true, MARK_DURABLE, &m), MARK_TRUSTED);
    assert_int_equal(visit(dir, "4", false, MARK_OPEN, &m), MARK_TRUSTED);
    assert_int_equal(visit(dir, "4", true, MARK_DURABLE, &m), MARK_TRUSTED);
    assert_false(m.settled);
    assert_int_equal(m.generation, 2);
    close(dir);
    scratch_free(path);
}

static void test_nonsense_is_a_loss_of_all(void **state)
{
    (void)state;
    struct mark m;
    struct err err;
    char *path = scratch_new();
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(io_publish(dir, "mark", "\377\0x", 3, &err), 0);
    assert_int_equal(mark_begin(dir, false, &m, &err), MARK_LOST);
    assert_int_equal(m.since, 1);
    char *longer CLEANUP_FREE = mem_alloc(5000);
    assert_int_equal(io_publish(dir, "mark", longer, 5000, &err), 0);
    assert_int_equal(mark_begin(dir, false, &m, &err), MARK_LOST);
    assert_int_equal(m.since, 1);
    close(dir);
    scratch_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_nonsense_is_a_loss_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
