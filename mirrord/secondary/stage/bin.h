/*
 * Where large files go that are removed: freeing what they held takes a tenth of a second for some
 * GiB, in whichever call lets go of the last of it. So that is the close of a descriptor which a
 * thread is given, and neither the unlink nor the rename that takes the name away.
 *
 * A process that is killed meanwhile loses nothing: the kernel frees what nobody holds.
 */
#ifndef SECONDARY_STAGE_BIN_H
#define SECONDARY_STAGE_BIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BIN_MIN = 8 * 1024 * 1024 }; /* smaller ones are freed within a fraction of a millisecond */

struct bin;

struct bin *bin_new(void);
void bin_free(
    struct bin *b); /* NULL is fine; what is in it is still freed, without being waited for */

/* Before its name is taken away: a descriptor of dirfd/name, or -1 where it is too small for it to
 * matter (or cannot be had). */
int bin_hold(int dirfd, const char *name, uint64_t size);

/* Afterwards: takes the descriptor; -1 is fine. Leaves errno as it is. */
void bin_put(struct bin *b, int fd);

/* Waits until all that was put in is freed. How many those were, since the beginning. */
size_t bin_wait(struct bin *b);

#endif
