/*
 * What one end knows of a file's content without having it: the digest of the whole, its extents,
 * and a short hash of each 4 KiB block, by which a later version is compared with it. 2.1 MiB of
 * memory for each GiB of content. Made while the content is read anyhow. Pure.
 */
#ifndef TREE_CONTENT_OUTLINE_H
#define TREE_CONTENT_OUTLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/msg.h"
#include "tree/content/extents.h"

enum {
    OUTLINE_MIN_SIZE = 256 * 1024, /* of a file that is worth it */
    OUTLINE_BLOCK = 4096,
};

struct outline;

/* Of a file of this size, nothing of which has been read yet. One reference, the caller's. */
struct outline *outline_new(uint64_t size);
struct outline *outline_ref(struct outline *o); /* one more */
void outline_unref(struct outline *o);          /* NULL is fine */

/* The next bytes of the content; what is beyond the size is left out. */
void outline_add(struct outline *o, const void *p, size_t n);
/* The next whole extent, or the rest of the file, whose plain digest the caller has. */
void outline_add_leaf(struct outline *o, const void *p, size_t n, const struct digest *leaf);

/* No more is added, and this is the digest of the whole. False: some of it was not read. */
bool outline_settle(struct outline *o, const struct digest *digest);

uint64_t outline_size(const struct outline *o);
const struct digest *outline_digest(const struct outline *o);
const struct msg_extent *outline_extents(const struct outline *o, size_t *count);
size_t outline_memory(uint64_t size); /* bytes that one of a file of this size takes */

/* One that is settled, as bytes for a file of this host's state: with a digest of them at their
 * end, so that what is damaged is not believed. */
void outline_encode(const struct outline *o, struct wire_writer *w);
/* NULL where they are none. One reference, the caller's. */
struct outline *outline_decode(struct bytes encoded);

/* Where a gap (see extents.h) is made of blocks of the known file after all: gives the gap's runs,
 * copies and gaps in order and without holes, to `take`. `bytes` are the gap's. The blocks are
 * looked for only where they stand if the content goes on as in front of the gap or as behind it;
 * a copy's content is as likely to be another as 64 bits can be equal by chance. */
typedef void outline_take(void *ctx, const struct extents_run *run);
void outline_refine(const struct outline *o, const struct extents_run *gap, const uint8_t *bytes,
    outline_take *take, void *ctx);

#endif
