/* Epochs: who wins, what is stored, and that a damaged file lets nobody in. */
#include "tree/epoch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scratch.h"

static const struct digest web1 = {{1}}, web2 = {{2}};

struct place {
    char *path;
    int dir;
};

static int set_up(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    p->path = scratch_new();
    p->dir = open(p->path, O_RDONLY | O_DIRECTORY);
    *state = p;
    return p->dir < 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    close(p->dir);
    scratch_free(p->path);
    free(p);
    return 0;
}

static struct epoch stored(struct place *p)
{
    struct epoch e;
    struct err err;
    assert_int_equal(epoch_read(p->dir, &e, &err), 0);
    return e;
}

static int present(struct place *p, bool primary_here, uint64_t counter, const struct digest *id)
{
    struct epoch now;
    struct err err;
    int r = epoch_present(p->dir, primary_here, counter, id, "host", &now, &err);
    if (r == 1)
        assert_int_equal(err.code, ERR_REFUSED);
    return r;
}

static void the_configuration_counts_at_first(void **state)
{
    struct place *p = *state;
    assert_int_equal(stored(p).role, ROLE_CONFIGURED);
    assert_int_equal(epoch_stamp(p->dir), 0);
    assert_int_equal(present(p, false, 0, &(struct digest){0}), 0);
    assert_int_equal(present(p, true, 0, &(struct digest){0}), 1);
    assert_int_equal(stored(p).role, ROLE_CONFIGURED);
}

static void the_higher_one_wins(void **state)
{
    struct place *p = *state;
    assert_int_equal(present(p, true, 2, &web2), 0);
    assert_int_equal(stored(p).counter, 2);
    assert_int_equal(stored(p).role, ROLE_SECONDARY);
    assert_string_equal(stored(p).primary, "host");
    assert_int_equal(present(p, true, 2, &web2), 0);
    assert_int_equal(present(p, true, 1, &web1), 1);
    assert_int_equal(present(p, true, 0, &(struct digest){0}), 1);
    assert_int_equal(present(p, true, 2, &web1), 1); /* a split */
    assert_int_equal(stored(p).counter, 2);
    assert_int_equal(present(p, false, 3, &web1), 0);
    assert_memory_equal(stored(p).id.b, web1.b, sizeof web1.b);
}

static void the_primary_itself_is_not_written_to(void **state)
{
    struct place *p = *state;
    struct err err;
    struct epoch e = {.counter = 4, .id = web1, .role = ROLE_PRIMARY, .primary = "web1"};
    assert_int_equal(epoch_write(p->dir, &e, &err), 0);
    uint64_t stamp = epoch_stamp(p->dir);
    assert_int_equal(present(p, false, 4, &web1), 1); /* a clone */
    assert_int_equal(present(p, false, 4, &web2), 1);
    assert_int_equal(stored(p).role, ROLE_PRIMARY);
    assert_true(epoch_stamp(p->dir) == stamp);
    assert_int_equal(present(p, false, 5, &web2), 0);
    assert_int_equal(stored(p).role, ROLE_SECONDARY);
    assert_false(epoch_stamp(p->dir) == stamp);
}

static void fenced_until_the_new_primary_comes(void **state)
{
    struct place *p = *state;
    struct err err;
    struct epoch e = {.counter = 4, .id = web2, .role = ROLE_FENCED, .primary = "web2"};
    assert_int_equal(epoch_write(p->dir, &e, &err), 0);
    assert_int_equal(present(p, true, 4, &web2), 0);
    assert_int_equal(stored(p).role, ROLE_SECONDARY);
}

static void a_damaged_one_refuses_all(void **state)
{
    static const char *const damaged[] = {"", "1", "1 5 00",
        "2 5 00000000000000000000000000000000 primary x\n",
        "1 5 0000000000000000000000000000000g primary x\n",
        "1 5 00000000000000000000000000000000 king x\n"};
    struct place *p = *state;
    struct epoch e;
    struct err err;
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        assert_true(scratch_write(p->dir, "epoch", damaged[i]));
        assert_int_equal(epoch_read(p->dir, &e, &err), -1);
        assert_int_equal(present(p, false, 9, &web2), -1);
    }
}

static void all_may_read_it(void **state)
{
    struct place *p = *state;
    struct stat st;
    struct err err;
    struct epoch e = {.counter = 1, .id = web1, .role = ROLE_PRIMARY};
    assert_int_equal(epoch_write(p->dir, &e, &err), 0);
    assert_int_equal(fstatat(p->dir, "epoch", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_configuration_counts_at_first),
        T(the_higher_one_wins),
        T(the_primary_itself_is_not_written_to),
        T(fenced_until_the_new_primary_comes),
        T(a_damaged_one_refuses_all),
        T(all_may_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
