/* A filesystem on which leases do not work (NFS, FUSE): whether somebody writes cannot be asked, so
 * that 50 ms of quiet serve instead. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "scan_model.h"

int __wrap_writer_probe(int fd);
int __wrap_writer_probe(int fd)
{
    (void)fd;
    return -1;
}

enum { WRITES = 30, APART_US = 5000, QUIET_MS = 50, TRIES = 50 };

/* Appends for a while, closing it each time and never pausing for long; false: this machine paused.
 */
static bool write_on(const char *path)
{
    uint64_t last = io_now_ms();
    for (int i = 0; i < WRITES; i++) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        assert_int_equal(write(fd, "line\n", 5), 5);
        close(fd);
        usleep(APART_US);
        uint64_t now = io_now_ms();
        if (now - last > QUIET_MS / 2)
            return false;
        last = now;
    }
    return true;
}

static void test_quiet_serves(void **state)
{
    (void)state;
    static const char *const nothing[] = {NULL};
    struct model *m = model_new(nothing);
    bool seen = false;
    model_shell(m, "mkdir up");
    model_start(m);
    for (int i = 0; i < TRIES && !seen; i++) {
        char name[32];
        snprintf(name, sizeof name, "up/f%d", i);
        char *path CLEANUP_FREE = mem_format("%s/%s", model_root(m), name);
        seen = write_on(path);
        if (seen)
            assert_int_equal(model_owed(m, name), 0);
    }
    model_settle(m); /* and then all of it is told, and is what the disk has */
    model_free(m);
    if (!seen)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quiet_serves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
