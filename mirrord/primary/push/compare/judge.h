/*
 * Whether a site is held after a comparison.
 */
#ifndef PRIMARY_PUSH_COMPARE_JUDGE_H
#define PRIMARY_PUSH_COMPARE_JUDGE_H

#include "primary/push/push.h"

/* What was found, as far as it is judged. The texts are owned; NULL: none. */
struct findings {
    bool foreign; /* first contact with a root that holds something */
    uint64_t remote_entries, local_entries;
    uint64_t doomed;       /* entries to be deleted there */
    uint64_t newer, older; /* differing files there, by mtime */
    char *namesake;        /* an entry of the far root named as our root is (rsync's habit) */
    char *doomed_example, *newer_example;
};

/* -1 with err: the site is to be held. */
int judge_findings(const struct push_site *ps, const struct findings *f, struct err *err);

void judge_free(struct findings *f); /* what is in it */

#endif
