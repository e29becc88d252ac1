/* Answers to LIST. */
#ifndef SECONDARY_SITE_LISTING_H
#define SECONDARY_SITE_LISTING_H

#include "secondary/site/replica.h"

/* Sends the LISTING frames; a manifest that fails fails the replica. */
void listing_answer(struct replica *r, const struct msg_list *m);

#endif
