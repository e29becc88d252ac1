/*
 * The ledger: what was committed since the manifest was copied last, in two files beside it. After
 * a power loss the copy and the ledger together know what mirrord put in a root, so that nothing of
 * it is taken for somebody else's.
 *
 * Nobody waits for the disk here: what is appended is only set on its way there. So the commits of
 * the last moments may be missing after a power loss, and a commit that was cut off is none.
 */
#ifndef SECONDARY_COMMIT_LEDGER_H
#define SECONDARY_COMMIT_LEDGER_H

#include "secondary/commit/step.h"

struct ledger;

/* In this directory, which is borrowed; no file is opened so far. */
struct ledger *ledger_new(int state_fd);
void ledger_free(struct ledger *l); /* NULL is fine; what was appended stays */

bool ledger_exists(const struct ledger *l); /* has anything been appended since it was forgotten? */

/* Those of a commit's steps that are done, with what they left, under a number that is greater than
 * all before. -1 with err: the ledger is as it was. */
int ledger_append(
    struct ledger *l, uint64_t number, struct step **steps, size_t n, struct err *err);

/* Sets what was appended on its way to the disk. */
void ledger_push(struct ledger *l);

/* Waits until it is there. */
int ledger_sync(struct ledger *l, struct err *err);

/* A copy of the manifest is about to be made, which has what was appended so far; and it counts. */
void ledger_turn(struct ledger *l);
void ledger_turned(struct ledger *l);

/* All of it goes: nothing is left to which it could be added. */
void ledger_forget(struct ledger *l);

/* Commits with a number greater than this, in order; the steps are gone when `each` returns. What
 * lies behind a damaged place goes. The number of commits, or -1 as soon as `each` returns it. */
int ledger_replay(struct ledger *l, uint64_t after,
    int (*each)(void *ctx, uint64_t number, struct step **steps, size_t n, struct err *err),
    void *ctx, struct err *err);

#endif
