/* Going through what lies in the trash, in steps and without recursion. */
#ifndef SECONDARY_TRASH_SIFT_H
#define SECONDARY_TRASH_SIFT_H

#include "secondary/stage/stage.h"

enum sift_work {
    SIFT_APART = 1 << 0, /* a file that has other links is copied, and becomes the copy */
    SIFT_PRUNE = 1 << 1, /* empty directories go, the uppermost one too */
};

struct sift;

/* Of what is at `place` beneath the stage. */
struct sift *sift_new(struct stage *s, const char *place, unsigned work);
void sift_free(struct sift *x); /* NULL is fine */

/* Works until the deadline (io_now_us): 1 there is more, 0 done. What cannot be read or copied is
 * logged; a file that cannot be copied goes, since its other links are still there. */
int sift_step(struct sift *x, uint64_t deadline);
uint64_t sift_bytes(const struct sift *x); /* of all files seen so far */

#endif
