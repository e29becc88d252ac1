/*
 * The walk: makes a manifest equal to the disk by a stat of every entry, reading content only
 * where validators changed. Works a directory at a time, in steps, so that a receiver can answer
 * between them; the primary uses it for the whole tree, for one subtree, and for one directory.
 */
#ifndef TREE_WALK_WALK_H
#define TREE_WALK_WALK_H

#include "tree/filter.h"
#include "tree/manifest/manifest.h"
#include "tree/names.h"
#include "tree/root.h"
#include "tree/state/mounts.h"

struct walk;

enum { WALK_AHEAD = 16 }; /* a good value of walk_options.ahead */

enum walk_outcome { WALK_MORE = 1, WALK_DONE = 0 };

struct walk_counts {
    uint64_t entries, directories, files, bytes;
    uint64_t skipped; /* devices, sockets, FIFOs */
    uint64_t excluded;
    uint64_t unreadable; /* directories and entries that could not be read: nothing beneath them was
                            taken for deleted */
    uint64_t hashed;     /* bytes of content read */
    uint64_t drift;      /* paths that were noted as drift */
};

enum walk_drift {
    WALK_DRIFT = 1,
    WALK_DRIFT_OWNER = 2, /* owner and group count */
    WALK_DRIFT_ACL = 4,   /* so do ACLs */
};

/* Is what is there what was committed, as far as `drift` counts? */
bool walk_drift_same(unsigned drift, const struct entry *was, const struct entry *now);

/* All optional. Paths are relative to the root. */
struct walk_hooks {
    /* A directory is open and about to be listed: the place to add a watch. */
    void (*enter)(void *ctx, uint64_t dir, struct bytes path, int fd);
    /* The manifest changed here: before (NULL: new) and after (NULL: deleted), copies that live as
     * long as the call. Called behind the commit, with no transaction open. Not called where only
     * validators moved, or where only a digest was learned. */
    void (*changed)(
        void *ctx, struct bytes path, const struct record *before, const struct record *after);
    /* What could not be mirrored or read, with the reason. */
    void (*skipped)(void *ctx, struct bytes path, const char *why);
    void (*unreadable)(void *ctx, struct bytes path, const struct err *why);
    void *ctx;
};

struct walk_options {
    bool checksum;     /* read every file, whatever its validators say */
    bool prove;        /* read files whose digest is not known, too */
    int64_t since;     /* not 0: read files whose ctime is not older (seconds), too */
    bool keep_special; /* setuid and setgid of files stay */
    bool shallow;      /* only the directory `top`, not those beneath it (new ones are walked) */
    unsigned ahead; /* once so many directories wait, a second thread looks at those that come next;
                       0: never. Not where there is a hook `enter` */
    struct mounts *mounts; /* where volumes are, or were, mounted: taken for unreadable; or NULL */
    bool find_moves; /* a directory renamed within its parent keeps its records; `changed` tells of
                        the old name's end and the new one's appearance, not of what is in it */
    bool keep_accepted; /* secondary: an entry whose validators match keeps the accepted entry; one
                           that differs loses RECORD_COMMITTED unless only its ctime moved and its
                           content is the same (directories, links: unless the inode is another) */
    unsigned drift; /* enum walk_drift, or'ed; secondary: what was committed and is something else
                       now, and what is new where all was committed, is noted as drift */
};

/* Starts at `top` ("" for all): its own record first, then, where it is a directory, what is in it.
 * Of `top` only the directory above must be in the manifest (else there is nothing to do); it may
 * be of any type, new, or gone. The pieces are borrowed for the walk's life. */
struct walk *walk_new(struct root *root, struct manifest *m, const struct filter *f,
    struct names *names, struct bytes top, const struct walk_options *o,
    const struct walk_hooks *h);

/* Works for about budget_ms (at least one unit of work), leaving no transaction open. WALK_MORE,
 * WALK_DONE, or -1 when the root itself cannot be read or the manifest fails. */
int walk_step(struct walk *w, unsigned budget_ms, struct err *err);
const struct walk_counts *walk_counts(const struct walk *w);
void walk_free(struct walk *w);

#endif
