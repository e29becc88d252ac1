/*
 * What the parts of the walk share. walk.c goes from directory to directory, walk_compare.c holds
 * the disk against the manifest a chunk of names at a time, walk_item.c finds out what differs and
 * writes it, walk_read.c reads content; walk_ahead.c looks at directories that come next.
 */
#ifndef TREE_WALK_WALK_IMPL_H
#define TREE_WALK_WALK_IMPL_H

#include <time.h>

#include "tree/arena.h"
#include "tree/walk/walk.h"
#include "tree/walk/walk_ahead.h"

enum {
    WALK_CHUNK = 512,      /* names held against the manifest at a time */
    WALK_ITEMS_MAX = 1024, /* differences worked on at a time; below MANIFEST_TXN_MAX */
};

/* A directory to be looked at, or one name in it. */
struct walk_job {
    uint64_t dir;
    char *name;    /* owned; NULL: the whole directory */
    bool existing; /* directories found that the manifest has already are walked too, */
    bool deep;     /* …with all beneath them */
    bool offered;  /* to the second thread */
};

/* What the disk says about a name. */
enum walk_sight {
    SIGHT_ENTRY,   /* st tells */
    SIGHT_GONE,    /* nothing there */
    SIGHT_OUTSIDE, /* not mirrored: excluded, or of a kind that cannot be */
    SIGHT_UNKNOWN, /* could not be read: the manifest keeps what it has */
};

struct walk_seen {
    enum walk_sight sight;
    struct stat st;
};

enum walk_action { ACTION_LOOK, ACTION_READ, ACTION_NOTHING, ACTION_PUT, ACTION_DELETE };

/* A name whose record may have to change. Copies are in the chunk's arena. */
struct walk_item {
    struct bytes name; /* NUL-terminated */
    enum walk_sight sight;
    enum walk_action action;
    struct stat st;
    struct timespec seen; /* not later than st */
    bool has_before, has_after;
    bool moved; /* a directory's old name or its new one */
    struct record before, after;
};

/* A file whose content is being read. */
struct walk_reading {
    int fd; /* -1: none */
    struct validators validators;
    struct timespec began;
    uint64_t size, offset;
    struct digest_stream *stream; /* kept from file to file, like buf */
    uint8_t *buf;
};

enum walk_state { STATE_START, STATE_NEXT, STATE_COMPARE, STATE_ITEMS, STATE_WRITE };

struct walk {
    struct root *root;
    struct manifest *manifest;
    const struct filter *filter;
    struct names *names;
    struct walk_options o;
    struct walk_hooks hooks;
    struct walk_counts counts;
    char *top;
    size_t top_len;
    dev_t device; /* of the root: others are mount points */

    struct walk_job *jobs;
    size_t job_count, job_room;
    unsigned retries; /* directories that were gone when they were opened */

    enum walk_state state;
    struct walk_job job;
    char path[PATH_TOTAL_MAX + 1 + PATH_NAME_MAX + 1]; /* of the directory, and room for a name */
    size_t path_len;
    struct walk_ahead *ahead;   /* NULL: not worth it yet, or not to be had */
    struct walk_sighting found; /* the directory, its names, and maybe what was seen of them */
    bool names_only;            /* the listing is of single names: what is not in it is not gone */
    size_t next;                /* index in the listing */
    size_t after_len;           /* every record up to this name was compared */
    char after[PATH_NAME_MAX + 1];

    struct walk_seen *seen;  /* WALK_CHUNK */
    struct walk_item *items; /* up to WALK_ITEMS_MAX */
    size_t item_count, item_next, item_room;
    /* Of the directory at work, while its items are written. */
    enum { COMMITTED_UNKNOWN, COMMITTED_NO, COMMITTED_YES } committed;
    bool more_names;   /* behind those that were compared */
    bool reading_turn; /* items that need no reading are written first */
    uint64_t read_since_write;
    struct walk_reading reading;
    struct arena arena;
    struct entry_store store;

    struct listing again; /* names whose record changed under the walk: looked at once more */
    unsigned rounds;
};

/* The path of a name (at most PATH_NAME_MAX bytes) in the directory; valid until the next call. */
struct bytes walk_path_of(struct walk *w, struct bytes name);
void walk_unreadable(struct walk *w, struct bytes path, const struct err *why);
/* A directory was found: is it walked, and how? */
void walk_found_dir(struct walk *w, uint64_t dir, bool is_new);

/* Copies into the chunk's arena. */
struct bytes walk_keep(struct walk *w, struct bytes b);
struct record walk_keep_record(struct walk *w, const struct record *r);

/* Compares the next chunk; fills items. 1 more names to come, 0 that was the last, -1. */
int walk_compare(struct walk *w, struct err *err);

/* Works on one item; false when it is time to write. */
bool walk_item_step(struct walk *w);
/* Writes what is ready and calls the hooks. 0 or -1. */
int walk_items_write(struct walk *w, struct err *err);
/* Before the item is written, in the directory `dir`: what there is of drift, and whether the
 * record may count as committed after all. 0 or -1. */
int walk_drift_note(
    struct walk *w, struct manifest_txn *t, uint64_t dir, struct walk_item *item, struct err *err);
/* The root's own record. 0 or -1. */
int walk_root_record(struct walk *w, struct err *err);

/* Starts on the directory's file of this name, which must be what `validators` say. False: busy,
 * racy or another one by now. */
bool walk_read_begin(struct walk *w, const char *name, const struct validators *validators);
enum walk_read_result { READ_MORE, READ_GOOD, READ_CHANGED };
/* Reads a piece; READ_GOOD with the digest. */
enum walk_read_result walk_read_step(struct walk *w, struct digest *out);
void walk_read_stop(struct walk *w);

#endif
