/* The last bytes of something that was said: a ring for the far end's standard error, of which only
 * the end explains a failure. */
#ifndef LINK_TAIL_H
#define LINK_TAIL_H

#include <stddef.h>

#define TAIL_SIZE 4096

struct tail {
    char text[TAIL_SIZE + 1]; /* oldest first, NUL-terminated */
    size_t len;
};

/* Appends; what exceeds TAIL_SIZE is dropped at the front. NUL bytes become spaces. */
void tail_add(struct tail *t, const void *p, size_t n);

/* The last line that says something, without its end; "" where there is none. The caller frees it.
 */
char *tail_last_line(const char *text);

#endif
