/*
 * What has to be sent of one unit: the differences that a comparison found, each subtree spelled
 * out path by path, and how they are to become visible. Private to the push.
 */
#ifndef PRIMARY_PUSH_UNIT_UNIT_PLAN_H
#define PRIMARY_PUSH_UNIT_UNIT_PLAN_H

#include "base/set.h"
#include "primary/push/push_impl.h"

enum unit_way {
    UNIT_NOTHING,   /* it is level */
    UNIT_ATOMS,     /* one entry at most, besides times of directories: a rename makes it visible */
    UNIT_SWITCH,    /* the directories in `tops` are switched */
    UNIT_TOO_LARGE, /* they cannot be, for more changes than a batch may have … */
    UNIT_REPLACED, /* … or since one becomes a directory or is one no longer: owed path by path */
};

struct unit_plan;

/* Owed things made for it name `unit`, and live as long as the plan. More than `most` atoms (0:
 * what a batch may have) are sent path by path. */
struct unit_plan *unit_plan_new(
    struct push_site *ps, struct unit_push *unit, struct bytes key, size_t most);
void unit_plan_free(struct unit_plan *l); /* NULL is fine */

/* From now on what another comparison found is taken in: what was sent before is still known by its
 * `atom`. */
void unit_plan_again(struct unit_plan *l);

/* When all was taken in again: what was found before and is level now is forgotten, and ABORTed. */
void unit_plan_prune(struct push *p, struct unit_plan *l);

/* Takes in a part of what was found: 1 when there is more, 0 when that was all, -1. */
int unit_plan_step(struct unit_plan *l, const struct compare *found, struct err *err);

size_t unit_plan_count(const struct unit_plan *l);      /* of paths */
enum unit_way unit_plan_way(const struct unit_plan *l); /* after the last step */

/* Of the files that there are not, or are others. */
uint64_t unit_plan_bytes(const struct unit_plan *l);

/* UNIT_SWITCH: items whose keys are the directories to be switched. */
struct set_item *unit_plan_tops(const struct unit_plan *l);

/* The next path to send, deletions last; NULL at the end. */
struct owed *unit_plan_next(struct unit_plan *l);

/* Owes what does not go with the unit because it changes all the time. */
void unit_plan_owe_alone(struct push *p, struct unit_plan *l);

/* What is not switched: owes all of it outside of the unit. */
void unit_plan_owe(struct push *p, struct unit_plan *l, const struct compare *found);

#endif
