/* The journal of one commit, kept in the manifest's environment: a head that names the boot, then
 * the steps in order. */
#ifndef SECONDARY_COMMIT_JOURNAL_H
#define SECONDARY_COMMIT_JOURNAL_H

#include "base/boot.h"
#include "secondary/commit/step.h"

/* Some steps, the first of which has this place in the order; those before it are there already. */
int journal_put(
    struct manifest_txn *t, struct step **steps, size_t first, size_t n, struct err *err);

/* The head, which makes a journal of the steps that are there: without it they are nothing. `boot`
 * is this one. */
int journal_seal(struct manifest_txn *t, const char boot[BOOT_ID + 1], struct err *err);

/* The steps that are there, *n of them; the caller frees each with step_clear and the array.
 * *same_boot: they were written since the machine started. A journal of another format has none.
 * 1 there is a journal, 0 there is none, -1. */
int journal_read(
    struct manifest_txn *t, struct step ***steps, size_t *n, bool *same_boot, struct err *err);

#endif
