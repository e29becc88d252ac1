/*
 * For tests of the scanner: a site with a scanner, and a sink that behaves like a secondary. It is
 * late, reads a live file only under the rules, asks to look again where it cannot, and knows of
 * the tree only what it was told. In the end it has to have what the disk has.
 */
#ifndef TEST_SCAN_MODEL_H
#define TEST_SCAN_MODEL_H

#include "primary/scan/scan.h"

struct model;

/* A temporary directory with an empty root in it, not scanned yet. Patterns are excluded. */
struct model *model_new(const char *const *excluded);
void model_free(struct model *m); /* removes it all */

void model_start(struct model *m); /* scans, and waits until it is up */
const char *model_root(const struct model *m);
const char *model_top(const struct model *m); /* outside the root, same filesystem */
struct scan *model_scan(struct model *m);
struct site *model_site(struct model *m);

/* Works off what was told, but for what cannot be done yet. Returns how much is left. */
size_t model_step(struct model *m);

/* Flushes, works, and compares disk, manifest and model; fails the test where they differ. */
void model_settle(struct model *m);

/* Calls of the sink so far. */
unsigned model_moved(struct model *m);
unsigned model_compared(struct model *m);
unsigned model_owed(struct model *m, const char *path); /* how often this one; NULL: all */

/* sh -c in the root; fails the test where it fails. */
void model_shell(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
