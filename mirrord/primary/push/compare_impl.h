/*
 * What the two parts of a comparison share: compare.c (which directories are listed, and when it is
 * over) and merge.c (one directory). Private to them.
 */
#ifndef PRIMARY_PUSH_COMPARE_IMPL_H
#define PRIMARY_PUSH_COMPARE_IMPL_H

#include "base/set.h"
#include "primary/push/compare.h"
#include "primary/push/judge.h"

struct request { /* a LIST without its last LISTING */
    TAILQ_ENTRY(request) order;
    uint32_t number; /* 0: not asked yet */
    char *path;
    char *last;      /* local name merged last */
    unsigned bits;   /* of the buckets it was asked with; 0: everything is listed */
    uint8_t *differ; /* which of them differ; NULL: not told yet */
};

struct compare {
    struct queue *queue; /* that remembers what is done meanwhile; NULL: of a unit, nothing is */
    struct push_site *ps;
    TAILQ_HEAD(requests, request) requests;
    unsigned asked;
    struct set *told; /* directories that the far end told of meanwhile, each once */
    struct differences all;
    const struct owed *unit; /* the differences of this unit alone, for whoever asked */
    bool lacking;            /* the directory it is in is not there */
    bool illegal;            /* what was listed is */
    size_t strangers;        /* names that are there alone */
    bool whole;              /* the site, not a subtree: to be judged */
    struct findings findings;
    uint64_t other; /* files of which digests alone tell that they differ */
    char *other_example;
};

/* compare.c: this directory is to be listed. */
void compare_want(struct compare *c, struct bytes path);

/* merge.c */
/* Takes in what was listed of the directory that was asked for. -1 with err: it is malformed (then
 * `illegal` is set), or the manifest cannot be read. */
int merge_listing(
    struct compare *c, struct request *r, const struct msg_listing *m, struct err *err);
/* Takes in a change of the far end's manifest into ours, which are equal but for such. */
int merge_walked(
    struct compare *c, struct manifest_txn *t, const struct walked_change *change, struct err *err);
/* Somebody else's doing, which is left as it is? `ours`: NULL where nothing is here. */
bool merge_leaves(
    const struct compare *c, const char *dir, struct bytes name, const struct entry *ours);

#endif
