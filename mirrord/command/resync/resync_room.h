/* A secondary whose disk is full, in words for who ran a resync: what did not fit, what room there
 * is, and what to type. */
#ifndef COMMAND_RESYNC_RESYNC_ROOM_H
#define COMMAND_RESYNC_RESYNC_ROOM_H

#include <stddef.h>

#include "base/err.h"
#include "tree/state/space.h"

/* How many paths had no room there. Zero it before. */
struct resync_room {
    size_t full;  /* neither bytes nor inodes */
    size_t quota; /* of the file's owner */
    uint64_t bytes;
};

/* Counts a path of so many bytes, if that is what the error (of the far end) says. */
void resync_room_note(struct resync_room *r, uint64_t bytes, const struct err *why);

/* Sets err, for a job of which `failed` paths failed: ERR_TEMPORARY where all of them had no room,
 * else ERR_PARTIAL. `space` is what the far end told (zeros: nothing), `place` the root there. -1,
 * or 0 when no path had no room: err is untouched. */
int resync_room_verdict(const struct resync_room *r, size_t failed, const struct space *space,
    const char *place, struct err *err);

#endif
