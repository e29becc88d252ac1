/*
 * Fencing at the secondary: a primary presents its epoch with OPEN, and it is looked at again with
 * every commit, so that a host that was promoted meanwhile is never overwritten.
 */
#ifndef SECONDARY_SITE_FENCING_H
#define SECONDARY_SITE_FENCING_H

#include "secondary/site/replica.h"

/* With OPEN, once the root is open. -1 with err and the reason. */
int fencing_present(struct replica *r, const struct msg_open *m, uint16_t *reason, struct err *err);

/* Before a commit: no promotion comes until fencing_leave. -1 with err: another epoch counts. */
int fencing_enter(struct replica *r, struct err *err);
void fencing_leave(struct replica *r); /* fine when it was not entered */

enum { FENCING_LOOK_MS = 400 };

/* Often; it looks now and then: sites whose epoch was raised are closed, so that their roots are
 * free. */
void fencing_look(struct tools *tools);

/* Answers a CLAIM. */
void fencing_claim(struct tools *tools, const struct msg_claim *m);

#endif
