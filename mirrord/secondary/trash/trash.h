/*
 * What was set aside (foreign.h) and what is kept (kept.h), for people: listed and put back. On
 * this host's disk only; no session is needed, nor the root's lock.
 */
#ifndef SECONDARY_TRASH_TRASH_H
#define SECONDARY_TRASH_TRASH_H

#include <stdint.h>
#include <sys/types.h>

#include "secondary/stage/stage.h"

struct trash;

/* The trash of this root; *out is NULL where it has none. */
int trash_open(const char *state_dir, const char *root, struct trash **out, struct err *err);
void trash_close(struct trash *t); /* NULL is fine */

struct trash_item {
    const char *id;
    bool own;          /* mirrord had put it there: deleted or overwritten, not foreign */
    int64_t since;     /* when it was set aside, in seconds since 1970 */
    int64_t until;     /* when it goes */
    struct bytes path; /* where it was beneath the root */
    mode_t mode;
    uint64_t size;
    const char *content; /* where it is now, absolute */
};

/* Calls `each` for every item, the oldest first; what it points to lives until it returns. */
int trash_list(struct trash *t, void (*each)(void *ctx, const struct trash_item *i), void *ctx,
    struct err *err);

/* Moves an item to `to`, an absolute path, or (NULL) to where it was; whatever stands there already
 * is left alone, which is an error. */
int trash_restore(struct trash *t, const char *id, const char *to, struct err *err);

#endif
