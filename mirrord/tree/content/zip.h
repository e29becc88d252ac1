/* Compression of content in independent zstd frames. The only file that includes zstd. */
#ifndef TREE_CONTENT_ZIP_H
#define TREE_CONTENT_ZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct zip;

struct zip *zip_new(int level);
void zip_free(struct zip *z);

/* Packs in[n] into out[cap] as one frame. Returns its length, or 0 when the result would not be
 * smaller than n - n / 8 or does not fit: send the bytes as they are. */
size_t zip_pack(struct zip *z, const void *in, size_t n, void *out, size_t cap);

/* A sample of the first bytes: does it look worth packing? (Known magic numbers of compressed
 * formats, and a trial on a few KiB.) */
bool zip_worthwhile(struct zip *z, const void *in, size_t n);

/* Is it in a format that is compressed already? By magic numbers. */
bool zip_is_packed(const void *in, size_t n);

/* Unpacks exactly one frame into out[cap]; *n is its plain length. -1 when it is malformed, does
 * not announce its size, or is larger than cap. */
int zip_unpack(
    struct zip *z, const void *in, size_t len, void *out, size_t cap, size_t *n, struct err *err);

#endif
