/*
 * The commit: journalled steps that make a staged batch visible, in an order in which no reader of
 * any path sees anything but the old or the new. The same code does a commit and finishes one that
 * was interrupted, since every step first looks whether it is done.
 *
 * Order: the journal; moves; entries by path (a directory with all that was staged inside by one
 * rename); the sources of moved files; deletions; the times of all touched directories; then the
 * manifest, which in one transaction takes the new records and drops the journal.
 */
#ifndef SECONDARY_COMMIT_H
#define SECONDARY_COMMIT_H

#include "secondary/replica.h"
#include "secondary/step.h"

/* Does these steps, all in STEP_WAITING, in order of arrival; each is DONE or FAILED afterwards.
 * -1 with err: the manifest failed; the journal is left for the next opening. */
int commit_run(struct replica *r, struct step **steps, size_t n, struct err *err);

/* The same for steps out of the journal. `verify`: staged content may be damaged (power was lost).
 */
int commit_again(struct replica *r, struct step **steps, size_t n, bool verify, struct err *err);

#endif
