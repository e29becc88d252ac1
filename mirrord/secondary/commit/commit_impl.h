/* What the parts of a commit share: commit.c (order, journal), install.c (steps on disk), fate.c
 * (what they take away), moves.c,
 * units.c and replaced.c, prune.c, touch.c (directories' times), record.c (the manifest). */
#ifndef SECONDARY_COMMIT_COMMIT_IMPL_H
#define SECONDARY_COMMIT_COMMIT_IMPL_H

#include <sys/stat.h>

#include "secondary/commit/commit.h"

/* The directory bits without which nothing in it can be changed. */
enum { COMMIT_DIR_WORK = S_IWUSR | S_IXUSR };

enum commit_phase {
    PHASE_STAGED, /* is on the disk, where the site asks for that */
    PHASE_JOURNAL,
    PHASE_STEPS,    /* all that readers see */
    PHASE_REPLACED, /* of units: what is kept */
    PHASE_UNITS,    /* and times on shared inodes */
    PHASE_TOUCH,
    PHASE_RECORD,
    PHASE_REFRESH, /* of what units link */
    PHASE_DONE,
};

struct commit {
    struct replica *r;
    struct step **steps;  /* in order of arrival; the list is owned, the steps are not */
    struct step **sorted; /* by path: what contains comes before what is in it */
    size_t n;
    size_t moves;
    uint64_t number; /* in the ledger; 0: it is not there */
    enum commit_phase phase;
    size_t at;                 /* in this phase */
    struct replaced *replaced; /* of the unit at work */
    bool recovering, verify;
    bool given_up; /* a unit could not be switched: nothing was done */
    bool mighty;   /* permission bits do not stop us */
    struct set
        *touched; /* directories whose times (or modes) are to be set again: struct touched */
};

/* A directory that is touched, as it is to be left. */
struct touched {
    struct step *step; /* whose directory it is; NULL: not of this commit */
    bool known;        /* without a step: mode and mtime are what the manifest says */
    uint16_t mode;
    struct timespec mtime;
    bool done;
    struct validators after;
};

/* install.c */
void install_seal(struct commit *c, struct step *s); /* metadata of a staged directory */
void install_verify(
    struct commit *c, struct step *s); /* fails it where the staged file is damaged */
void install_entry(struct commit *c, struct step *s); /* also moves that have been staged */
void install_delete(struct commit *c, struct step *s);

/* fate.c */
enum fate {
    FATE_DEAD,    /* nothing is lost with it */
    FATE_OURS,    /* kept where the site wants that */
    FATE_FOREIGN, /* set aside */
};
/* Of what is at dirfd/name when the step takes its place. */
enum fate install_fate(const struct step *s, int dirfd, const char *name, const struct stat *live);
/* Takes what is at dirfd/name out of the tree. */
int install_remove(struct commit *c, int dirfd, const char *name, struct bytes path, enum fate fate,
    struct err *err);
bool install_is_ours(const struct step_old *old, const struct stat *live);
/* Has what is out of the tree's way by now the content that took its place? Then nothing is lost
 * with it, whoever put it there: mirrord itself, perhaps, whose record went with the power. */
bool install_is_matched(const struct step *s, int dirfd, const char *name);
void install_loosen(struct commit *c, int dirfd); /* u+w for the step */
/* The same for the directory dirfd/name, which can only change its parent so; fine for others. */
void install_loosen_at(struct commit *c, int dirfd, const char *name);

/* units.c */
/* All units, or none (c->given_up). -1 with err: the manifest failed. */
int units_switch(struct commit *c, struct err *err);
/* What they leave: 1 there is more, 0 done. Afterwards their steps are. */
int units_sort(struct commit *c, uint64_t deadline);
int units_settle(struct commit *c, uint64_t deadline);
int units_refresh(struct commit *c, struct err *err);

/* moves.c */
void moves_take(struct commit *c, struct step *s);
void moves_finish(struct commit *c, struct step *s);
/* Where this path was before the commit's moves; the caller frees .data. */
struct bytes moves_old_path(const struct commit *c, struct bytes path);

/* prune.c: a directory that holds what is not mirrored loses what is. */
void prune_directory(struct commit *c, struct step *s);

/* touch.c */
void touch_add(struct commit *c, struct bytes path);
/* A directory was moved: it, and what was touched in it before, is touched at its new path. */
void touch_moved(struct commit *c, const struct step *s);
int touch_all(struct commit *c, struct err *err);

/* durable.c: nothing unless the site asks for it; -1 with err, and the journal must stay as it is.
 */
int durable_staged(struct commit *c, struct err *err); /* before the journal */
int durable_places(struct commit *c, struct err *err); /* after the last step, before the record */

/* record.c */
struct record_parents { /* the directory that was asked for last; zeroed at first */
    bool filled;
    struct bytes path; /* borrowed from the path */
    uint64_t number;
};
/* The number of the directory above a path; 0: it is not known. */
int record_parent(struct manifest_txn *t, struct record_parents *cache, struct bytes path,
    uint64_t *out, struct err *err);
int record_read_old(struct commit *c, struct manifest_txn *t, struct err *err);
int record_some(struct commit *c, struct err *err); /* 1 there is more, 0 done, -1 */
int record_last(struct manifest_txn *t, uint64_t *number, struct err *err); /* 0, -1 */

int commit_journal(struct commit *c, struct err *err); /* writes it, anew */

struct step *commit_find(const struct commit *c, struct bytes path); /* of kind ENTRY, or NULL */

#endif
