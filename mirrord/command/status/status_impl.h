/* What the parts of status share: status_text.c (the page), status_sums.c (what is said once),
 * status_target.c (a site at a secondary), status_words.c (numbers, times, states). Private to
 * them. */
#ifndef COMMAND_STATUS_STATUS_IMPL_H
#define COMMAND_STATUS_STATUS_IMPL_H

#include <string.h>

#include "command/status/status_text.h"

static inline bool has_state(const struct json *object, const char *state)
{
    return strcmp(json_get_text(object, "state", ""), state) == 0;
}

static inline double number(const struct json *object, const char *key)
{
    return json_get_number(object, key, 0);
}

/* What goes to the terminal, and how. */
struct page {
    FILE *out;
    bool colour;
};

/* status_words.c */
/* "14:03:22" today, else with the date; an empty text for no time. Both return out. */
const char *status_clock(char out[32], double seconds);
const char *status_duration(char out[32], double seconds); /* "17 s", "5 min", "2.5 h" */
/* The state's word, as wide as asked for; what is well green, what moves yellow, the rest red. */
void status_put_state(const struct page *p, const char *state, const char *well, int width);

/* "      last error at 14:03:22: wp-content/x.jpg: No space left on device", where there is one. */
void status_print_error(FILE *out, const struct json *of);

/* status_target.c */
/* full: how it is, and what can be done about that; else only what waits for room, and what is not
 * switched as a whole. */
void status_print_target(const struct page *p, const struct json *site, const struct json *target,
    bool full, bool site_well);
/* What was found there and set aside is for somebody to look at; what is kept of our own is not,
 * but for `all`. */
void status_print_trash(FILE *out, const struct json *site, const struct json *target, bool all);

/* status_sums.c: what is said once, of all sites: the first line; those that no primary is
 * connected for; how far reading is of what was taken over as equal by size and time. */
void status_print_head(const struct page *p, const struct json *status, bool level);
void status_print_orphaned(FILE *out, const struct json *sites);
void status_print_proving(FILE *out, const struct json *status, const struct json *peers);

#endif
