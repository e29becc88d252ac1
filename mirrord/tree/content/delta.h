/*
 * Deltas: the three jobs of librsync as steps over bounded memory. The only file that includes it.
 *
 * The secondary makes a signature of its old file; the primary reads its new file against it and
 * makes a delta; the secondary patches. Block lengths grow with the file (about the square root of
 * its size, from 1 KiB to 64 KiB) so that a signature stays small. Strong sums are BLAKE2, cut to
 * 12 bytes. A delta proves nothing: the result's digest must be compared before it is used.
 * After -1 a job is only good for its _free; it answers every further step with an error.
 */
#ifndef TREE_CONTENT_DELTA_H
#define TREE_CONTENT_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    DELTA_MIN_SIZE = 64 * 1024,             /* below, the file goes whole */
    DELTA_SIGNATURE_MAX = 16 * 1024 * 1024, /* bytes of a signature that are accepted */
};

enum { DELTA_BUSY = 2, DELTA_MORE = 1, DELTA_DONE = 0 };

/* Would the signature of an old file of this size be accepted? Of more than 64 GiB none is. */
bool delta_can_sign(uint64_t old_size);

struct delta_sign;
struct delta_sign *delta_sign_new(int fd, uint64_t size);    /* borrows fd; reads with pread */
void delta_sign_from(struct delta_sign *s, uint64_t offset); /* the size bytes from here on */
/* Fills out (cap ≥ 1 KiB) with *n bytes, fewer than cap where about 1 MiB has been read.
 * DELTA_MORE, DELTA_DONE (with the last bytes), -1 (also when the file became shorter). */
int delta_sign_step(struct delta_sign *s, void *out, size_t cap, size_t *n, struct err *err);
void delta_sign_free(struct delta_sign *s);

struct delta_make;
struct delta_make *delta_make_new(void);
/* Feeds the signature in pieces as they arrive; last ends it. Fails softly over DELTA_SIGNATURE_MAX
 * or on a bad signature. */
int delta_make_signature(struct delta_make *d, const void *p, size_t n, bool last, struct err *err);
/* The new content, in order, in pieces of any size; eof with the last (n may be 0). Consumes all it
 * is given, or leaves *used < n when out is full: call again with the rest. DELTA_DONE when the
 * delta is complete. -1 also for content on which librsync takes far longer than on any other (it
 * can be built on purpose): send the file whole. */
int delta_make_step(struct delta_make *d, const void *p, size_t n, bool eof, size_t *used,
    void *out, size_t cap, size_t *produced, struct err *err);
void delta_make_free(struct delta_make *d);
/* Of what was made so far: bytes taken from the old file and bytes sent as they are. */
void delta_make_counts(const struct delta_make *d, uint64_t *matched, uint64_t *literal);

struct delta_patch;
/* Receives the new content in order; nonzero stops the patch, with err filled. */
typedef int delta_sink(void *ctx, const void *p, size_t n, struct err *err);
struct delta_patch *delta_patch_new(int old_fd, delta_sink *sink, void *ctx); /* borrows old_fd */
/* Feeds delta bytes. DELTA_MORE, DELTA_DONE after the delta's end command, -1 (malformed, reads
 * beyond the old file, sink failed). Bytes behind the end are malformed. */
int delta_patch_step(struct delta_patch *p, const void *in, size_t n, struct err *err);
/* A few delta bytes can ask for a copy of the whole old file. With a limit, a step that has given
 * about that many bytes to the sink keeps what it has not read of its input and answers DELTA_BUSY:
 * call again with n = 0 until it answers something else. 0, the default, is no limit. */
void delta_patch_limit(struct delta_patch *p, size_t bytes);
/* Bytes of delta that were given and are not used yet. */
size_t delta_patch_backlog(const struct delta_patch *p);
/* The old file is this range of old_fd: the delta's offsets count from its start, and nothing is
 * copied from beyond it. */
void delta_patch_range(struct delta_patch *p, uint64_t offset, uint64_t length);
void delta_patch_free(struct delta_patch *p);

#endif
