/*
 * What mirrord committed stays known as such when the site's filter changes. A manifest is made for
 * one filter; with another one it is made anew by a walk, which cannot know what was committed. So
 * the old one is put aside until the new one has inherited from it.
 */
#ifndef SECONDARY_SITE_INHERIT_H
#define SECONDARY_SITE_INHERIT_H

#include "tree/manifest/manifest.h"

struct inherit;

/* Both are borrowed. */
struct inherit *inherit_new(struct manifest *from, struct manifest *to);
void inherit_free(struct inherit *i); /* NULL is fine */

/* Works for about budget_ms: entries that are committed in the old manifest and have the same
 * validators in the new one are committed there, too, with the accepted entry. 1 there is more, 0
 * done, -1. */
int inherit_step(struct inherit *i, unsigned budget_ms, struct err *err);

#endif
