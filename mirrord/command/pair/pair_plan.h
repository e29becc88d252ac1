/* What pairing will write: files on its hosts, each read first, and said before it is done. */
#ifndef COMMAND_PAIR_PAIR_PLAN_H
#define COMMAND_PAIR_PAIR_PLAN_H

#include "base/buf.h"
#include "command/pair/pair_end.h"

struct pair_planned {
    struct pair_end *end;
    char *path, *user; /* user: whose it becomes, "" for nobody in particular */
    bool there;
    unsigned mode;
    char *was, *text; /* before and after; NUL-terminated, the same while nothing is to be done */
    struct buf says;  /* for the person, lines */
};

struct pair_plan {
    struct pair_planned *files;
    size_t count;
};

/* The file on this host, read when it is asked for first. A new one gets the mode. *out is valid
 * until the next call. */
int pair_plan_file(struct pair_plan *p, struct pair_end *end, const char *path, const char *user,
    unsigned mode, struct pair_planned **out, struct err *err);

/* Takes the new text over, and says what that means; each line of it begins as given. */
void pair_plan_change(struct pair_planned *f, char *text, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

bool pair_plan_is_empty(const struct pair_plan *p);
void pair_plan_print(const struct pair_plan *p);

/* Writes what changes, in the order in which the files were asked for; the first failure ends it.
 */
int pair_plan_apply(struct pair_plan *p, struct err *err);

void pair_plan_free(struct pair_plan *p);

#endif
