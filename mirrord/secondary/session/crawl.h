/*
 * Whether the other end crawls: for how long one frame has been on its way. A byte now and then is
 * a sign of life, and would otherwise keep a session, and the locks of its roots, for ever.
 *
 * Knows times, no bytes.
 */
#ifndef SECONDARY_SESSION_CRAWL_H
#define SECONDARY_SESSION_CRAWL_H

#include <stdbool.h>
#include <stdint.h>

/* Keepalives within which a frame that has begun must be whole, and 64 KiB that this end sends be
 * taken. The primary waits no longer for a whole frame, so nothing that it can use is cut off: it
 * comes to 1.1 KB a second. */
enum { CRAWL_KEEPALIVES = 4 };

/* Time in which this end did not look counts for no more than this: what came meanwhile waits where
 * it cannot be seen. */
enum { CRAWL_GAP_MS = 1000 };

struct crawl {
    uint64_t looked_ms; /* io_now_ms */
    uint64_t under_way_ms;
};

/* To be called whenever what has come was taken, at least every CRAWL_GAP_MS while a part of a
 * frame is left. `anew`: a frame was whole since the last look, or nothing is left over. Returns
 * for how many milliseconds what is left over has been coming. */
uint64_t crawl_look(struct crawl *c, bool anew, uint64_t now_ms);

#endif
