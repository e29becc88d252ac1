/* What a batch with units waits for between its preparation and its journal, where this host has a
 * command for that (hold.h): that readers are held. */
#ifndef SECONDARY_HOOK_HOLD_FEED_H
#define SECONDARY_HOOK_HOLD_FEED_H

#include "secondary/commit/batch.h"

/* For a batch that is prepared (swap.h): may it be committed? If not, it is waited for, and
 * batch_job_done comes. */
bool hold_feed_ready(struct batch *b);

bool hold_feed_waits(const struct batch *b); /* it is, and nothing else */

/* The batch is not committed, or has been: its readers go on, if they have not. */
void hold_feed_drop(struct batch *b);

#endif
