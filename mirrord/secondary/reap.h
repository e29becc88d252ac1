/* Removing what is dead in a stage, in steps. */
#ifndef SECONDARY_REAP_H
#define SECONDARY_REAP_H

#include "secondary/stage.h"

/* Starts looking for what earlier sessions left behind. `outside` is borrowed. */
void reap_begin(struct stage *s, const struct outside *outside);

/* Removes for about budget_ms; false when nothing is left to do. */
bool reap_some(struct stage *s, unsigned budget_ms);

#endif
