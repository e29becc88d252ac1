/*
 * Buckets: a directory's entries, dealt by their names, with a digest of each lot, so that two ends
 * find out which entries of a large directory differ without listing it. protocol/PROTOCOL.md
 * section 7 has the rules.
 */
#ifndef TREE_MANIFEST_BUCKETS_H
#define TREE_MANIFEST_BUCKETS_H

#include "tree/manifest/manifest.h"

struct buckets {
    unsigned bits; /* 2^bits buckets */
    uint64_t entries;
    uint64_t sums[MSG_BUCKETS_MAX];
};

/* Of the directory's entries, into 2^bits buckets, with `owner` or without. Opens and closes its
 * own read transactions, each a short one. 0 or -1. */
int buckets_make(struct manifest *m, uint64_t dir, bool owner, unsigned bits, struct buckets *out,
    struct err *err);

/* Fewer, larger buckets. */
void buckets_fold(struct buckets *b, unsigned bits);

/* How many bits suit a directory of so many entries; 0: it is better listed whole. */
unsigned buckets_suit(uint64_t entries);

/* The bucket of a name. */
unsigned buckets_index(struct bytes name, unsigned bits);

/* As they travel; BUCKETS_BYTES(bits) bytes. */
void buckets_encode(const struct buckets *b, uint8_t *out);

/* The number of bits that so many encoded bytes are. */
unsigned buckets_bits(size_t encoded);

/* Sets a bit in differ for each bucket that is not as `theirs`, which has as many. */
void buckets_compare(const struct buckets *b, struct bytes theirs, uint8_t *differ);
static inline bool buckets_differ(const uint8_t *differ, unsigned bucket)
{
    return differ[bucket / 8] >> bucket % 8 & 1;
}

enum { BUCKETS_BITS_MAX = 11 };
#define BUCKETS_BYTES(bits)  ((size_t)8 << (bits))
#define BUCKETS_DIFFER(bits) ((bits) < 3 ? (size_t)1 : (size_t)1 << ((bits)-3))

#endif
