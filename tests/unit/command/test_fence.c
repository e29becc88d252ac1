/* The fence of `receive -c`: it goes by the configuration as it is when a site is asked for, and a
 * primary cannot make it read that again and again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/config/fence.h"

#define HOSTS      "host web1 {}\nhost web2 {}\ninclude(\"conf.d/*.conf\")\n"
#define SITE(name) "site " name " { root = /srv/" name " hosts = {web1, web2} primary = web1 }\n"

struct world {
    char dir[64];
    char *main;
    struct fence *fence;
    struct receive_fence asked;
    int opened; /* inotify: the configuration was read */
};

static void write_file(const struct world *w, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static bool may(struct world *w, const char *site, struct err *err)
{
    struct receive_grant grant;
    if (w->asked.resolve(w->asked.ctx, bytes_of(site), (struct bytes){0}, &grant, err) < 0)
        return false;
    free(grant.root);
    return true;
}

/* How often the main file was opened since this was asked last. */
static unsigned readings(const struct world *w)
{
    struct inotify_event events[64];
    unsigned n = 0;
    ssize_t got;
    while ((got = read(w->opened, events, sizeof events)) > 0)
        for (size_t i = 0; i < (size_t)got / sizeof *events; i++)
            n += (events[i].mask & IN_OPEN) != 0;
    return n;
}

/* What was written just now may have been changed while it was read: until that is over. */
static void let_it_age(struct world *w)
{
    struct err err;
    do {
        readings(w);
        may(w, "unknown", &err);
    } while (readings(w) > 0);
}

static int make(void **state)
{
    struct world *w = mem_alloc(sizeof *w);
    struct err err;
    strcpy(w->dir, "/tmp/mirrord-fence-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    char *more = mem_format("%s/conf.d", w->dir);
    w->main = mem_format("%s/mirrord.conf", w->dir);
    write_file(w, "mirrord.conf", HOSTS SITE("a"));
    w->opened = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (mkdir(more, 0755) < 0 ||
        inotify_add_watch(w->opened, w->main, IN_OPEN | IN_MASK_CREATE) < 0)
        return -1;
    free(more);
    if (fence_open(w->main, "web2", &w->fence, &err) < 0)
        return -1;
    w->asked = fence_of(w->fence);
    let_it_age(w);
    *state = w;
    return 0;
}

static int unmake(void **state)
{
    struct world *w = *state;
    char *command = mem_format("rm -rf '%s'", w->dir);
    int rc = system(command);
    fence_close(w->fence);
    close(w->opened);
    free(command);
    free(w->main);
    free(w);
    return rc;
}

static void test_unknown_sites_are_no_reason_to_read(void **state)
{
    struct world *w = *state;
    struct err err;
    for (int i = 0; i < 1000; i++) {
        assert_false(may(w, "nobody", &err));
        assert_true(may(w, "a", &err));
    }
    assert_non_null(strstr(err.text, "there is no site nobody in "));
    assert_int_equal(readings(w), 0);
}

/* At once, wherever it is configured. */
static void test_a_new_site_is_known_at_once(void **state)
{
    struct world *w = *state;
    struct err err;
    assert_false(may(w, "b", &err));
    write_file(w, "conf.d/b.conf", SITE("b"));
    assert_true(may(w, "b", &err));
    assert_false(may(w, "c", &err));
    write_file(w, "conf.d/b.conf", SITE("c"));
    assert_true(may(w, "c", &err));
    assert_false(may(w, "b", &err));
    write_file(w, "mirrord.conf", HOSTS SITE("b"));
    assert_true(may(w, "b", &err));
    assert_false(may(w, "a", &err));
}

static void test_one_that_cannot_be_read_is_tried_once_a_second(void **state)
{
    struct world *w = *state;
    struct err err;
    write_file(w, "conf.d/b.conf", "nonsense = 1\n");
    uint64_t began = io_now_ms();
    readings(w);
    for (int i = 0; i < 1000; i++)
        assert_false(may(w, "b", &err));
    uint64_t most = 2 + (io_now_ms() - began) / FENCE_AGAIN_MS;
    assert_non_null(strstr(err.text, "there is no site b in "));
    assert_non_null(strstr(err.text, "which cannot be read now: "));
    assert_non_null(strstr(err.text, "nonsense"));
    assert_in_range(readings(w), 1, most);
    assert_true(may(w, "a", &err)); /* the former one counts */
    write_file(w, "mirrord.conf", HOSTS SITE("b"));
    assert_false(may(w, "b", &err));
    char *bad = mem_format("%s/conf.d/b.conf", w->dir);
    assert_int_equal(unlink(bad), 0);
    free(bad);
    assert_true(may(w, "b", &err));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_unknown_sites_are_no_reason_to_read),
        CASE(test_a_new_site_is_known_at_once),
        CASE(test_one_that_cannot_be_read_is_tried_once_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
