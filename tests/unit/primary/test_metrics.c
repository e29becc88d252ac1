/* Metrics: label values, the file's life, and one with nothing to push. That the format is right is
 * promtool's to say: e2e/test_metrics.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off: cmocka.h needs the four above */
#include <cmocka.h>
/* clang-format on */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"

static void test_labels(void **state)
{
    (void)state;
    char out[64], small[8];
    assert_string_equal(metrics_label(out, sizeof out, "example.com"), "example.com");
    assert_string_equal(metrics_label(out, sizeof out, "a\"b\\c"), "a\\\"b\\\\134c");
    assert_string_equal(metrics_label(out, sizeof out, "x\xff\n"), "x\\\\377\\\\012");
    assert_string_equal(metrics_label(out, sizeof out, "M\xc3\xbcnchen"), "M\xc3\xbcnchen");
    assert_true(strlen(metrics_label(small, sizeof small, "\"\"\"\"\"\"\"\"")) < sizeof small);
}

static struct daemon *daemon_made(void)
{
    struct daemon *d = mem_alloc(sizeof *d);
    TAILQ_INIT(&d->peers);
    TAILQ_INIT(&d->sites);
    return d;
}

static void test_the_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/mirrord-metrics-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path CLEANUP_FREE = mem_format("%s/mirrord.prom", dir), *text = NULL;
    struct daemon *d = daemon_made();
    struct role_site roles[] = {{.name = (char *)"shop", .idle = true, .fenced = true}};
    struct stat st;
    size_t len;
    struct err err;
    d->roles = roles;
    d->role_count = 1;
    assert_int_equal(metrics_tick(d), METRICS_NEVER_MS);
    metrics_set(d, path, 7000);
    assert_int_equal(metrics_tick(d), 7000);
    assert_int_equal(io_slurp(AT_FDCWD, path, 1 << 20, &text, &len, &err), 0);
    assert_non_null(strstr(text, "# TYPE mirrord_ready gauge\nmirrord_ready 0\n"));
    assert_non_null(strstr(text, "\nmirrord_site_primary{site=\"shop\"} 0\n"));
    assert_non_null(strstr(text, "\nmirrord_site_fenced{site=\"shop\"} 1\n"));
    assert_null(strstr(text, "mirrord_site_entries{"));
    assert_null(strstr(text, "nan"));
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);

    assert_int_equal(unlink(path), 0);
    assert_true(metrics_tick(d) <= 7000); /* not due */
    assert_int_equal(access(path, F_OK), -1);
    int before = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    d->ready = true; /* news need not wait */
    d->metrics.written_ms = d->metrics.due_ms - 7000 > 2000 ? d->metrics.due_ms - 9000 : 0;
    assert_int_equal(metrics_tick(d), 7000);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(fstat(before, &st), 0); /* whoever reads the one before has it whole */
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_nlink, 0);
    close(before);
    metrics_set(d, NULL, 7000);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0);

    log_set_level(LOG_LEVEL_ERROR);
    metrics_set(d, path, 7000); /* there is no such directory: said, and tried again */
    assert_int_equal(metrics_tick(d), 7000);
    metrics_end(d);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
