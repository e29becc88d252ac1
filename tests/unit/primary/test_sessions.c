/* The numbers of openings: none twice, whatever ends the process, and what their order tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../tree/scratch.h"
#include "base/io.h"
#include "base/mem.h"
#include "primary/sessions.h"

static const struct digest web2 = {{2}}, web3 = {{3}};

struct place {
    char *path;
    int dir;
    struct mark mark;
    struct sessions *s;
};

/* As site_open does it. */
static void begin(struct place *p)
{
    struct err err;
    assert_true(mark_begin(p->dir, false, &p->mark, &err) >= 0);
    p->s = sessions_new(p->dir, &p->mark);
    assert_int_equal(mark_write(p->dir, &p->mark, &err), 0);
}

static void end(struct place *p, bool clean)
{
    struct err err;
    if (clean) {
        sessions_close(p->s);
        p->mark.state = MARK_CLEAN;
        assert_int_equal(mark_write(p->dir, &p->mark, &err), 0);
    }
    sessions_free(p->s);
    p->s = NULL;
}

static int setup(void **state)
{
    struct place *p = mem_alloc(sizeof *p);
    p->path = scratch_new();
    p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    begin(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    sessions_free(p->s);
    close(p->dir);
    scratch_free(p->path);
    free(p);
    return 0;
}

static void test_no_number_twice(void **state)
{
    struct place *p = *state;
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        int count = i == 10 ? 1000 : i; /* more than one block */
        for (int k = 0; k < count; k++) {
            uint64_t next = sessions_next(p->s);
            assert_true(next > last);
            last = next;
        }
        end(p, i % 3 == 0); /* else it was killed */
        begin(p);
    }
    /* A clean end gives back what was reserved. */
    end(p, true);
    begin(p);
    uint64_t next = sessions_next(p->s);
    end(p, true);
    begin(p);
    assert_int_equal(sessions_next(p->s), next + 1);
}

static void test_what_was_answered_is_remembered(void **state)
{
    struct place *p = *state;
    uint64_t a = sessions_next(p->s), b = sessions_next(p->s);
    assert_int_equal(sessions_known(p->s, &web2), 0);
    assert_int_equal(sessions_opened(p->s, &web2, a, 0), SESSIONS_RISE);
    assert_int_equal(sessions_opened(p->s, &web3, b, 0), SESSIONS_RISE);
    end(p, false); /* killed */
    begin(p);
    assert_int_equal(sessions_known(p->s, &web2), a);
    assert_int_equal(sessions_known(p->s, &web3), b);
    /* An answer that was lost on its way: it has seen more than we know, and less than we gave. */
    uint64_t lost = sessions_next(p->s), next = sessions_next(p->s);
    assert_int_equal(sessions_opened(p->s, &web2, next, lost), SESSIONS_RISE);
    end(p, true);
    begin(p);
    assert_int_equal(sessions_known(p->s, &web2), next);
}

static void test_the_secondary_went_back(void **state)
{
    struct place *p = *state;
    uint64_t a = sessions_next(p->s), b = sessions_next(p->s), c = sessions_next(p->s);
    sessions_opened(p->s, &web2, a, 0);
    assert_int_equal(sessions_opened(p->s, &web2, b, a), SESSIONS_RISE);
    assert_int_equal(sessions_opened(p->s, &web2, c, a), SESSIONS_BACK_THERE);
    assert_int_equal(sessions_opened(p->s, &web2, sessions_next(p->s), c), SESSIONS_RISE);
    /* One that has forgotten everything is new. */
    assert_int_equal(sessions_opened(p->s, &web2, sessions_next(p->s), 0), SESSIONS_RISE);
}

static void test_the_primary_went_back(void **state)
{
    struct place *p = *state;
    uint64_t number = sessions_next(p->s);
    assert_int_equal(sessions_opened(p->s, &web2, number, 40000), SESSIONS_BACK_HERE);
    assert_int_equal(sessions_known(p->s, &web2), 40000);
    number = sessions_next(p->s);
    assert_int_equal(number, 40001); /* and on from there */
    assert_int_equal(sessions_opened(p->s, &web2, number, 40000), SESSIONS_RISE);
    end(p, false);
    begin(p);
    assert_true(sessions_next(p->s) > number);
    /* What nobody can have counted to does not stop the count. */
    sessions_opened(p->s, &web3, sessions_next(p->s), UINT64_MAX);
    number = sessions_next(p->s);
    assert_true(number > 40001);
    assert_true(sessions_next(p->s) == number + 1);
}

static void test_a_damaged_file(void **state)
{
    struct place *p = *state;
    struct err err;
    sessions_opened(p->s, &web2, sessions_next(p->s), 0);
    end(p, true);
    static const char junk[] = "not a session\n";
    assert_int_equal(io_publish(p->dir, "sessions", junk, strlen(junk), &err), 0);
    begin(p);
    assert_int_equal(sessions_known(p->s, &web2), 0);
    assert_int_equal(sessions_next(p->s), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_no_number_twice),
        T(test_what_was_answered_is_remembered),
        T(test_the_secondary_went_back),
        T(test_the_primary_went_back),
        T(test_a_damaged_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
