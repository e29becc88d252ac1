/*
 * The stage: where a batch is prepared, on the root's filesystem but not served. A directory
 * ".mirrord-<16 hex>" beside the root where links, renames and exchanges between the two are seen
 * to work, else inside the root.
 *
 *   CACHEDIR.TAG              for backups
 *   trash/foreign/ITEM/       set aside: "path" says where it was, "content" is it; see aside.h
 *   trash/kept/ITEM/          our own, deleted or overwritten: the same; see kept.h
 *   n<session>-<n>            staged by the session with this number
 *   d<session>-<n>            to be removed
 *   u<time>-<session>-<n>/    a unit that is built or was replaced; see grace.h
 */
#ifndef SECONDARY_STAGE_STAGE_H
#define SECONDARY_STAGE_STAGE_H

#include <dirent.h>

#include "base/err.h"
#include "base/set.h"
#include "tree/root.h"

enum { STAGE_NAME_MAX = 64, STAGE_PARTS_MAX = 16 };

struct outside;

struct stage_part { /* parts.h */
    char name[STAGE_NAME_MAX];
    uint64_t size;
    int64_t time; /* of the last change */
};

struct grace_unit {    /* grace.h */
    struct bytes path; /* owned: of the unit beneath the root */
    uint64_t due;      /* unix time */
};

enum { STAGE_ASIDES = 2 }; /* as enum aside has */

struct bin;

struct stage {
    struct root *root; /* of the stage itself: places in it are paths beneath it */
    char session[17];  /* in the names of what this session stages */
    uint64_t counter;
    bool exchange;                 /* RENAME_EXCHANGE works, between a directory and a file too */
    struct set *dead;              /* names to be removed, in order */
    struct set *held;              /* replaced units that wait for their time: struct grace_unit */
    const struct outside *outside; /* for reap.c */
    DIR *leftovers;                /* being read for what earlier sessions left; NULL: done */
    uint64_t created_at;           /* io_now_ms, of the last thing; */
    unsigned created;              /* as many without a lull; reap.h */
    bool hurry;
    int aside[STAGE_ASIDES]; /* the trash's directories, by enum aside; -1: not opened so far */
    struct stage_part parts[STAGE_PARTS_MAX]; /* of earlier sessions */
    unsigned part_count;
    struct bin *bin;
};

/* The existing stage of this name, beside or inside the root. 1, 0 there is none, -1. */
int stage_find(const struct root *root, const char *name, struct stage **out, struct err *err);

/* A new name, of PATH_NAME_MAX + 1 bytes. */
void stage_invent(char *name);

/* Makes one of this name, or takes what is there. */
int stage_make(const struct root *root, const char *name, struct stage **out, struct err *err);
void stage_close(struct stage *s); /* NULL is fine; leaves it on disk */

/* The replaced unit of this item of `held` is not there any more. */
void stage_forget_held(struct stage *s, struct set_item *item);

/* Makes sure that the stage can be used with this root: link, rename and, if it works, exchange. */
int stage_probe(struct stage *s, const struct root *root, struct err *err);

/* A new name in the stage; kind 'n' or 'd'. Returns its length. */
size_t stage_new_name(struct stage *s, char kind, char out[STAGE_NAME_MAX]);

/* As unlinkat: what a large file holds is freed elsewhere, a moment later. */
int stage_unlink(struct stage *s, int dirfd, const char *name);

/* Takes dirfd/name out of the way for good: a directory is renamed into the stage and removed later
 * in steps, anything else is unlinked. 0, also when there is nothing; -1 with errno. */
int stage_bury(struct stage *s, int dirfd, const char *name);

/* Drops what is staged at this place (a path in the stage): the same. */
void stage_drop(struct stage *s, struct bytes place);

#endif
