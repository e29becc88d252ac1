/* The bin: what is put in is closed, and nobody waits for that. */
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "secondary/stage/bin.h"

enum { TOO_LONG_S = 60 };

/* The close of this one takes until it is told to end. */
static atomic_int slow = -1;
static sem_t go_on;

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    if (fd == slow)
        while (sem_wait(&go_on) < 0)
            ;
    return __real_close(fd);
}

static void test_nobody_waits(void **state)
{
    (void)state;
    char byte;
    int ends[2];
    struct bin *b = bin_new();
    sem_init(&go_on, 0, 0);
    alarm(TOO_LONG_S); /* a bin that waits would do so for ever */
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    slow = ends[1];
    bin_put(b, ends[1]);
    bin_free(b);
    sem_post(&go_on);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    slow = -1;
    close(ends[0]);
}

static void test_all_is_closed(void **state)
{
    (void)state;
    char byte;
    struct bin *b = bin_new();
    for (int i = 0; i < 200; i++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        bin_put(b, ends[1]);
        assert_int_equal(read(ends[0], &byte, 1), 0);
        close(ends[0]);
    }
    bin_wait(b);
    bin_free(b);
    bin_free(bin_new());
    bin_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_waits),
        cmocka_unit_test(test_all_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
