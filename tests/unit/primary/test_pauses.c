/* Pauses: remembered over a restart, ended by time or by hand, and nothing damaged is believed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/pauses.h"

struct place {
    char dir[64];
    struct pauses *p;
};

static int setup(void **state)
{
    struct place *place = mem_alloc(sizeof *place);
    strcpy(place->dir, "/dev/shm/mirrord-pauses-XXXXXX");
    if (!mkdtemp(place->dir)) {
        strcpy(place->dir, "/tmp/mirrord-pauses-XXXXXX");
        if (!mkdtemp(place->dir))
            return -1;
    }
    *state = place;
    return pauses_open(place->dir, &place->p, NULL);
}

static int teardown(void **state)
{
    struct place *place = *state;
    char *command = mem_format("rm -rf '%s'", place->dir);
    int rc = system(command);
    pauses_free(place->p);
    free(command);
    free(place);
    return rc;
}

static void reopen(struct place *place)
{
    pauses_free(place->p);
    assert_int_equal(pauses_open(place->dir, &place->p, NULL), 0);
}

static void write_file(const struct place *place, const char *text)
{
    char *path = mem_format("%s/paused", place->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    free(path);
}

static void test_remembered(void **state)
{
    struct place *place = *state;
    int64_t now = time(NULL);
    assert_null(pauses_find(place->p, PAUSE_SITE, "shop"));
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "shop", 0, "a\nmove\x7f", NULL), 0);
    assert_int_equal(pauses_set(place->p, PAUSE_HOST, "web2", now + 60, NULL, NULL), 0);
    reopen(place);
    const struct pause *shop = pauses_find(place->p, PAUSE_SITE, "shop");
    assert_non_null(shop);
    assert_string_equal(shop->reason, "a move ");
    assert_true(shop->since >= now && shop->until == 0);
    assert_null(pauses_find(place->p, PAUSE_HOST, "shop"));
    const struct pause *web2 = pauses_find(place->p, PAUSE_HOST, "web2");
    assert_int_equal(web2->until, now + 60);
    assert_string_equal(web2->reason, "");
}

static void test_ended(void **state)
{
    struct place *place = *state;
    assert_int_equal(pauses_end(place->p, PAUSE_SITE, "shop", NULL), 1);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "shop", 0, "one", NULL), 0);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "shop", 0, "two", NULL), 0);
    assert_string_equal(pauses_find(place->p, PAUSE_SITE, "shop")->reason, "two");
    assert_int_equal(pauses_end(place->p, PAUSE_SITE, "shop", NULL), 0);
    assert_null(pauses_find(place->p, PAUSE_SITE, "shop"));
    reopen(place);
    assert_null(pauses_find(place->p, PAUSE_SITE, "shop"));
}

static void test_expired(void **state)
{
    struct place *place = *state;
    int64_t now = time(NULL), next;
    assert_false(pauses_expire(place->p, now, &next));
    assert_int_equal(next, INT64_MAX);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "a", now + 100, "", NULL), 0);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "b", now + 200, "", NULL), 0);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "c", 0, "", NULL), 0);
    assert_false(pauses_expire(place->p, now + 99, &next));
    assert_int_equal(next, now + 100);
    assert_true(pauses_expire(place->p, now + 100, &next));
    assert_int_equal(next, now + 200);
    reopen(place);
    assert_null(pauses_find(place->p, PAUSE_SITE, "a"));
    assert_non_null(pauses_find(place->p, PAUSE_SITE, "b"));
    assert_non_null(pauses_find(place->p, PAUSE_SITE, "c"));
}

static void test_refused(void **state)
{
    struct place *place = *state;
    struct err err;
    char longest[PAUSE_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const names[] = {"", "two words", "two\nlines", longest};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(pauses_set(place->p, PAUSE_SITE, names[i], 0, "", &err), -1);
        assert_int_equal(err.code, ERR_USAGE);
    }
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "x", time(NULL) - 1, "", &err), -1);
    assert_null(pauses_find(place->p, PAUSE_SITE, "x"));
}

/* A line that is not understood is left out, the others count. */
static void test_damaged(void **state)
{
    struct place *place = *state;
    write_file(place, "1 0 site good why not\nnonsense\n1 0 tree bad x\n5 0 host web2\n1 0 site\n");
    reopen(place);
    assert_string_equal(pauses_find(place->p, PAUSE_SITE, "good")->reason, "why not");
    assert_string_equal(pauses_find(place->p, PAUSE_HOST, "web2")->reason, "");
    assert_null(pauses_find(place->p, PAUSE_SITE, "bad"));
    assert_int_equal(pauses_end(place->p, PAUSE_SITE, "good", NULL), 0);
}

/* What cannot be written changes nothing. */
static void test_unwritable(void **state)
{
    struct place *place = *state;
    struct err err;
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "a", 0, "old", NULL), 0);
    char *in_the_way = mem_format("mkdir '%s/paused.new'", place->dir);
    assert_int_equal(system(in_the_way), 0);
    free(in_the_way);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "b", 0, "", &err), -1);
    assert_int_equal(pauses_set(place->p, PAUSE_SITE, "a", 0, "new", &err), -1);
    assert_int_equal(pauses_end(place->p, PAUSE_SITE, "a", &err), -1);
    assert_null(pauses_find(place->p, PAUSE_SITE, "b"));
    assert_string_equal(pauses_find(place->p, PAUSE_SITE, "a")->reason, "old");
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(test_remembered),
        IN_PLACE(test_ended),
        IN_PLACE(test_expired),
        IN_PLACE(test_refused),
        IN_PLACE(test_damaged),
        IN_PLACE(test_unwritable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
