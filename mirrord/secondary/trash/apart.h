/* Taking a file out of the company of its other links, in steps. */
#ifndef SECONDARY_TRASH_APART_H
#define SECONDARY_TRASH_APART_H

#include <stdint.h>
#include <sys/stat.h>

struct apart;

/* Of dirfd/name (the descriptor is duplicated), a regular file that was found to be `st`. What
 * cannot be copied loses this name, since its content has others: logged, here and later; then
 * NULL. */
struct apart *apart_new(int dirfd, const char *name, const struct stat *st);
void apart_free(
    struct apart *x); /* NULL is fine; what was not finished leaves the file as it was */

/* Copies until the deadline (io_now_us). 1 there is more; 0: the name is the copy's now, or gone.
 */
int apart_step(struct apart *x, uint64_t deadline);

#endif
