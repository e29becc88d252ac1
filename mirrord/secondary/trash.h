/*
 * What was set aside (foreign.h), for people: listed, put back, and dropped after its time. On this
 * host's disk only; no session is needed, nor the root's lock.
 */
#ifndef SECONDARY_TRASH_H
#define SECONDARY_TRASH_H

#include <stdint.h>
#include <sys/types.h>

#include "secondary/stage.h"

enum { TRASH_KEPT_DAYS = 30 };

struct trash;

/* The trash of this root; *out is NULL where it has none. */
int trash_open(const char *state_dir, const char *root, struct trash **out, struct err *err);
void trash_close(struct trash *t); /* NULL is fine */

struct trash_item {
    const char *id;
    int64_t since;     /* when it was set aside, in seconds since 1970 */
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

/* What has been there for longer than it is kept is taken for dead. */
void trash_sweep(struct stage *s);

#endif
