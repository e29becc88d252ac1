/*
 * What one walk of a whole tree changed in the manifest, and the sums from before: a secondary that
 * still has the manifest's former sums differs by this and nothing else, and need not be asked.
 *
 * Kept for few changes only. Many, or a directory that went (what was in it is not known any more),
 * and it is incomplete: then both manifests are compared. Not thread-safe: the walk fills it, who
 * compares reads it when the walk is over.
 */
#ifndef PRIMARY_WALKED_H
#define PRIMARY_WALKED_H

#include "tree/manifest/manifest.h"

enum {
    WALKED_MAX = 4096,          /* changes and new directories: behind that a LIST is cheap */
    WALKED_BYTES_MAX = 4 << 20, /* of their paths and entries, whatever names somebody made up */
};

struct walked;

/* Before the walk. NULL with err: the manifest cannot be read. */
struct walked *walked_begin(struct manifest *m, struct err *err);
void walked_free(struct walked *w); /* NULL is fine */

/* As the walk's hook `changed`, in its order: a directory before what is in it. Of a path that is
 * told of again the first state counts; what lies in a new directory is part of that. */
void walked_add(
    struct walked *w, struct bytes path, const struct record *before, const struct record *after);

/* The sums from before, or NULL: it is incomplete. */
const struct msg_sums *walked_sums(const struct walked *w);

struct walked_change {
    struct bytes path;   /* never the root itself */
    bool was;            /* something was there: */
    struct entry before; /* points into the change; of a directory there are no sums */
};

/* The change behind `at` (NULL: the first) goes to *out, which lives as long as `w`. Returns what
 * to go on with; NULL at the end. */
const void *walked_next(const struct walked *w, const void *at, struct walked_change *out);

#endif
