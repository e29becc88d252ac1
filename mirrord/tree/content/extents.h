/*
 * Deltas by extents: where a new file's content is found among the 256 KiB extents of an old one,
 * of which only digests and anchors are known. What is found is copied; the gaps between are left
 * to librsync, each with the range of the old file that it most likely was made of.
 *
 * An anchor is the gear hash of an extent's first 64 bytes: it is looked for at every byte, and
 * where it is met the extent's digest decides. Pure: reads through a function, sends nothing.
 */
#ifndef TREE_CONTENT_EXTENTS_H
#define TREE_CONTENT_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "protocol/msg.h"

enum {
    EXTENTS_MIN_SIZE = 1024 * 1024,    /* of both files; below, librsync alone does as well */
    EXTENTS_GAP_MAX = 4 * 1024 * 1024, /* bytes of the new file in one gap */
};

/* The gear hash: h = 2h + gear.of[byte] over the bytes, so that 64 of them count. */
struct gear {
    uint64_t of[256];
};

void gear_init(struct gear *g);

/* The extent of these bytes, at most MSG_EXTENT. */
void extent_of(const struct gear *g, const void *p, size_t n, struct msg_extent *out);

/* Are extents worth their round trip for files of these sizes? They cost little where nothing is
 * alike, so that what came of a much larger file pays, too. */
bool extents_pay(uint64_t old_size, uint64_t new_size);

/* Reads the new file: a whole extent, aligned to its size, or the rest of the file, into p, and its
 * plain digest. May be asked for the same again. The bytes read, fewer than there should be where
 * the file became shorter; -1 with err. */
typedef ssize_t extents_read(
    void *ctx, uint64_t at, void *p, struct digest *digest, struct err *err);

struct extents;
struct extents *extents_new(uint64_t new_size, extents_read *read, void *ctx);
void extents_free(struct extents *x); /* NULL is fine */

/* What the old file holds, frame by frame; -1 where it contradicts itself or was complete. Memory
 * is taken for what has come, not for what is announced. */
int extents_add(struct extents *x, const struct msg_extents *m, struct err *err);
/* The same, all at once, of a file whose extents are known here. Before any other. */
void extents_know(struct extents *x, uint64_t old_size, const struct msg_extent *all, size_t count);
uint64_t extents_old_size(const struct extents *x); /* 0 before the first frame */

struct extents_run { /* of the new file, in order and without holes between */
    bool copy;       /* found at `from` in the old file; else a gap of at most EXTENTS_GAP_MAX */
    uint64_t at, length;
    uint64_t from, range; /* of the old file: what is copied, or what the gap resembles (maybe 0) */
    /* A gap's: what is added to a place in it for the place in the old file, if the bytes there go
     * on as in front of the gap, or as behind it. May lead out of the old file. */
    int64_t front, back;
};

/* RUN: *out is the next one. WAITS: for more extents. MORE: call again; after a few ms of work.
 * END: the whole new file has been accounted for. -1 when reading failed or the file is shorter. */
enum { EXTENTS_END = 0, EXTENTS_RUN = 1, EXTENTS_MORE = 2, EXTENTS_WAITS = 3 };
int extents_next(struct extents *x, struct extents_run *out, struct err *err);

#endif
