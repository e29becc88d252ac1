/*
 * A unit as it will be, built in the stage: directories anew, hard links to the live files that the
 * manifest knows, and what the batch staged. Nothing of the live tree changes but the link counts.
 */
#ifndef SECONDARY_UNIT_CLONE_H
#define SECONDARY_UNIT_CLONE_H

#include "base/set.h"
#include "secondary/commit/refresh.h"
#include "secondary/commit/step.h"
#include "secondary/commit/subtree.h"
#include "secondary/site/replica.h"

struct clone_dir {
    struct bytes path;
    struct step *step;            /* whose entry it becomes; NULL: that of the manifest */
    struct validators was, after; /* in the manifest; once it was sealed */
};

struct clone {
    struct replica *r;
    struct step *unit;         /* STEP_UNIT */
    const struct set *steps;   /* the batch's steps by path */
    char name[STAGE_NAME_MAX]; /* in the stage; see grace.h */
    struct subtree *left;      /* of the manifest; NULL: all is linked */
    struct refresh linked;     /* files whose ctime the link moved */
    struct clone_dir *dirs;    /* a directory comes before those in it */
    size_t dir_count, dir_cap;
    size_t sealed; /* from the end */
    size_t noted;  /* for the refresh, from the start */
    struct arena paths;
};

/* Begins one of what is live, or, when `empty`, of nothing. NULL with err. */
struct clone *clone_new(
    struct replica *r, struct step *unit, const struct set *steps, bool empty, struct err *err);
void clone_free(struct clone *c); /* NULL is fine; what it made stays */

/* The directories and links, until the deadline (io_now_us). 1 there is more, 0, -1 with err
 * (sys EPERM, EMLINK or EXDEV where files cannot be linked here). */
int clone_link(struct clone *c, uint64_t deadline, struct err *err);

/* What a step brings, the directory above it first. A failure is the step's. */
void clone_fill(struct clone *c, struct step *s);

/* Modes, owners and times of the directories. A failure is a step's, or with -1 the unit's. */
int clone_seal(struct clone *c, uint64_t deadline, struct err *err);

/* The commit's end, or that of a clone that is not wanted: the links moved ctimes. Some of them; 1
 * there are more, 0, -1. */
int clone_refresh(struct clone *c, struct err *err);

#endif
