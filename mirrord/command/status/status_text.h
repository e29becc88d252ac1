/* The daemon's status, as JSON, in words for people. */
#ifndef COMMAND_STATUS_STATUS_TEXT_H
#define COMMAND_STATUS_STATUS_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/json.h"

/* Is everything that is on this primary on every secondary, as far as the daemon knows? */
bool status_text_level(const struct json *status);

/* A line for each secondary; then each site and secondary that is not level, why, and what to type.
 * all: those that are level too. colour: for a terminal. */
void status_text_print(FILE *out, const struct json *status, bool all, bool colour);

/* Text from elsewhere for a terminal: control bytes become '?', what is too long is cut. Returns
 * out. */
const char *status_text_plain(char *out, size_t size, const char *text);

/* The same into a buffer of the calling expression. */
#define PLAIN(text) status_text_plain((char[512]){0}, 512, (text))

/* "1.2 MB"; "17 bytes". Returns out. */
const char *status_text_bytes(char out[32], double bytes);

#endif
