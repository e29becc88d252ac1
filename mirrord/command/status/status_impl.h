/* Shared by status_text.c and status_sums.c. */
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

/* The state's word, as wide as asked for; what is well green, what moves yellow, the rest red. */
void status_put_state(const struct page *p, const char *state, const char *well, int width);

/* status_sums.c: what is said once, of all sites: the first line; those that no primary is
 * connected for; how far reading is of what was taken over as equal by size and time. */
void status_print_head(const struct page *p, const struct json *status, bool level);
void status_print_orphaned(FILE *out, const struct json *sites);
void status_print_proving(FILE *out, const struct json *status, const struct json *peers);

#endif
