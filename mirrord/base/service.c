/* The service manager; see service.h. The only file that includes libsystemd. */
#include "base/service.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#else
static int sd_notify(int unset, const char *state)
{
    (void)unset;
    (void)state;
    return 0;
}

static int sd_watchdog_enabled(int unset, uint64_t *usec)
{
    (void)unset;
    (void)usec;
    return 0;
}
#endif

unsigned service_watchdog_ms(void)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0)
        return 0;
    return usec > 2000 ? (unsigned)(usec / 2000) : 1;
}

void service_ready(void)
{
    sd_notify(0, "READY=1");
}

void service_reloading(void)
{
    struct timespec now;
    char text[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
        (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    sd_notify(0, text);
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void service_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}

void service_status(const char *fmt, ...)
{
    char text[512] = "STATUS=";
    const size_t start = sizeof "STATUS=" - 1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + start, sizeof text - start, fmt, ap);
    va_end(ap);
    sd_notify(0, text);
}
