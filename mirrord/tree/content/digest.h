/*
 * Digests of content: XXH3-128 of the whole for up to 256 KiB; above that XXH3-128 over the digests
 * of the 256 KiB leaves in order (the last may be shorter) and then the length as 8 bytes,
 * little-endian, so that threads can share the work, a cut transfer can resume, and extents can be
 * compared. The only file that includes xxhash, and the plain XXH3_* functions only: the dispatched
 * ones slow OpenSSL's AES down fourfold.
 */
#ifndef TREE_CONTENT_DIGEST_H
#define TREE_CONTENT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "protocol/entry.h"

enum { DIGEST_LEAF = 256 * 1024 };

struct digest_stream;

struct digest_stream *digest_stream_new(void);
void digest_stream_free(struct digest_stream *s);
void digest_stream_reset(struct digest_stream *s);
void digest_stream_add(struct digest_stream *s, const void *p, size_t n);
/* The next DIGEST_LEAF bytes by their own plain digest, where the length so far is a multiple of
 * that: the same as adding the bytes. */
void digest_stream_add_leaf(struct digest_stream *s, const struct digest *leaf);
uint64_t digest_stream_length(const struct digest_stream *s); /* bytes added so far */
void digest_stream_end(const struct digest_stream *s, struct digest *out);

/* The content digest of bytes in memory. */
void digest_of(const void *p, size_t n, struct digest *out);

/* The content digest of a descriptor's first `size` bytes, read with pread in small pieces.
 * 1 when the file ended before `size` (it changed); -1 with err when reading failed. */
int digest_of_fd(int fd, uint64_t size, struct digest *out, struct err *err);

/* Plain XXH3-128 of bytes, for digests of entries rather than of content. */
void digest_plain(const void *p, size_t n, struct digest *out);

/* Sums mod 2^128 of the 16 bytes taken as a big-endian number, which is how a directory's digests
 * are made of those of its entries. */
void digest_add(struct digest *sum, const struct digest *d);
void digest_subtract(struct digest *sum, const struct digest *d);
bool digest_equal(const struct digest *a, const struct digest *b);

/* All zeros, which is no content's: known to be unlike what anybody has, and still to be read. */
bool digest_is_doubt(const struct digest *d);

#endif
