/* One look at one path: what examine.c (where it is, what kind it is), examine_file.c (is it ready,
 * has it changed) and examine_dir.c (new, moved, replaced) share. */
#ifndef PRIMARY_SCAN_EXAMINE_IMPL_H
#define PRIMARY_SCAN_EXAMINE_IMPL_H

#include "primary/scan/scan_impl.h"

enum examine_outcome {
    EXAMINE_DONE,  /* the hint is settled */
    EXAMINE_LATER, /* it has been postponed */
    EXAMINE_HELD,  /* the root is not in place: nothing of this run counts */
    EXAMINE_FAILED,
};

struct look {
    struct scan_site *s;
    struct manifest_txn *t;
    struct hint *h;
    uint64_t now;
    struct err err;

    uint64_t dir;         /* number of the directory above; 0: this is the root */
    struct bytes name;    /* in path */
    bool known;           /* the manifest has it: */
    struct record record; /* valid until something is put */
    uint64_t above_inode; /* of the directory above, as the manifest has it */
    int fd;               /* the directory above; -1: none */
    struct timespec seen; /* validators_clock, not later than: */
    struct stat st;
    struct entry entry; /* as the disk has it */
    struct entry_store store;
    size_t path_len;
    char path[PATH_TOTAL_MAX + 1];
    bool root_checked; /* in this run */
    bool was_dir;      /* the manifest had a directory here */
    bool put;          /* what the manifest has here has changed */
};

static inline struct bytes look_path(const struct look *l)
{
    return (struct bytes){l->path, l->path_len};
}

/* Not yet: again after `ms`, or sooner if something happens. */
enum examine_outcome examine_later(struct look *l, uint64_t ms);
enum examine_outcome examine_backoff(struct look *l, uint64_t max_ms); /* growing from 5 ms */
enum examine_outcome examine_failed(struct look *l);

/* Reads l->entry (l->st is up to date). 1: not mirrored. */
int examine_read(struct look *l);

/* Does the manifest say just what the disk says, validators included? */
bool examine_same(const struct look *l);

/* It has changed, or is another one: other names of the same file are to be looked at, too. */
void examine_links(struct look *l);

/* Puts l->entry with these flags; l->record is what has been put. 0 or -1. */
int examine_put(struct look *l, unsigned record_flags);
void examine_owe(struct look *l, unsigned owe_flags); /* and what waited for it in its directory */

void examine_lost(struct look *l); /* a directory that was known is one no longer */

/* Nothing (that is mirrored) is there any more. */
enum examine_outcome examine_gone(struct look *l);
enum examine_outcome examine_file(struct look *l);
enum examine_outcome examine_dir(struct look *l);

#endif
