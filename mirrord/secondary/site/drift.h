/*
 * Drift, as this end sees it: the manifest remembers what was committed at paths that somebody else
 * changed since (tree/manifest/manifest.h); the primary is told of it when the site is opened. More
 * is found by walking the tree once a day and by reading all content within a month.
 */
#ifndef SECONDARY_SITE_DRIFT_H
#define SECONDARY_SITE_DRIFT_H

#include "secondary/site/replica.h"

struct drift;

struct drift *drift_new(struct replica *r);
void drift_free(struct drift *d); /* NULL is fine */

/* What the walks of this site note: enum walk_drift, or'ed. */
unsigned drift_kinds(const struct replica *r);

/* Takes over what was remembered under a former filter, but for what is not mirrored any more. */
int drift_inherit(struct replica *r, struct err *err);

/* Tells the primary some more of what is remembered. 1 there is more, 0 that was all (the next call
 * begins again), -1. */
int drift_tell(struct drift *d, struct err *err);

/* Was any found since the site was opened? */
bool drift_found(const struct drift *d);

/* The site is open: from now on it is looked for. `unproven`: files, as the primary knows. */
void drift_watch(struct drift *d, uint64_t unproven);

/* When the tree is to be walked next (io_now_ms); and what the process before knew. */
uint64_t drift_due(const struct drift *d);
void drift_resume(struct drift *d, bool found, uint64_t due);

#endif
