/* Links through the real ssh program: the stream, and the same sentences as libssh2 for what goes
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/conn.h"
#include "sshd.h"
#include "stream.h"

static char dir[128];
static struct sshd *server;

/* Where ssh is, "" where it is not. */
static char ssh_program[256];

static void find_ssh(void)
{
    FILE *p = popen("command -v ssh", "re");
    assert_non_null(p);
    if (fgets(ssh_program, sizeof ssh_program, p))
        ssh_program[strcspn(ssh_program, "\n")] = 0;
    pclose(p);
}

/* Puts an `ssh` first in PATH that reads only the tests' configuration: a user's own must not
 * decide. */
static void make_ssh(void)
{
    char *bin CLEANUP_FREE = mem_format("%s/bin", dir);
    char *ssh CLEANUP_FREE = mem_format("%s/ssh", bin);
    char *script CLEANUP_FREE =
        mem_format("#!/bin/sh\nexec '%s' -F '%s/ssh_config' \"$@\"\n", ssh_program, dir);
    char *path CLEANUP_FREE = mem_format("%s:%s", bin, getenv("PATH"));
    char *config CLEANUP_FREE = mem_format("%s/ssh_config", dir);
    assert_int_equal(mkdir(bin, 0700), 0);
    test_write(ssh, script, 0700);
    test_write(config, "", 0600);
    setenv("PATH", path, 1);
}

static int start(void **state)
{
    (void)state;
    const char *cannot = "there is no ssh";
    test_dir_make(dir);
    setenv("HOME", dir, 1);
    unsetenv("SSH_AUTH_SOCK");
    find_ssh();
    if (*ssh_program)
        server = sshd_start(&(struct sshd_setup){.dir = dir,
                                .name = "s",
                                .config = "RekeyLimit 1M\nKexAlgorithms curve25519-sha256\n"},
            &cannot);
    if (!server)
        print_message("skipping: %s\n", cannot);
    make_ssh();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sshd_stop(server);
    test_dir_remove(dir);
    return 0;
}

static struct conn_options options(char *const *argv)
{
    return (struct conn_options){.transport = TRANSPORT_OPENSSH,
        .host = "127.0.0.1",
        .port = sshd_port(server),
        .identity = sshd_identity(server),
        .known_hosts = sshd_known_hosts(server),
        .argv = argv};
}

/* The stream must end at once and be explained with this code and these words. */
static void ends_with(const struct conn_options *o, enum err_code code, const char *words)
{
    struct conn *c = stream_open(o);
    char text[64];
    struct err err = {0};
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(conn_explain(c, &err), -1);
    if (err.code != code || !strstr(err.text, words))
        fail_msg("code %d, not %d with \"%s\": %s", err.code, code, words, err.text);
    conn_close(c);
}

static void test_echo_rekey(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct conn_options o = options(WORDS("cat"));
    struct conn *c = stream_open(&o);
    assert_string_equal(conn_kind(c), "openssh");
    stream_echo(c, 64 << 20);
    conn_close(c);
}

static void test_failures(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct conn_options o = options(WORDS("no-such-mirrord"));
    ends_with(&o, ERR_FAILED, "no-such-mirrord is not installed on 127.0.0.1 (");
    o.argv = WORDS("sh", "-c", "echo \"it's bad\" >&2; exit 6");
    ends_with(&o, ERR_TEMPORARY, "(it's bad)");

    char *known CLEANUP_FREE = mem_format("%s/no known hosts", dir);
    char *scan CLEANUP_FREE = mem_format("ssh-keyscan -p %u 127.0.0.1", sshd_port(server));
    o.known_hosts = known;
    ends_with(&o, ERR_FAILED, scan);
    ends_with(&o, ERR_FAILED, known);
    char *other CLEANUP_FREE = mem_format("%s/other", dir);
    test_make_key(other, "ed25519", "");
    test_shell(
        "{ printf '[127.0.0.1]:%u '; cat '%s.pub'; } > '%s'", sshd_port(server), other, known);
    char *where CLEANUP_FREE = mem_format("%s:1", known);
    ends_with(&o, ERR_REFUSED, "has changed: it shows the ED25519 key SHA256:");
    ends_with(&o, ERR_REFUSED, where);

    o.known_hosts = sshd_known_hosts(server);
    o.identity = other;
    ends_with(&o, ERR_FAILED, "Permission denied (publickey).: add the public key");
    o.port = test_free_port();
    ends_with(&o, ERR_TEMPORARY, "Connection refused");
    o.host = "no-such-host.invalid";
    ends_with(&o, ERR_TEMPORARY, "no-such-host.invalid");
}

static void test_identity_checked(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct err err;
    struct conn *c = NULL;
    char *key CLEANUP_FREE = mem_format("%s/open", dir);
    struct conn_options o = options(WORDS("true"));
    o.identity = key;
    assert_int_equal(conn_open(&o, &c, &err), -1);
    assert_non_null(strstr(err.text, "there is no key file"));
    test_shell("cp '%s' '%s' && chmod 644 '%s'", sshd_identity(server), key, key);
    assert_int_equal(conn_open(&o, &c, &err), -1);
    assert_non_null(strstr(err.text, "chmod 600"));
}

/* auto: what only ssh can do is given to ssh; HostName, Port, User and IdentityFile are followed by
 * both. */
static void test_auto(void **state)
{
    (void)state;
    if (!server)
        skip();
    char *config CLEANUP_FREE = mem_format("%s/ssh_config", dir);
    char *common CLEANUP_FREE =
        mem_format(" HostName 127.0.0.1\n Port %u\n IdentityFile %s\n UserKnownHostsFile %s\n",
            sshd_port(server), sshd_identity(server), sshd_known_hosts(server));
    char *text_of CLEANUP_FREE =
        mem_format("Host web2\n%sHost web3\n%s ProxyCommand ssh -W %%h:%%p web2\n", common, common);
    test_write(config, text_of, 0600);
    struct conn_options o = {
        .transport = TRANSPORT_AUTO, .host = "web2", .argv = WORDS("echo", "here")};
    char text[16];
    struct conn *c = stream_open(&o);
    assert_memory_equal(conn_kind(c), "libssh2", 7);
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "here\n");
    conn_close(c);
    o.host = "web3";
    c = stream_open(&o);
    assert_string_equal(conn_kind(c), "openssh");
    assert_int_equal(stream_read_all(c, text, sizeof text), 0);
    assert_string_equal(text, "here\n");
    conn_close(c);
    test_write(config, "", 0600);
}

static void test_no_ssh(void **state)
{
    (void)state;
    struct err err;
    struct conn *c = NULL;
    char *path CLEANUP_FREE = mem_copy_string(getenv("PATH"));
    struct conn_options o = {
        .transport = TRANSPORT_OPENSSH, .host = "127.0.0.1", .argv = WORDS("true")};
    setenv("PATH", dir, 1);
    assert_int_equal(conn_open(&o, &c, &err), -1);
    setenv("PATH", path, 1);
    assert_int_equal(err.code, ERR_FAILED);
    assert_non_null(strstr(err.text, "openssh-client"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_rekey),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_identity_checked),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_no_ssh),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
