/*
 * The scanner: one thread that takes in the events of all sites, looks at the paths they hint at,
 * keeps the manifests equal to the disk and says what is owed. It alone writes the manifests of
 * sites it has been given. It knows nothing of secondaries: what is owed goes to a sink.
 */
#ifndef PRIMARY_SCAN_SCAN_H
#define PRIMARY_SCAN_SCAN_H

#include "primary/site.h"

struct scan;

/* Where it goes: called from the scanner's thread after the manifest has been committed; flags are
 * enum owe_flags. Must not call back into the scanner and wait. */
struct scan_sink {
    void (*owe)(void *ctx, struct site *s, struct bytes path, unsigned flags);
    void (*move)(void *ctx, struct site *s, struct bytes from, struct bytes to);
    /* Much has changed: compare manifests. */
    void (*compare)(void *ctx, struct site *s);
    /* site->scanned was set, or what scan_status says of the site's state is another. */
    void (*changed)(void *ctx, struct site *s);
    void *ctx;
};

struct scan_options {
    uint64_t rescan_ms;      /* between periodic rescans, jittered; 0: an hour */
    uint64_t scan_rate;      /* bytes of content that are read again a second; 0: none */
    uint64_t reread_every_s; /* seconds between passes of that; 0: as reread_new has it */
    uint64_t unwatched_ms; /* the same for what cannot be watched; 0: a minute, or rescan_ms if that
                              is less */
};

/* Starts the scanner's thread. `sink` is told from it; -1 with err. */
int scan_new(
    const struct scan_options *o, const struct scan_sink *sink, struct scan **out, struct err *err);
void scan_free(struct scan *c); /* ends the thread; sites are let go; NULL is fine */

/* Sets the site's hooks, watches and scans it. Any thread. */
void scan_add(struct scan *c, struct site *s);

/* When it returns the scanner has let go of the site; hooks called later do nothing. */
void scan_remove(struct scan *c, struct site *s);

enum scan_state { SCAN_SCANNING, SCAN_OK, SCAN_HELD, SCAN_FAILED };
enum { SCAN_BUSY_MAX = 20, SCAN_PATH_MAX = 256 };

struct scan_status {
    enum scan_state state;
    char error[512];
    uint64_t entries, bytes, files;
    uint64_t unproven; /* files whose content was never read */
    uint64_t watches, unwatched, unreadable;
    uint64_t rescans, overflows;             /* walks of the whole tree that began; lost events */
    size_t busy_count;                       /* files that never hold still, at least this many */
    char busy[SCAN_BUSY_MAX][SCAN_PATH_MAX]; /* escaped */
    size_t unreadable_count;                 /* of those that are named here */
    char unreadable_paths[SCAN_BUSY_MAX][SCAN_PATH_MAX];
};

/* False: not a site of this scanner. */
bool scan_status(struct scan *c, const struct site *s, struct scan_status *out);

/*
 * A flush: done when everything that happened to the site (at or beneath one of the paths; none:
 * anywhere) before the call has been looked at and told to the sink. `rescan` walks the whole tree
 * as well. Poll it after the sink was told something, or every few milliseconds.
 */
struct scan_flush;

enum scan_flush_flags {
    SCAN_FLUSH_RESCAN = 1 << 0,
    SCAN_FLUSH_TAKEN = 1 << 1, /* only what has been taken in already: no barrier */
};

struct scan_flush *scan_flush_new(
    struct scan *c, struct site *s, const struct bytes *paths, size_t path_count, unsigned flags);
void scan_flush_free(struct scan_flush *f); /* may be done or not; NULL is fine */

enum { SCAN_FLUSH_WAITING = 0, SCAN_FLUSH_DONE = 1, SCAN_FLUSH_FAILED = -1 };
int scan_flush_poll(struct scan_flush *f, struct err *err); /* FAILED: with why */

/* After DONE: escaped paths of files that are held open and so could not be waited for. */
size_t scan_flush_busy(struct scan_flush *f, char out[][SCAN_PATH_MAX], size_t max);

#endif
