/*
 * A provider within the process, as provider(7) and provider-cipher(7) describe: the library's own
 * AES-128-CTR, asked for many blocks at once. In counter mode the key stream does not depend on
 * what it is added to, so it can be made before (NIST SP 800-38A, 6.5).
 *
 * Only this key size: libssh2 takes it first (wanted.c), and OpenSSL's random numbers, which must
 * not leave key stream behind them, are made with AES-256-CTR.
 */
#include "link/ssh2/aesctr.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <stdint.h>
#include <string.h>

#define NAME "mirrord"

enum {
    KEY = 16,
    BLOCK = 16,
    RUN = 4096,   /* bytes of key stream in one call */
    PATIENCE = 8, /* calls of a block or less before that: who asks once gets no more than that */
};

struct ctr {
    EVP_CIPHER_CTX *aes;
    unsigned short_calls;
    size_t at, have; /* of the stream */
    uint8_t stream[RUN];
};

static const uint8_t zeros[RUN];

static void forget_stream(struct ctr *c)
{
    OPENSSL_cleanse(c->stream, sizeof c->stream);
    c->at = c->have = c->short_calls = 0;
}

static void ctr_free(void *context)
{
    struct ctr *c = context;
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->aes);
    OPENSSL_clear_free(c, sizeof *c);
}

static void *ctr_new(void *provider)
{
    (void)provider;
    struct ctr *c = OPENSSL_zalloc(sizeof *c);
    EVP_CIPHER *own = EVP_CIPHER_fetch(NULL, "AES-128-CTR", "provider=default");
    if (c && own)
        c->aes = EVP_CIPHER_CTX_new();
    bool ok = c && c->aes && EVP_EncryptInit_ex2(c->aes, own, NULL, NULL, NULL);
    EVP_CIPHER_free(own); /* the context holds it */
    if (ok)
        return c;
    ctr_free(c);
    return NULL;
}

/* Both directions are the same. A key alone would go on from a counter that is ahead of what was
 * given out. */
static int ctr_init(void *context, const unsigned char *key, size_t key_length,
    const unsigned char *iv, size_t iv_length, const OSSL_PARAM *params)
{
    struct ctr *c = context;
    if ((key && key_length != KEY) || (iv && iv_length != BLOCK) || (key && !iv && c->have))
        return 0;
    if (key || iv)
        forget_stream(c);
    return EVP_EncryptInit_ex2(c->aes, NULL, key, iv, params);
}

static bool encrypt(struct ctr *c, uint8_t *out, const uint8_t *in, size_t n)
{
    int length;
    while (n) {
        int part = n < INT32_MAX / 2 ? (int)n : INT32_MAX / 2;
        if (!EVP_EncryptUpdate(c->aes, out, &length, in, part) || length != part)
            return false;
        out += part;
        in += part;
        n -= (size_t)part;
    }
    return true;
}

static void add(uint8_t *out, const uint8_t *in, const uint8_t *stream, size_t n)
{
    uint64_t a[2], b[2];
    if (n == sizeof a) { /* nearly always */
        memcpy(a, in, sizeof a);
        memcpy(b, stream, sizeof b);
        a[0] ^= b[0];
        a[1] ^= b[1];
        memcpy(out, a, sizeof a);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] ^ stream[i];
}

static int ctr_update(void *context, unsigned char *out, size_t *length, size_t room,
    const unsigned char *in, size_t n)
{
    struct ctr *c = context;
    if (room < n)
        return 0;
    *length = n;
    c->short_calls = n > BLOCK ? 0 : c->short_calls + 1;
    while (n) {
        if (c->at == c->have) {
            if (c->short_calls <= PATIENCE)
                return encrypt(c, out, in, n);
            if (!encrypt(c, c->stream, zeros, RUN))
                return 0;
            c->at = 0;
            c->have = RUN;
        }
        size_t part = c->have - c->at < n ? c->have - c->at : n;
        add(out, in, c->stream + c->at, part);
        c->at += part;
        out += part;
        in += part;
        n -= part;
    }
    return 1;
}

static int ctr_final(void *context, unsigned char *out, size_t *length, size_t room)
{
    (void)context;
    (void)out;
    (void)room;
    *length = 0;
    return 1;
}

static int ctr_params(OSSL_PARAM *params)
{
    static const struct {
        const char *name;
        unsigned value;
    } known[] = {
        {OSSL_CIPHER_PARAM_MODE, EVP_CIPH_CTR_MODE},
        {OSSL_CIPHER_PARAM_KEYLEN, KEY},
        {OSSL_CIPHER_PARAM_IVLEN, BLOCK},
        {OSSL_CIPHER_PARAM_BLOCK_SIZE, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        OSSL_PARAM *p = OSSL_PARAM_locate(params, known[i].name);
        if (p && !OSSL_PARAM_set_uint(p, known[i].value))
            return 0;
    }
    return 1;
}

static int ctr_context_params(void *context, OSSL_PARAM *params)
{
    (void)context;
    return ctr_params(params);
}

static const OSSL_ALGORITHM *algorithms(void *provider, int operation, int *no_cache)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))ctr_new},
        {OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))ctr_free},
        {OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))ctr_init},
        {OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))ctr_init},
        {OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))ctr_update},
        {OSSL_FUNC_CIPHER_FINAL, (void (*)(void))ctr_final},
        {OSSL_FUNC_CIPHER_CIPHER, (void (*)(void))ctr_update},
        {OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))ctr_params},
        {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, (void (*)(void))ctr_context_params},
        {0, NULL},
    };
    static const OSSL_ALGORITHM ciphers[] = {
        {"AES-128-CTR", "provider=" NAME, functions, NULL},
        {NULL, NULL, NULL, NULL},
    };
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int provide(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
    void **provider)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))algorithms},
        {0, NULL},
    };
    (void)in;
    *out = functions;
    *provider = (void *)(uintptr_t)core; /* it may not be NULL */
    return 1;
}

static OSSL_PROVIDER *held[2]; /* from the start of the process to its end */

static void let_go(void)
{
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++)
        OSSL_PROVIDER_unload(held[i]); /* NULL is fine */
}

/* A provider that is loaded by name keeps OpenSSL from loading its own one unasked, so that is
 * loaded by name as well. */
bool aesctr_install(void)
{
    if (!OSSL_PROVIDER_available(NULL, "default") || EVP_default_properties_is_fips_enabled(NULL) ||
        !OPENSSL_atexit(let_go))
        return false;
    held[0] = OSSL_PROVIDER_load(NULL, "default");
    if (!held[0] || !OSSL_PROVIDER_add_builtin(NULL, NAME, provide))
        return false;
    held[1] = OSSL_PROVIDER_load(NULL, NAME);
    return held[1] && EVP_set_default_properties(NULL, "?provider=" NAME);
}
