/*
 * What a service tells its manager (sd_notify(3)). Nothing is told, and nothing fails, where none
 * listens or mirrord was built without libsystemd.
 */
#ifndef BASE_SERVICE_H
#define BASE_SERVICE_H

/* How often service_alive has to be called, in milliseconds: half of what the manager waits before
 * it ends a service that hangs. 0: it does not watch. */
unsigned service_watchdog_ms(void);

void service_ready(void); /* it can be spoken to; also the end of service_reloading */
void service_reloading(void);
void service_stopping(void);
void service_alive(void);

/* A line for `systemctl status`. */
void service_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
