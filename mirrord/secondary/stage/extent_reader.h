/*
 * The old file of a delta by extents, read once by two threads: each extent's digest and anchor,
 * and on the way its bytes to the same place in the staged file, where they most likely belong.
 * What turns out to belong elsewhere is copied by the same threads, leaf by leaf of the new file.
 * All functions are the session's; the threads know nothing but the descriptors.
 */
#ifndef SECONDARY_STAGE_EXTENT_READER_H
#define SECONDARY_STAGE_EXTENT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "protocol/msg.h"

struct extent_reader;

enum { EXTENT_COPIES = 32 }; /* under way at once */

/* Begins to read the first size > 0 bytes of `from`; whole extents below `limit` are copied to
 * `to`, or with `shared` are there already. Borrows both descriptors until it is freed. */
struct extent_reader *extent_reader_new(
    int from, int to, bool shared, uint64_t size, uint64_t limit);
void extent_reader_free(struct extent_reader *r); /* waits for the threads; NULL is fine */

/* How many extents have been read in order and were not taken yet; *all: there are no more. -1 with
 * err when the file could not be read, or is shorter by now. */
ssize_t extent_reader_ready(struct extent_reader *r, bool *all, struct err *err);
struct msg_extent extent_reader_take(struct extent_reader *r); /* the next one that is ready */

/* The caller is going to write the staged file up to `end`: from when this returns, nothing else
 * does. Where the threads have not come that far, they copy no more. */
void extent_reader_give_way(struct extent_reader *r, uint64_t end);

/* Is the whole extent at this offset in the staged file, at the same place, and what is its digest?
 * Only as long as the caller has not written there. */
bool extent_reader_copied(struct extent_reader *r, uint64_t offset, struct digest *digest);

/* MSG_EXTENT bytes at `offset` of the old file to `to`, a multiple of that, of the staged one; the
 * caller has made the threads give way. False: as many are under way as may be. */
bool extent_reader_copy(struct extent_reader *r, uint64_t offset, uint64_t to);
/* What has become of the first of them: 1 with its digest, and it is none of them any more; 0: it
 * is under way, or there is none; -1 with err. */
int extent_reader_copy_done(struct extent_reader *r, struct digest *digest, struct err *err);
void extent_reader_copy_wait(struct extent_reader *r); /* until that is not 0 */

#endif
