/* Private key files: every kind that ssh-keygen makes is told apart, and who may read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/keys/base64.h"
#include "link/keys/keyfile.h"
#include "sshd.h"

static char dir[128];
static bool keygen;

static int start(void **state)
{
    (void)state;
    test_dir_make(dir);
    keygen = system("command -v ssh-keygen >/dev/null") == 0;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

static void expect_kind(const char *path, enum keyfile_kind want)
{
    struct keyfile k;
    struct err err = {0};
    if (keyfile_load(path, &k, &err))
        fail_msg("%s: %s", path, err.text);
    if (k.kind != want)
        fail_msg("%s is %d, not %d", path, k.kind, want);
    assert_int_equal(strlen(k.text), k.len);
    keyfile_free(&k);
}

static void test_kinds(void **state)
{
    (void)state;
    if (!keygen)
        skip();
    static const char *const types[] = {"ed25519", "ecdsa", "rsa"};
    static const char *const formats[] = {"RFC4716", "PEM", "PKCS8"};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            char *path CLEANUP_FREE = mem_format("%s/%s-%s", dir, types[i], formats[j]);
            char *format CLEANUP_FREE = mem_format("%s -m %s", i == 2 ? "-b 2048" : "", formats[j]);
            test_make_key(path, types[i], format);
            expect_kind(path, i == 2 ? KEYFILE_RSA : KEYFILE_PRIVATE);
            char *pub CLEANUP_FREE = mem_format("%s.pub", path);
            expect_kind(pub, KEYFILE_PUBLIC);
            test_shell("ssh-keygen -q -p -N secret -m %s -f '%s' >/dev/null", formats[j], path);
            expect_kind(path, KEYFILE_ENCRYPTED);
        }
}

static void test_hardware(void **state)
{
    (void)state;
    static const char body[] = "openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0\0\0\0\0\0\1\0\0\0\x4a"
                               "\0\0\0\x1ask-ssh-ed25519@openssh.com\0";
    char *text CLEANUP_FREE = base64_encode(body, sizeof body - 1, true);
    char *file CLEANUP_FREE = mem_format(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n", text);
    char *path CLEANUP_FREE = mem_format("%s/sk", dir);
    test_write(path, file, 0600);
    expect_kind(path, KEYFILE_HARDWARE);
}

static void refused(const char *path, const char *words)
{
    struct keyfile k;
    struct err err = {0};
    assert_int_equal(keyfile_load(path, &k, &err), -1);
    if (!strstr(err.text, words))
        fail_msg("no \"%s\" in: %s", words, err.text);
}

static void test_refused(void **state)
{
    (void)state;
    struct keyfile k;
    struct err err = {0};
    char *path CLEANUP_FREE = mem_format("%s/bad", dir);
    assert_int_equal(keyfile_load(path, &k, &err), 1);
    refused(dir, "not a regular file");
    test_write(path, "", 0600);
    refused(path, "not a private key");
    test_write(path, "-----BEGIN CERTIFICATE-----\nMII\n", 0600);
    refused(path, "not a private key");
    static const char key[] = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n";
    static const unsigned open_modes[] = {0644, 0640, 0604, 0620, 0601};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        test_write(path, key, open_modes[i]);
        refused(path, "chmod 600");
    }
    test_write(path, key, 0400);
    expect_kind(path, KEYFILE_PRIVATE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(path, "not a regular file"); /* and does not wait for a writer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_hardware),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
