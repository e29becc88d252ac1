/*
 * What a monitoring system is told: a text file in Prometheus' format, for node_exporter's textfile
 * collector. All names and what they mean are in the tables of metrics_rows.c.
 */
#ifndef PRIMARY_DAEMON_METRICS_METRICS_H
#define PRIMARY_DAEMON_METRICS_METRICS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

struct daemon;

/* Writes the file where it is due, by a rename, so that it is always whole. Milliseconds until it
 * has to be called again. On the main thread: a slow disk delays no push. */
unsigned metrics_tick(struct daemon *d);

/* Another file, or none (NULL), every so often, from now on. */
void metrics_set(struct daemon *d, const char *path, unsigned every_ms);

/* The file goes with a daemon that ends, so that what it says is not taken for the present. */
void metrics_end(struct daemon *d);

/* A label's value: what is not UTF-8 as \ooo, then escaped as the format wants it. Returns out. */
const char *metrics_label(char *out, size_t size, const char *text);

#endif
