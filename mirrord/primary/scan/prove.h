/*
 * Reading again, on a thread of its own and at the lowest I/O priority, files whose content their
 * validators did not prove: the ones too large for the scanner to read itself.
 */
#ifndef PRIMARY_SCAN_PROVE_H
#define PRIMARY_SCAN_PROVE_H

#include "primary/site.h"

struct prover;

/* Called from the prover's thread: the record of what was read (validators, digest, flags only),
 * or busy: it had a writer or changed meanwhile. */
struct prover_answer {
    void (*read)(void *ctx, struct site *s, struct bytes path, const struct record *r);
    void (*busy)(void *ctx, struct site *s, struct bytes path);
    void *ctx;
};

/* Starts the thread. -1 with err. */
int prover_new(const struct prover_answer *a, struct prover **out, struct err *err);
void prover_free(struct prover *p); /* gives up what it is reading; NULL is fine */
void prover_ask(struct prover *p, struct site *s, struct bytes path); /* keeps a reference */

/* Reads a file as a whole under RULES 1. SOURCE_OK with *r as source_settle, SOURCE_BUSY,
 * SOURCE_GONE, or -1. stop may be NULL: gives up as busy once true. */
int prove_read(struct root *root, struct bytes path, const atomic_bool *stop, struct record *r,
    struct err *err);

#endif
