/* That an epoch was written is noticed without being looked for all the time. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "tree/state/epochs.h"

enum { PATIENCE_MS = 20000, LONG_MS = 5000 };

static void write_epoch(const char *state, const char *root, uint64_t counter)
{
    struct err err;
    struct epoch e = {.counter = counter, .primary = "web2"};
    int fd CLEANUP_FD = epochs_open(state, root, true, &err);
    if (fd < 0 || epoch_write(fd, &e, &err) < 0)
        fail_msg("%s", err.text);
}

/* Until all that happened is seen: true if one of the looks said that an epoch is another. */
static bool wakes(struct daemon *d, unsigned *wait)
{
    struct pollfd p = {.fd = d->roles_fd, .events = POLLIN};
    bool changed = false;
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    while (poll(&p, 1, 0) > 0) {
        roles_wake(d);
        changed |= roles_changed(d, wait);
    }
    return changed;
}

static void test_an_epoch_is_written(void **state)
{
    (void)state;
    char top[] = "/tmp/mirrord-roles-XXXXXX";
    assert_non_null(mkdtemp(top));
    char *states = mem_format("%s/state", top), *root = mem_format("%s/root", top);
    assert_int_equal(mkdir(states, 0700) | mkdir(root, 0700), 0);
    struct daemon_site site = {.options = {.name = "a", .root = root}};
    struct daemon_plan plan = {.sites = &site, .site_count = 1};
    struct daemon d = {.state_dir = states, .self = (char *)"web1", .roles_fd = -1};
    unsigned wait;
    roles_apply(&d, &plan);
    assert_false(roles_changed(&d, &wait));
    assert_true(wait > LONG_MS);
    write_epoch(states, root, 1); /* what it is in is made for it */
    assert_true(wakes(&d, &wait));
    assert_true(wait > LONG_MS);
    write_epoch(states, root, 2);
    assert_true(wakes(&d, &wait));
    assert_false(roles_changed(&d, &wait));
    roles_free(&d);
    char *command CLEANUP_FREE = mem_format("rm -rf %s", top);
    assert_int_equal(system(command), 0);
    free(states);
    free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_epoch_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
