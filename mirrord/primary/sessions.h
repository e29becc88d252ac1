/*
 * The numbers of the openings of one root, as its primary counts them: none is used twice, and for
 * each secondary the last one that it answered is remembered. A number that is not higher than what
 * the other end has seen tells that one of the two was put back from a snapshot.
 *
 * The count is part of the root's mark, which is written anyway; numbers are reserved in blocks, so
 * that an opening costs no fsync and a crash only skips some. What the secondaries answered is a
 * small file beside it; losing its last lines with the power only means that less is noticed.
 */
#ifndef PRIMARY_SESSIONS_H
#define PRIMARY_SESSIONS_H

#include "tree/manifest/mark.h"

struct sessions;

/* Reserves a block in the mark, which the caller is about to write. Both are borrowed. */
struct sessions *sessions_new(int state_fd, struct mark *mark);
void sessions_free(struct sessions *s); /* NULL is fine */

/* At a clean end, before the mark is written for the last time: what is left of the block is given
 * back, and the file is made durable. */
void sessions_close(struct sessions *s);

/* The rest: any thread. */

/* A number for one opening: higher than all before it. */
uint64_t sessions_next(struct sessions *s);

/* The last one that the secondary with this host id answered; 0: none. */
uint64_t sessions_known(struct sessions *s, const struct digest *secondary);

/* It answered the opening of this number, and had seen `theirs` before. */
enum sessions_verdict { SESSIONS_RISE, SESSIONS_BACK_THERE, SESSIONS_BACK_HERE };
enum sessions_verdict sessions_opened(
    struct sessions *s, const struct digest *secondary, uint64_t number, uint64_t theirs);

#endif
