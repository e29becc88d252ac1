/*
 * The commit: journalled steps that make a staged batch visible, in an order in which no reader of
 * any path sees anything but the old or the new. The same code does a commit and finishes one that
 * was interrupted, since every step first looks whether it is done.
 *
 * Order: the journal; moves; units, all or none; entries by path (a directory with all that was
 * staged inside by one rename); the sources of moved files; deletions; what the units replaced; the
 * times of all touched directories; then the manifest, whose last transaction drops the journal.
 */
#ifndef SECONDARY_COMMIT_COMMIT_H
#define SECONDARY_COMMIT_COMMIT_H

#include "secondary/commit/step.h"
#include "secondary/site/replica.h"

struct commit;

/* Of these steps, all in STEP_WAITING, in order of arrival; they are borrowed, the list is copied.
 */
struct commit *commit_new(struct replica *r, struct step **steps, size_t n);
void commit_free(struct commit *c); /* NULL is fine; one that was not ended leaves its journal */

/* Works until about the deadline (io_now_us). What readers see changes in one go; in front of it
 * and behind it other messages may be handled. 1 there is more; 0: each step is DONE or FAILED, or,
 * when a unit failed, left as it was; -1 with err: the manifest failed, the journal is left for the
 * next opening. */
int commit_step(struct commit *c, uint64_t deadline, struct err *err);

/* All of it for steps out of the journal. `verify`: staged content may be damaged (power was lost).
 */
int commit_again(struct replica *r, struct step **steps, size_t n, bool verify, struct err *err);

/* Of a commit out of the ledger, with its number: only the manifest takes what its steps left. */
int commit_record(
    struct replica *r, uint64_t number, struct step **steps, size_t n, struct err *err);

/* The number of the last commit that the manifest has; 0: none with a number. */
int commit_last_recorded(struct replica *r, uint64_t *out, struct err *err);

#endif
