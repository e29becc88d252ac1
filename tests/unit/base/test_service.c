/* What the service manager is told, read from a socket in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/service.h"

struct manager {
    int fd;
};

static int listen_as_manager(void **state)
{
    static struct manager m;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char name[64];
    int n = snprintf(name, sizeof name, "@mirrord-test-service-%d", (int)getpid());
    memcpy(a.sun_path + 1, name + 1, (size_t)n - 1);
    m.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    if (m.fd < 0 || bind(m.fd, (struct sockaddr *)&a, len) < 0)
        return -1;
    setenv("NOTIFY_SOCKET", name, 1);
    *state = &m;
    return 0;
}

static int leave(void **state)
{
    unsetenv("NOTIFY_SOCKET");
    return close(((struct manager *)*state)->fd);
}

static void expect(const struct manager *m, const char *wanted)
{
    char text[1024];
    ssize_t n = recv(m->fd, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, wanted);
}

static void test_told(void **state)
{
    struct manager *m = *state;
#ifndef HAVE_SYSTEMD
    skip();
#endif
    service_ready();
    expect(m, "READY=1");
    service_alive();
    expect(m, "WATCHDOG=1");
    service_status("%d sites", 3);
    expect(m, "STATUS=3 sites");
    service_stopping();
    expect(m, "STOPPING=1");
    service_reloading();
    char text[256] = "";
    assert_true(recv(m->fd, text, sizeof text - 1, 0) > 0);
    assert_ptr_equal(strstr(text, "RELOADING=1\nMONOTONIC_USEC="), text);
}

/* Half of the manager's patience; only for the process it is meant for. */
static void test_watchdog(void **state)
{
    (void)state;
    char pid[16];
#ifndef HAVE_SYSTEMD
    skip();
#endif
    assert_int_equal(service_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "60000000", 1);
    assert_int_equal(service_watchdog_ms(), 30000);
    snprintf(pid, sizeof pid, "%d", (int)getpid() + 1);
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(service_watchdog_ms(), 0);
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
}

/* Nobody listens: nothing happens. */
static void test_alone(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    service_ready();
    service_status("%s", "nobody hears it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_told, listen_as_manager, leave),
        cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
