/* Epochs: who wins, what is stored, and that a damaged file lets nobody in. */
#include "tree/state/epoch.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

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

/* The last number there is would keep everybody else from being promoted for ever. */
static void no_promotion_leads_so_far(void **state)
{
    struct place *p = *state;
    assert_int_equal(present(p, false, UINT64_MAX, &web2), 1);
    assert_int_equal(present(p, false, EPOCH_STEP_MAX + 1, &web2), 1);
    assert_int_equal(stored(p).role, ROLE_CONFIGURED);
    assert_int_equal(present(p, false, EPOCH_STEP_MAX, &web2), 0);
    assert_int_equal(present(p, false, UINT64_MAX, &web2), 1);
    assert_int_equal(stored(p).counter, EPOCH_STEP_MAX);
}

/* It stands in a line of a file, and is printed. */
static void a_host_may_call_itself_anything(void **state)
{
    static const struct {
        const char *name, *kept;
    } cases[] = {{"", "?"}, {"  ", "?"}, {"\n", "?012"}, {"a\n1 9", "a?0121 9"}, {" b", "b"},
        {"\x1b[2J", "?033[2J"}, {"\xc2\x9b", "?302?233"}, {"w\xc3\xa9", "w\xc3\xa9"}};
    struct place *p = *state;
    struct epoch now;
    struct err err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(epoch_present(p->dir, false, i + 1, &web2, cases[i].name, &now, &err), 0);
        assert_string_equal(now.primary, cases[i].kept);
        assert_string_equal(stored(p).primary, cases[i].kept);
    }
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

/* --- where it lies --- */

static void put(const char *state, const char *name, const char *text)
{
    char *path CLEANUP_FREE = mem_format("%s/roots/%s", state, name);
    struct err err;
    *strrchr(path, '/') = '\0';
    assert_int_equal(io_make_path(path, 0700, &err), 0);
    int dir CLEANUP_FD = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(io_publish(dir, strrchr(name, '/') + 1, text, strlen(text), &err), 0);
}

static unsigned names_in(const char *path)
{
    char *command CLEANUP_FREE = mem_format("exit $(ls -A %s | wc -l)", path);
    return (unsigned)WEXITSTATUS(system(command));
}

/* Epochs from before they had directories of their own are moved, once: what comes to lie there
 * afterwards is none. */
static void those_of_before_are_moved_once(void **state)
{
    struct place *p = *state;
    struct epoch e;
    struct err err;
    char *dir CLEANUP_FREE = state_root_dir(p->path, "/srv/www");
    char *other CLEANUP_FREE = state_root_dir(p->path, "/srv/other");
    char *epoch CLEANUP_FREE = mem_format("%s/epoch", strstr(dir, "www-"));
    char *forged CLEANUP_FREE = mem_format("%s/epoch", strstr(other, "other-"));
    char *intent CLEANUP_FREE = mem_format("%s/handover", strstr(dir, "www-"));
    put(p->path, epoch, "1 7 00000000000000000000000000000001 primary web1\n");
    put(p->path, intent, "web2");
    assert_int_equal(epoch_of(p->path, "/srv/www", &e, &err), 0); /* who may only read */
    assert_int_equal(e.counter, 7);
    int all CLEANUP_FD = epochs_open_all(p->path, &err);
    assert_true(all >= 0);
    assert_int_equal(epoch_of(p->path, "/srv/www", &e, &err), 0);
    assert_int_equal(e.counter, 7);
    assert_int_equal(names_in(dir), 0);
    assert_int_equal(names_in(p->path), 2); /* roots, epochs */
    int fd CLEANUP_FD = epochs_open_resolved(p->path, "/srv/www", false, &err);
    assert_true(fd >= 0 && faccessat(fd, "handover", F_OK, 0) == 0);
    put(p->path, forged, "1 9 00000000000000000000000000000001 primary web1\n");
    int again CLEANUP_FD = epochs_open_all(p->path, &err);
    assert_true(again >= 0);
    assert_int_equal(epoch_of(p->path, "/srv/other", &e, &err), 0);
    assert_int_equal(e.role, ROLE_CONFIGURED);
}

static void it_is_for_all_to_pass(void **state)
{
    struct place *p = *state;
    struct stat st;
    struct err err;
    mode_t before = umask(077);
    assert_int_equal(epochs_open_resolved(p->path, "/srv/www", false, &err), EPOCHS_NONE);
    int fd CLEANUP_FD = epochs_open_resolved(p->path, "/srv/www", true, &err);
    umask(before);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(st.st_mode & 0777, 0711);
    assert_int_equal(faccessat(fd, EPOCH_LOCK, F_OK, 0), 0);
    assert_int_equal(fstat(p->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0711);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_configuration_counts_at_first),
        T(the_higher_one_wins),
        T(no_promotion_leads_so_far),
        T(a_host_may_call_itself_anything),
        T(the_primary_itself_is_not_written_to),
        T(fenced_until_the_new_primary_comes),
        T(a_damaged_one_refuses_all),
        T(all_may_read_it),
        T(those_of_before_are_moved_once),
        T(it_is_for_all_to_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
