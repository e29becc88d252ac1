/* What tells the primary how much room a replica's filesystem has: at opening, before
 * the ACK of what did not fit, and while the session lasts whenever that changed, so that a primary
 * that waits for room hears of it unasked.
 */
#ifndef SECONDARY_SITE_ROOM_H
#define SECONDARY_SITE_ROOM_H

#include "secondary/site/replica.h"

/* It was opened, or something did not fit. */
void room_tell(struct replica *r);

/* Looks at all sites now and then, tells what is news. To be called often. */
void room_look(struct tools *tools);

#endif
