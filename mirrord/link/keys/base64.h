/* Base64 as OpenSSH's files and fingerprints use it. */
#ifndef LINK_BASE64_H
#define LINK_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* The text, padded with '=' or not. The caller frees it. */
char *base64_encode(const void *p, size_t n, bool padded);

/* Decodes up to max bytes from len characters; white space is skipped, the first other foreign
 * character ends it. Returns how many bytes. */
size_t base64_decode(const char *text, size_t len, unsigned char *out, size_t max);

#endif
