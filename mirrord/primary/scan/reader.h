/*
 * The thread that reads inotify and does nothing else: 5,100 events in 0.1 s were seen against the
 * kernel's queue of 16,384. It moves bytes from the instances into bounded buffers and says that
 * something has come; what the bytes mean is not its business.
 */
#ifndef PRIMARY_SCAN_READER_H
#define PRIMARY_SCAN_READER_H

#include "base/buf.h"
#include "base/err.h"

struct reader;
struct reader_source;

enum { READER_MAX = 64 * 1024 * 1024 }; /* bytes of one source that nobody took */

/* `arrived` is called from the reader's thread, or within reader_take; it must not call back. */
int reader_new(void (*arrived)(void *ctx), void *ctx, struct reader **out, struct err *err);
void reader_free(struct reader *r); /* ends the thread; its sources are freed; NULL is fine */

/* The descriptor stays the caller's, who removes the source before closing it. */
int reader_add(struct reader *r, int fd, struct reader_source **out, struct err *err);
void reader_remove(struct reader *r, struct reader_source *s); /* NULL is fine */

/* Another source that gets all that comes to this one's descriptor, from now on. */
struct reader_source *reader_share(struct reader *r, const struct reader_source *with);

/* Has nothing come that was not taken, not even into the kernel's queue? Any thread, as long as the
 * source is there. */
bool reader_is_empty(struct reader *r, const struct reader_source *s);

/* Moves what has come into `out` (cleared first), also what the kernel still has: of two events
 * that belong together the thread may have read the first alone, and not run since. True: more than
 * READER_MAX came without being taken and was thrown away, what is in `out` is what came before. */
bool reader_take(struct reader *r, struct reader_source *s, struct buf *out);

#endif
