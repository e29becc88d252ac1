/*
 * Removing what is dead in a stage, in steps, and not while much is being created: ext4 looks past
 * every inode that was freed lately, so that 100,000 files right after as many were removed take
 * ten times as long.
 */
#ifndef SECONDARY_STAGE_REAP_H
#define SECONDARY_STAGE_REAP_H

#include "secondary/stage/stage.h"

/* Starts looking for what earlier sessions left behind. `outside` is borrowed. */
void reap_begin(struct stage *s, const struct outside *outside);

/* Removes for about budget_ms; false when nothing is left to do. */
bool reap_some(struct stage *s, unsigned budget_ms);

/* Something is being created. */
void reap_created(struct stage *s);

/* There was no room for something: what is dead does not wait any more. */
void reap_hurry(struct stage *s);

/* Milliseconds until the creating may have ended; 0: what is dead may go. It may, too, where the
 * filesystem has not much room left. */
unsigned reap_wait(const struct stage *s);

#endif
