/*
 * The hints of one site: the set of paths that may differ from the manifest, and when each is to be
 * looked at. Coalesces what happens to one path; knows nothing of the disk, of paths as text or of
 * events.
 *
 * A path is (number of its directory, name), so that hints stay right when a directory above is
 * renamed. An empty name means the directory itself.
 */
#ifndef PRIMARY_SCAN_BATCH_H
#define PRIMARY_SCAN_BATCH_H

#include "protocol/wire.h"

enum hint_flags {
    HINT_CREATE = 1 << 0,
    HINT_MODIFY = 1 << 1,
    HINT_CLOSE = 1 << 2,   /* closed after writing */
    HINT_META = 1 << 3,    /* mode, owner, times; or a directory's content came or went */
    HINT_MOVED = 1 << 4,   /* renamed to here */
    HINT_GONE = 1 << 5,    /* deleted */
    HINT_LEFT = 1 << 6,    /* renamed away: its other name may come a moment later */
    HINT_OWE = 1 << 7,     /* owed when ready, even if nothing seems changed */
    HINT_PROVE = 1 << 8,   /* read again: its validators did not prove the content */
    HINT_LOOK = 1 << 9,    /* a peer could not read it at one moment */
    HINT_LINKED = 1 << 10, /* another name of the file has changed */
};

enum { HINT_CONTENT = HINT_CREATE | HINT_MODIFY | HINT_CLOSE }; /* these void validators */
enum { HINT_EVENTS = HINT_CONTENT | HINT_MOVED | HINT_GONE | HINT_LEFT };

struct hint_key {
    uint64_t dir;
    struct bytes name;
};

struct hint {
    struct hint_key key; /* the batch's */
    unsigned flags;
    uint64_t seq;                         /* when it entered the batch: rising */
    uint64_t first_ms, last_ms;           /* first and latest hint */
    uint64_t stirred_ms;                  /* last_ms when its unit was told */
    uint64_t due_ms;                      /* for reading; batch_postpone changes it */
    uint64_t next_push_ms, push_every_ms; /* of a file that is held open: 0 before the first look */
    unsigned tries;                       /* looks that found it not ready */
    bool writer;                          /* the last look found it open for writing */
    bool hurried;                         /* somebody waits for it (a flush) */
    struct hint_key from;                 /* with HINT_MOVED: its former name; else dir 0 */
    size_t place;                         /* the batch's */
    struct set_item *item;                /* the batch's */
};

struct batch;

struct batch *batch_new(void);
void batch_free(struct batch *b);

/* Adds or finds the hint, sets the flags, and makes it due at due_ms where that is earlier. */
struct hint *batch_add(
    struct batch *b, struct hint_key key, unsigned flags, uint64_t now_ms, uint64_t due_ms);
struct hint *batch_find(const struct batch *b, struct hint_key key); /* or NULL */
void batch_set_from(struct hint *h, struct hint_key from);           /* copies */

/* The hint that has been due longest, or NULL when none is. It stays in the batch. */
struct hint *batch_due(const struct batch *b, uint64_t now_ms);
uint64_t batch_next_ms(const struct batch *b); /* when the next one is due; UINT64_MAX: never */
void batch_postpone(struct batch *b, struct hint *h, uint64_t due_ms);
void batch_remove(struct batch *b, struct hint *h);
void batch_clear(struct batch *b);

size_t batch_count(const struct batch *b);
uint64_t batch_mark(const struct batch *b); /* the latest seq given out */

/* All of them in the order of entering: start with NULL; NULL at the end. */
struct hint *batch_each(const struct batch *b, const struct hint *before);

#endif
