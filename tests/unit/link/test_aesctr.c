/* The cipher that libssh2 gets: the same bytes as OpenSSL's own, however they are asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "link/ssh2/aesctr.h"

enum { SIZE = 20000 };

static uint8_t key[16], iv[16], plain[SIZE], want[SIZE];

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static int setup(void **state)
{
    (void)state;
    fill(key, sizeof key, 1);
    memset(iv, 0xff, sizeof iv); /* the counter wraps */
    iv[15] = 0xf0;
    fill(plain, sizeof plain, 2);
    EVP_CIPHER *own = EVP_CIPHER_fetch(NULL, "AES-128-CTR", "provider=default");
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0;
    if (!EVP_EncryptInit_ex2(c, own, key, iv, NULL) || !EVP_EncryptUpdate(c, want, &n, plain, SIZE))
        return -1;
    EVP_CIPHER_CTX_free(c);
    EVP_CIPHER_free(own);
    return n == SIZE && aesctr_install() ? 0 : -1;
}

/* As libssh2 makes it. */
static EVP_CIPHER_CTX *made(int encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_CipherInit(c, EVP_aes_128_ctr(), key, iv, encrypt), 1);
    return c;
}

static const char *provider_of(const EVP_CIPHER *c)
{
    return OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(c));
}

static void test_who_asks_gets_it(void **state)
{
    (void)state;
    EVP_CIPHER_CTX *c = made(1);
    assert_string_equal(provider_of(EVP_CIPHER_CTX_get0_cipher(c)), "mirrord");
    assert_int_equal(EVP_CIPHER_CTX_get_mode(c), EVP_CIPH_CTR_MODE);
    assert_int_equal(EVP_CIPHER_CTX_get_key_length(c), 16);
    assert_int_equal(EVP_CIPHER_CTX_get_iv_length(c), 16);
    assert_int_equal(EVP_CIPHER_CTX_get_block_size(c), 1);
    EVP_CIPHER_CTX_free(c);
}

static void test_the_others_are_openssls(void **state)
{
    (void)state;
    static const char *const names[] = {"AES-256-CTR", "AES-192-CTR", "AES-128-CBC", "AES-256-GCM"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        EVP_CIPHER *c = EVP_CIPHER_fetch(NULL, names[i], NULL);
        assert_non_null(c);
        assert_string_equal(provider_of(c), "default");
        EVP_CIPHER_free(c);
    }
}

static void test_every_size_of_call(void **state)
{
    (void)state;
    static uint8_t got[SIZE];
    for (int encrypt = 0; encrypt < 2; encrypt++) {
        for (size_t step = 1; step <= 70; step++) {
            EVP_CIPHER_CTX *c = made(encrypt);
            for (size_t at = 0; at < SIZE; at += step) {
                size_t n = SIZE - at < step ? SIZE - at : step;
                assert_int_equal(EVP_Cipher(c, got + at, plain + at, (unsigned)n), (int)n);
            }
            EVP_CIPHER_CTX_free(c);
            assert_memory_equal(got, want, SIZE);
        }
    }
}

/* Long and short calls in turns, in place. */
static void test_mixed_calls(void **state)
{
    (void)state;
    static uint8_t got[SIZE];
    for (uint32_t seed = 0; seed < 200; seed++) {
        uint8_t choice[SIZE / 16];
        fill(choice, sizeof choice, seed);
        EVP_CIPHER_CTX *c = made(1);
        memcpy(got, plain, SIZE);
        size_t at = 0;
        for (size_t i = 0; at < SIZE; i++) {
            size_t n = choice[i] < 250 ? 16 : (size_t)(choice[i] - 249) * 997;
            n = n < SIZE - at ? n : SIZE - at;
            int length = 0;
            assert_int_equal(EVP_EncryptUpdate(c, got + at, &length, got + at, (int)n), 1);
            assert_int_equal(length, (int)n);
            at += n;
        }
        EVP_CIPHER_CTX_free(c);
        assert_memory_equal(got, want, SIZE);
    }
}

static void test_started_again(void **state)
{
    (void)state;
    static uint8_t got[SIZE];
    EVP_CIPHER_CTX *c = made(1);
    for (size_t at = 0; at < 160; at += 16)
        assert_int_equal(EVP_Cipher(c, got + at, plain + at, 16), 16);
    /* a key alone has no counter to go on from */
    assert_int_equal(EVP_CipherInit_ex2(c, NULL, key, NULL, 1, NULL), 0);
    assert_int_equal(EVP_CipherInit_ex2(c, NULL, NULL, iv, 1, NULL), 1);
    for (size_t at = 0; at < 160; at += 16)
        assert_int_equal(EVP_Cipher(c, got + at, plain + at, 16), 16);
    assert_memory_equal(got, want, 160);
    EVP_CIPHER_CTX_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks_gets_it),
        cmocka_unit_test(test_the_others_are_openssls),
        cmocka_unit_test(test_every_size_of_call),
        cmocka_unit_test(test_mixed_calls),
        cmocka_unit_test(test_started_again),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
