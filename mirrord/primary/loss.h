/*
 * How much a site has lost lately: the entries by which its manifest became smaller within ten
 * minutes, less those that came back. What vanishes and is put there again, as in an update, is no
 * loss; a removal in many small batches is one. Thread-safe.
 */
#ifndef PRIMARY_LOSS_H
#define PRIMARY_LOSS_H

#include <pthread.h>

#include "tree/manifest/manifest.h"
#include "tree/state/deletions.h"

struct loss {
    pthread_mutex_t lock;
    struct deletions deletions;
    uint64_t entries;      /* at the last look */
    uint64_t excused;      /* so many of the next to go do not count … */
    int64_t excused_until; /* … until then */
    bool looked;
    bool had; /* there was something at some look */
};

void loss_init(struct loss *l);
void loss_free(struct loss *l);

/* The manifest has so many entries now. Called whenever that may have changed. */
void loss_look(struct loss *l, uint64_t entries);

/* So many entries are about to leave the manifest, or just did, that are no loss: a unit counts as
 * one entry, whatever was in it. */
void loss_excuse(struct loss *l, uint64_t entries);

/* Looks at the manifest. -1 with err (ERR_REFUSED) when more is gone than the limit allows, or
 * everything. */
int loss_check(
    struct loss *l, struct manifest *m, const struct deletions_limit *limit, struct err *err);

/* The operator says that it is meant to be so. */
void loss_forgive(struct loss *l);

#endif
