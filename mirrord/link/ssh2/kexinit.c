/*
 * A reader of the server's KEXINIT (RFC 4253, 4.2 and 7.1), which goes over the wire in clear.
 * libssh2 says only that there is nothing in common; this tells what.
 */
#include "link/ssh2/kexinit.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MSG_KEXINIT = 20, COOKIE = 16 };

struct reader {
    const unsigned char *at, *end;
    bool bad;
};

static uint32_t take_u32(struct reader *r)
{
    if (r->bad || r->end - r->at < 4) {
        r->bad = true;
        return 0;
    }
    uint32_t v =
        (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | r->at[3];
    r->at += 4;
    return v;
}

static const unsigned char *take(struct reader *r, size_t n)
{
    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return r->at - n;
}

/* Lines before the one that starts with "SSH-" are allowed. */
static void skip_banner(struct reader *r)
{
    while (!r->bad) {
        const unsigned char *line = r->at;
        const unsigned char *newline = memchr(line, '\n', (size_t)(r->end - line));
        if (!newline) {
            r->bad = true;
            return;
        }
        r->at = newline + 1;
        if (newline - line >= 4 && memcmp(line, "SSH-", 4) == 0)
            return;
    }
}

bool kexinit_parse(const void *bytes, size_t n, char *lists[KEXINIT_LISTS])
{
    struct reader r = {.at = bytes, .end = (const unsigned char *)bytes + n};
    skip_banner(&r);
    take_u32(&r); /* packet length: the lists have their own */
    take(&r, 1);  /* padding length */
    const unsigned char *type = take(&r, 1);
    take(&r, COOKIE);
    if (r.bad || *type != MSG_KEXINIT)
        return false;
    char *found[KEXINIT_LISTS] = {NULL};
    for (size_t i = 0; i < KEXINIT_LISTS; i++) {
        uint32_t len = take_u32(&r);
        const unsigned char *names = take(&r, len);
        if (names)
            found[i] = mem_copy_bytes(names, len);
    }
    for (size_t i = 0; i < KEXINIT_LISTS; i++)
        if (r.bad)
            free(found[i]);
        else
            lists[i] = found[i];
    return !r.bad;
}
