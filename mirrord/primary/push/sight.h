/*
 * What the disk says a path is, at the moment at which it is to be sent. Private to the push.
 */
#ifndef PRIMARY_PUSH_SIGHT_H
#define PRIMARY_PUSH_SIGHT_H

#include "primary/push/push_impl.h"

/* What the disk says a path is now. */
struct sight {
    int dir; /* the directory above, which is p->above's */
    char name[PATH_NAME_MAX + 1];
    struct stat st;
    struct entry entry;
    struct entry_store store;
};

enum sight_outcome { SIGHT_THERE = 0, SIGHT_GONE = 1, SIGHT_CHANGED = 2 };

/* -1 with err: it cannot be told. */
int sight_look(
    struct push *p, struct push_site *ps, struct bytes path, struct sight *s, struct err *err);

/* What the manifest had of a path. */
struct foreseen {
    struct entry entry; /* a file's, without digest */
    struct validators validators;
    char owner[ENTRY_OWNER_MAX], group[ENTRY_OWNER_MAX];
};

/* Takes what is needed of the record. False: it proves too little, a look is needed. */
bool sight_foresee(struct foreseen *f, const struct record *r);

/* Can it be taken for what was foreseen? Then *s is that. */
bool sight_is_foreseen(struct push *p, struct push_site *ps, struct bytes path,
    const struct foreseen *f, struct sight *s);

#endif
