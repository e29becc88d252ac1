/*
 * A comparison of the manifests of a site's two ends, or of a part of them. A site has one at a
 * time, a unit that is being sent one of its own.
 */
#ifndef PRIMARY_PUSH_COMPARE_COMPARE_H
#define PRIMARY_PUSH_COMPARE_COMPARE_H

#include "primary/push/compare/difference.h"

struct compare;
struct push;

/* Compares the directory `top` and all beneath it; what differs is owed as bulk. With the OPENED
 * that has just come, the whole site, which is then judged: it is held, or open. */
void compare_start(
    struct push *p, struct push_site *ps, struct bytes top, const struct msg_opened *m);

/* The far end tells of a change in this directory: the same, once in a comparison, and of so many
 * directories. What is told beyond that has everything compared once more behind it, so that a far
 * end that goes on telling takes time, and no memory. */
void compare_told(struct push *p, struct push_site *ps, struct bytes top);

/* A LISTING has come, for whichever comparison asked. -1 with err: the session is over. */
int compare_listing(struct push *p, const struct msg_listing *m, struct err *err);
bool compare_step(struct push *p, struct push_site *ps); /* asks for more, or false */
void compare_free(struct compare *c);                    /* NULL is fine */

/* The same for one unit (borrowed), whose differences are the asker's: compare_ask as long as it is
 * not over. What it found is there until it is freed, directories before what is in them. */
struct compare *compare_unit(struct push_site *ps, const struct owed *unit);
bool compare_ask(struct push *p, struct compare *c); /* asks for more, or false */
bool compare_is_over(const struct compare *c);
bool compare_is_asking(const struct compare *c);    /* it waits for answers */
bool compare_lacks_parent(const struct compare *c); /* the directory above it is not there yet */
const struct difference *compare_found(const struct compare *c, size_t i); /* NULL at the end */

#endif
