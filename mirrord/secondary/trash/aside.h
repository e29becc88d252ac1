/*
 * Items of a stage's trash. Each is a directory
 *
 *   trash/foreign/TIME-SESSION-N          what mirrord did not put there (foreign.h)
 *   trash/kept/TIME-SESSION-N-DAYSx       what it did, for so many days (kept.h); x is the state
 *
 * with the file "path", which says where it was beneath the root, and the thing itself, "content".
 */
#ifndef SECONDARY_TRASH_ASIDE_H
#define SECONDARY_TRASH_ASIDE_H

#include "secondary/stage/stage.h"

enum aside { ASIDE_FOREIGN, ASIDE_KEPT, ASIDES };

enum { ASIDE_NAME_MAX = 96, ASIDE_FOREIGN_DAYS = 30 };

#define ASIDE_PATH    "path"
#define ASIDE_CONTENT "content"

struct aside_name {
    int64_t since;  /* seconds since 1970 */
    uint64_t order; /* among those of one session and second */
    unsigned days;  /* that it is kept */
    char state;     /* enum kept_state; foreign: 0 */
};

/* "trash/foreign", "trash/kept": beneath the stage. */
const char *aside_place(enum aside which);

/* Its directory, borrowed from the stage; made where it is not there (`make`). -1 with errno. */
int aside_open(struct stage *s, enum aside which, bool make);

/* False: not the name of an item. */
bool aside_parse(const char *name, struct aside_name *out);

/* What is to be set aside: dirfd/name. */
struct aside_thing {
    int dirfd;
    const char *name;
    struct bytes path; /* where it is beneath the root */
    bool link;         /* it gets a second name there, else it is renamed */
};

/* A new item of it. `tail` ends the item's name, which is left in `where`. -1 with err: nothing is
 * left of the item, and the thing is where it was. */
int aside_put(struct stage *s, enum aside which, const char *tail, const struct aside_thing *thing,
    char where[ASIDE_NAME_MAX], struct err *err);

#endif
