/*
 * A real sshd for tests: on a free port of 127.0.0.1 (and ::1 where there is IPv6), with throwaway
 * keys, in a directory of its own beneath a given one. Runs as the current user, who may log in
 * with the client key. Nothing of ~/.ssh or /etc/ssh is read or written.
 */
#ifndef TEST_LINK_SSHD_H
#define TEST_LINK_SSHD_H

#include <stdbool.h>

struct sshd;

struct sshd_setup {
    const char *dir;        /* existing, the caller's to remove */
    const char *name;       /* of the subdirectory made for this server */
    const char *config;     /* more lines for sshd_config, first, so that they win; or NULL */
    const char *host_keys;  /* types, comma-separated; NULL: "ed25519" */
    const char *client_key; /* type of the client's key; NULL: "ed25519" */
    const char *authorize; /* options before the key in authorized_keys (restrict,command="…"); or
                              NULL */
};

/* Starts it and waits until it accepts. NULL with *why (a literal) where that cannot be on this
 * machine: no sshd, no ssh-keygen. Anything else that goes wrong ends the test program. */
struct sshd *sshd_start(const struct sshd_setup *setup, const char **why);

/* Ends the server; sessions end with their clients. NULL is fine. */
void sshd_stop(struct sshd *s);

unsigned sshd_port(const struct sshd *s);
bool sshd_has_ipv6(const struct sshd *s);
const char *sshd_dir(const struct sshd *s);
const char *sshd_identity(const struct sshd *s);    /* the client's private key file */
const char *sshd_known_hosts(const struct sshd *s); /* file with this server's keys */
const char *sshd_log(const struct sshd *s);         /* what the server logs */

/* Tools for the tests themselves. */

/* mkdtemp under /dev/shm, $TMPDIR or /tmp; a literal path in a buffer of the caller. */
char *test_dir_make(char path[128]);
void test_dir_remove(const char *path);

/* Runs a shell command (printf style) and ends the program where it fails. */
void test_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Makes path and path.pub; format is "" or more words for ssh-keygen ("-m PEM"). */
void test_make_key(const char *path, const char *type, const char *more);

void test_write(const char *path, const char *text, unsigned mode);

/* A port of 127.0.0.1 that was free a moment ago. */
unsigned test_free_port(void);

#endif
