/* What the tests of all kinds of link do with a stream. */
#ifndef TEST_LINK_STREAM_H
#define TEST_LINK_STREAM_H

#include <stdint.h>

#include "link/conn.h"

/* A NULL-terminated argv of literals. */
#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

/* Opens it, or fails the test. */
struct conn *stream_open(const struct conn_options *o);

/* Writes n patterned bytes while reading them back from a far end that echoes, both as fast as they
 * go, then ends our side and expects the far end's. Asserts on any difference, and on 20 s without
 * progress. */
void stream_echo(struct conn *c, uint64_t n);

/* Reads to the end of the stream into text (NUL-terminated). Asserts that it ends. Returns what the
 * last conn_read gave: 0 or -1. */
int stream_read_all(struct conn *c, char *text, size_t size);

#endif
