/* Base64 both ways. The decoder is for looking into key files, so it stops instead of judging. */
#include "link/keys/base64.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *p, size_t n, bool padded)
{
    const unsigned char *in = p;
    char *out = mem_alloc(n / 3 * 4 + 5), *o = out;
    for (; n >= 3; n -= 3, in += 3) {
        *o++ = digits[in[0] >> 2];
        *o++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *o++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *o++ = digits[in[2] & 63];
    }
    if (n) {
        unsigned second = n == 2 ? in[1] : 0;
        *o++ = digits[in[0] >> 2];
        *o++ = digits[(in[0] & 3) << 4 | second >> 4];
        if (n == 2)
            *o++ = digits[(second & 15) << 2];
        while (padded && (o - out) % 4)
            *o++ = '=';
    }
    *o = 0;
    return out;
}

size_t base64_decode(const char *text, size_t len, unsigned char *out, size_t max)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    for (size_t i = 0; i < len && n < max; i++) {
        if (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
            continue;
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit)
            break;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    return n;
}
