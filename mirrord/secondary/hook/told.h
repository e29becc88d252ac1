/* TELL: the primary wants to know when the command after a commit is through with what was
 * committed so far. */
#ifndef SECONDARY_HOOK_TOLD_H
#define SECONDARY_HOOK_TOLD_H

#include "secondary/site/replica.h"

/* TELL of an open site: it is answered with TOLD, now or later. */
void told_ask(struct replica *r, uint64_t token);

void told_free(struct replica *r); /* fine when nothing was asked */

#endif
