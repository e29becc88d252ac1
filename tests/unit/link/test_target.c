/* What a connection is made of: options over ssh -G over defaults. A script plays ssh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/conn.h"
#include "link/target.h"
#include "sshd.h"

static char dir[128];

static int start(void **state)
{
    (void)state;
    test_dir_make(dir);
    char *path CLEANUP_FREE = mem_format("%s:%s", dir, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("HOME", "/home/me", 1);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

/* What `ssh -G` shall print, and how it ends. */
static void play_ssh(const char *says, const char *then)
{
    char *file CLEANUP_FREE = mem_format("%s/ssh", dir);
    char *script CLEANUP_FREE =
        mem_format("#!/bin/sh\necho \"$@\" > '%s/args'\ncat <<'END'\n%sEND\n%s\n", dir, says, then);
    test_write(file, script, 0700);
}

static struct target resolve(const struct conn_options *o)
{
    struct patience p = patience_for(10000, NULL);
    struct target t = {0};
    struct err err = {0};
    if (target_resolve(o, &p, &t, &err))
        fail_msg("%s", err.text);
    return t;
}

/* OpenSSH 9.2's own defaults, shortened. */
static const char defaults[] =
    "host web2\nuser me\nhostname web2\nport 22\naddressfamily any\nidentitiesonly no\n"
    "securitykeyprovider internal\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ecdsa_sk\n"
    "globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n"
    "userknownhostsfile /home/me/.ssh/known_hosts\ncontrolpersist no\nescapechar ~\n";

static void test_defaults(void **state)
{
    (void)state;
    play_ssh(defaults, "");
    struct target t = resolve(&(struct conn_options){.host = "web2"});
    assert_string_equal(t.name, "web2");
    assert_string_equal(t.host, "web2");
    assert_string_equal(t.user, "me");
    assert_int_equal(t.port, 22);
    assert_int_equal(t.family, AF_UNSPEC);
    assert_string_equal(t.key_name, "web2");
    assert_true(t.identities_default && t.agent && !t.identity_given);
    assert_int_equal(t.identities.count, 3);
    assert_string_equal(t.identities.word[0], "/home/me/.ssh/id_ed25519");
    assert_int_equal(t.known_hosts.count, 3);
    assert_null(t.lacks);
    assert_null(t.remark);
    target_free(&t);
}

static void test_configured(void **state)
{
    (void)state;
    play_ssh("user deploy\nhostname 10.0.0.2\nport 2222\naddressfamily inet6\nidentitiesonly yes\n"
             "identityfile ~/keys/a b\nuserknownhostsfile none\nhostkeyalias web-two\n"
             "globalknownhostsfile /etc/kh\n",
        "");
    struct target t = resolve(&(struct conn_options){.host = "web2"});
    assert_string_equal(t.host, "10.0.0.2");
    assert_string_equal(t.user, "deploy");
    assert_int_equal(t.port, 2222);
    assert_int_equal(t.family, AF_INET6);
    assert_string_equal(t.key_name, "web-two");
    assert_false(t.identities_default || t.agent);
    assert_string_equal(t.identities.word[0], "/home/me/keys/a b");
    assert_int_equal(t.known_hosts.count, 1);
    assert_string_equal(t.known_hosts.word[0], "/etc/kh");
    target_free(&t);
}

static void test_options_win(void **state)
{
    (void)state;
    play_ssh(
        "user deploy\nhostname 10.0.0.2\nport 2222\nidentityfile /k\nuserknownhostsfile /u\n", "");
    struct target t = resolve(&(struct conn_options){
        .host = "web2", .user = "root", .port = 23, .identity = "~/i", .known_hosts = "/mine"});
    assert_string_equal(t.user, "root");
    assert_int_equal(t.port, 23);
    assert_true(t.identity_given && !t.agent);
    assert_int_equal(t.identities.count, 1);
    assert_string_equal(t.identities.word[0], "/home/me/i");
    assert_int_equal(t.known_hosts.count, 1);
    assert_string_equal(t.known_hosts.word[0], "/mine");
    target_free(&t);
    test_shell("grep -qx -- '-G -p 23 -l root -- web2' '%s/args'", dir);
}

static void test_lacks(void **state)
{
    (void)state;
    static const char *const beyond[][2] = {
        {"proxyjump bastion\n", "ProxyJump"},
        {"proxycommand nc %h %p\n", "ProxyCommand"},
        {"certificatefile ~/.ssh/id-cert.pub\n", "CertificateFile"},
        {"identityagent /run/agent\n", "IdentityAgent"},
        {"pkcs11provider /usr/lib/p11.so\n", "PKCS11Provider"},
        {"identityfile %d/.ssh/x\n", "an IdentityFile with %"},
    };
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        play_ssh(beyond[i][0], "");
        struct target t = resolve(&(struct conn_options){.host = "web2"});
        assert_non_null(t.lacks);
        assert_string_equal(t.lacks, beyond[i][1]);
        target_free(&t);
    }
    play_ssh("proxyjump none\nproxycommand none\nidentityagent SSH_AUTH_SOCK\n", "");
    struct target t = resolve(&(struct conn_options){.host = "web2"});
    assert_null(t.lacks);
    target_free(&t);
}

/* A ssh that fails, hangs or is not there must not keep libssh2 from working. */
static void test_without(void **state)
{
    (void)state;
    play_ssh("hostname elsewhere\n", "echo 'Bad configuration option: x' >&2; exit 255");
    struct target t = resolve(&(struct conn_options){.host = "web2", .user = "me"});
    assert_string_equal(t.host, "web2");
    assert_int_equal(t.port, 22);
    assert_string_equal(t.remark, "Bad configuration option: x");
    assert_int_equal(t.known_hosts.count, 2);
    assert_true(t.identities_default);
    target_free(&t);

    char *path CLEANUP_FREE = mem_copy_string(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    t = resolve(&(struct conn_options){.host = "web2"});
    setenv("PATH", path, 1);
    assert_string_equal(t.host, "web2");
    assert_null(t.remark);
    target_free(&t);

    play_ssh("", "exec sleep 30");
    struct patience p = patience_for(100, NULL);
    struct err err = {0};
    assert_int_equal(target_resolve(&(struct conn_options){.host = "web2"}, &p, &t, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_configured),
        cmocka_unit_test(test_options_win),
        cmocka_unit_test(test_lacks),
        cmocka_unit_test(test_without),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
