/* Which signals a thread gets, and that who starts it keeps its own. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/thread.h"

static void *look(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, arg);
    return arg;
}

static void test_only_sigsys(void **state)
{
    (void)state;
    sigset_t mine, there, after;
    pthread_t thread;
    void *came;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
    assert_int_equal(thread_start(&thread, look, &there), 0);
    assert_int_equal(pthread_join(thread, &came), 0);
    assert_ptr_equal(came, &there);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    static const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGCHLD};
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        assert_int_equal(sigismember(&there, blocked[i]), 1);
        assert_int_equal(sigismember(&after, blocked[i]), blocked[i] == SIGUSR1);
    }
    assert_int_equal(sigismember(&there, SIGSYS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_sigsys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
