/*
 * What of a replica survives a power loss: its mark, a checkpoint every 30 seconds while there are
 * commits (the root's filesystem is synced, and a copy of the manifest is put beside it), the
 * ledger of the commits since, and what is done at the next opening when neither a clean mark nor
 * this boot speaks for the manifest.
 */
#ifndef SECONDARY_SITE_CHECKPOINT_H
#define SECONDARY_SITE_CHECKPOINT_H

#include "secondary/commit/step.h"
#include "secondary/site/replica.h"

/* Before the manifest is opened: judges the mark and writes one that says that it is in use. After
 * a power loss the manifest is deleted unopened and the last checkpoint's copy takes its place. */
int checkpoint_open(struct replica *r, struct err *err);

/* Once the manifest is open: makes it durable where the site asked for it. */
int checkpoint_begin(struct replica *r, struct err *err);

/* The manifest turned out to be damaged without a power loss, and nothing is open: as after one,
 * the last checkpoint's copy takes its place, and checkpoint_replay adds what the ledger has. */
int checkpoint_restore(struct replica *r, struct err *err);
bool checkpoint_is_restored(const struct replica *r); /* at this opening, for either reason */
bool checkpoint_has_ledger(const struct replica *r);

/* The ctime from which on the opening's walk has to read files; 0: it has not. */
int64_t checkpoint_since(const struct replica *r);

/* Once any manifest is open: after a power loss it takes from the ledger what was committed since
 * it was copied. */
int checkpoint_replay(struct replica *r, struct err *err);

/* The opening's walk has read them. */
int checkpoint_walked(struct replica *r, struct err *err);

/* The steps of a commit are in the ledger, before the manifest has them: their number there, which
 * the manifest keeps with them; 0: there is no ledger. Something was committed follows. */
uint64_t checkpoint_note(struct replica *r, struct step **steps, size_t n);

/* Something was committed. */
void checkpoint_due(struct replica *r);

/* The manifest knows of something that is in no ledger. */
void checkpoint_uncovered(struct replica *r);

/* Ends it. `clean`: nothing went wrong; then what is not on the disk yet is synced, for at most two
 * seconds, and the mark says that all ended well. The manifest must still be open. */
void checkpoint_end(struct replica *r, bool clean);

#endif
