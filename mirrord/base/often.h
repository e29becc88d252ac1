/*
 * What goes wrong again and again is said once an hour for each cause, with how often it was kept
 * back since; and of so many causes an hour at most, since a far end may have a hand in their
 * texts. Not thread-safe: of one thread.
 */
#ifndef BASE_OFTEN_H
#define BASE_OFTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OFTEN_EVERY_MS = 3600000, OFTEN_KEPT = 512, OFTEN_AGAIN = 64 };

struct often;

struct often *often_new(size_t kept); /* causes an hour, at most OFTEN_KEPT */
void often_free(struct often *o);     /* NULL is fine */

/* May this cause (a text: of which site, and what) be said at this time (io_now_ms)? Always at the
 * level of debug, and where o is NULL. Then *again is empty, or " (repeated 12 times)", or says of
 * the last cause that there is room for that others are kept back. */
bool often_may_say(struct often *o, const char *cause, uint64_t now_ms, char again[OFTEN_AGAIN]);

#endif
