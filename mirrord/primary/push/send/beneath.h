/*
 * Everything beneath a directory, path by path out of the manifest, parents before what is in them.
 * Keeps a stack of names, not of descriptors or records, so that it costs the depth and not the
 * size; reads some names at a time, so that no transaction outlives a step.
 */
#ifndef PRIMARY_PUSH_SEND_BENEATH_H
#define PRIMARY_PUSH_SEND_BENEATH_H

#include "primary/push/send/sight.h"

struct beneath;

/* Of the directory `top`, which is itself left out; what is not one (any more) has nothing beneath
 * it. With `units` a unit is listed, and nothing that lies in it. */
struct beneath *beneath_new(struct push_site *ps, struct bytes top, bool units);
void beneath_free(struct beneath *b); /* NULL is fine */

struct beneath_entry {
    struct bytes path; /* NUL-terminated; like all of it until the next call */
    bool is_dir;
    bool is_unit;                    /* or, of one of several parts, a part */
    const struct foreseen *foreseen; /* the manifest's record; NULL: it may be old, look */
};

/* 1 with the next, 0 at the end, -1: the manifest failed, and the next call tries it again. */
int beneath_next(struct beneath *b, struct beneath_entry *out, struct err *err);

#endif
