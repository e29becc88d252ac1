/* Finishing what a killed receiver left half done. */
#ifndef SECONDARY_RECOVER_H
#define SECONDARY_RECOVER_H

#include "secondary/site/replica.h"

/* Rolls the manifest's journal forward, if there is one, and always clears it: a step that cannot
 * be done any more is forgotten and its path read again. -1 when the manifest fails. */
int recover_run(struct replica *r, struct err *err);

/* As receive_recover, within a session. */
int recover_beside(const struct outside *outside, const char *state_dir, const char *root,
    const struct receive_policy *policy, struct err *err);

#endif
