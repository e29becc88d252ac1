/*
 * Units in the stage: the one that is being built, and those that were replaced and stay for a
 * while for readers that have them open. Each lies in a directory of its own,
 *
 *   u<time>-<session>-<n>/path      where it belongs beneath the root; or "switched-<inode>"
 *   u<time>-<session>-<n>/content   the unit
 *
 * whose name says when it may go: unix time, in hexadecimal; 0 for what never was replaced. A unit
 * here shares inodes with the live one; retire.c removes it with care.
 */
#ifndef SECONDARY_UNIT_GRACE_H
#define SECONDARY_UNIT_GRACE_H

#include "secondary/stage/stage.h"

#define GRACE_CONTENT "/content"

/* A new directory for a unit; its content is the caller's to make. -1 with err: nothing is left. */
int grace_make(struct stage *s, struct bytes unit, char name[STAGE_NAME_MAX], struct err *err);

/* What is here (this inode; 0: nothing yet) is about to be live, and what is live to be here:
 * should nobody come to look through that, it is set aside as a whole when it is loaded. */
void grace_switching(struct stage *s, const char *name, uint64_t inode);

/* What is in the directory of this name is not wanted any more, from `seconds` from now on. */
void grace_keep(struct stage *s, const char *name, struct bytes unit, unsigned seconds);

/* What is in it never was live, and is not wanted. */
void grace_discard(struct stage *s, const char *name, struct bytes unit);

void grace_load(struct stage *s); /* what earlier sessions left, into s->held */

/* How many of the kept units have this inode at their place for the path. */
unsigned grace_links(struct stage *s, struct bytes path, uint64_t inode);

/* The place in the stage of what is at `path`, in the unit at `unit`; false where it is too long.
 */
bool grace_place(const char *name, struct bytes unit, struct bytes path,
    char out[PATH_TOTAL_MAX + 1], struct bytes *place);

#endif
