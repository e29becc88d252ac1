/*
 * Looking ahead: a second thread of the walk that lists directories which are next in turn and asks
 * the disk about their names, while the walk itself compares. It knows neither the manifest nor
 * what differs: what it saw is judged by the walk as if it had looked itself, only earlier.
 */
#ifndef TREE_WALK_WALK_AHEAD_H
#define TREE_WALK_WALK_AHEAD_H

#include <sys/stat.h>
#include <time.h>

#include "tree/filter.h"
#include "tree/root.h"
#include "tree/walk/listing.h"

struct walk_ahead;

/* A look at one name. */
struct walk_glance {
    int error; /* errno; -1: not looked at */
    bool is_mount;
    struct stat st;
};

/* What was seen of a directory. */
struct walk_sighting {
    int fd;    /* -1: it could not be opened: error */
    int error; /* of opening or listing */
    struct listing listing;
    struct timespec began; /* not later than any glance */
    struct walk_glance *glances;
    size_t count, room; /* of glances: the first names of the listing */
};

/* statx without following a link. */
void walk_glance_at(int fd, const char *name, struct walk_glance *out);

/* Lists until the directory held still meanwhile, or a few times. 0, or -1 with errno. */
int walk_list(int fd, struct listing *l);

/* NULL when there can be no second thread. root and f are borrowed. */
struct walk_ahead *walk_ahead_new(struct root *root, const struct filter *f);
void walk_ahead_free(struct walk_ahead *a); /* NULL is fine */

/* Asks for a look at a directory; the higher its place the sooner it will be needed. False: enough
 * are asked for already. */
bool walk_ahead_offer(struct walk_ahead *a, uint64_t dir, struct bytes path, size_t place);

/* Takes what was seen of a directory that was offered under this path, waiting if it is being
 * looked at just now. False: nothing was; it is not offered any more. *out is the caller's, to be
 * given to the next call, which reuses its memory. */
bool walk_ahead_take(
    struct walk_ahead *a, uint64_t dir, struct bytes path, struct walk_sighting *out);

/* Closes the descriptor, and keeps the memory. */
void walk_sighting_end(struct walk_sighting *s);
void walk_sighting_free(struct walk_sighting *s);

#endif
