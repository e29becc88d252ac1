/*
 * The units of a site that have been stirred: when each was last changed, whether it has come to
 * rest, and a number that any change in it raises, by which a peer sees that what it sent is still
 * what is there. Shared between the scanner, which alone says that one is at rest, and the peers.
 * Thread-safe. Knows rules and times, not the disk.
 */
#ifndef PRIMARY_UNREST_H
#define PRIMARY_UNREST_H

#include <stddef.h>

#include "tree/unit_rules.h"

enum {
    UNREST_QUICK_MS = 100,   /* of quiet suffice when a bracket was seen to close */
    UNREST_FORCED_MS = 60000 /* so long one that never rests may be taken as it is */
};

struct unrest;

/* The rules are borrowed. Until unrest_watch is called every unit is at rest. */
struct unrest *unrest_new(const struct unit_rules *rules);
void unrest_free(struct unrest *u); /* NULL is fine */

/* From here on a scanner says what is at rest; `wake` is called (by any thread, under locks) when
 * one more waits for that. What happened before is taken to have happened now. */
void unrest_watch(struct unrest *u, void (*wake)(void *ctx), void *ctx);
void unrest_unwatch(struct unrest *u);

/* For peers. */
void unrest_owed(struct unrest *u, struct bytes key); /* somebody is owed this unit */
bool unrest_at_rest(struct unrest *u, struct bytes key);
/* It rests, or nothing has happened in it for a moment and all of that is in the manifest: what is
 * there may be made ready, but not shown, since more may come. */
bool unrest_is_calm(struct unrest *u, struct bytes key);

/* Its number now. *forced: it never rests and is to be sent as it is. */
uint64_t unrest_generation(struct unrest *u, struct bytes key, bool *forced);

/* For the scanner: something happened at the path at this time. Nothing where it is in no unit. */
void unrest_stir(struct unrest *u, struct bytes path, bool is_dir, uint64_t when_ms);
void unrest_stir_beneath(
    struct unrest *u, struct bytes path, uint64_t when_ms); /* it came or went */
void unrest_stir_all(struct unrest *u, uint64_t now_ms);    /* events were lost */

/* A path in a unit was found changed. One that does so again and again while hardly anything else
 * in its unit does is hot from then on: it does not stir its unit any more, and goes alone. */
void unrest_note_change(struct unrest *u, struct bytes path, uint64_t now_ms, bool bracketed);
bool unrest_is_hot(struct unrest *u, struct bytes path);

/* How long from now a hot path has to wait before it may be sent again; 0: it may, and the next
 * pause begins. */
uint64_t unrest_hot_pause(struct unrest *u, struct bytes path, uint64_t now_ms);

bool unrest_any_waiting(struct unrest *u); /* is there a unit that does not rest? */

/* What the scanner knows of the whole site when it asks who has come to rest. */
struct unrest_view {
    uint64_t now_ms;
    const char *bracket; /* the one that stands; NULL: none */
    uint64_t closed_ms;  /* when the last one was seen to go; 0: never */
    bool busy;           /* walks are under way that may find anything */
};

/* There is more to look at beneath this path: its unit does not come to rest in the next settling.
 */
void unrest_hold(struct unrest *u, struct bytes path);

enum unrest_news { UNREST_CALMED = 1 << 0, UNREST_RESTED = 1 << 1 };

/* Has any become calm, or come to rest (enum unrest_news)? *due_ms: when to ask again; UINT64_MAX:
 * not before the next stir. `site` is for the log. */
unsigned unrest_settle(
    struct unrest *u, const struct unrest_view *view, const char *site, uint64_t *due_ms);

enum { UNREST_TEXT = 256, UNREST_SHOWN = 20 };

struct unrest_wait {                          /* one that does not rest yet */
    char unit[UNREST_TEXT], why[UNREST_TEXT]; /* escaped */
};

/* At most `max` of them; how many. */
size_t unrest_waiting(struct unrest *u, struct unrest_wait *out, size_t max);

#endif
