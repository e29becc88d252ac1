/*
 * What the receiver's parent does for each request of its child (asks.h), by functions of an
 * `outside` (outside.h). Nothing that the child says is believed: it may have been taken over by
 * the peer.
 */
#ifndef SECONDARY_CONFINE_ANSWER_H
#define SECONDARY_CONFINE_ANSWER_H

#include "secondary/confine/outside.h"
#include "secondary/confine/packet.h"
#include "secondary/hook/hook.h"

struct answer {     /* zero it before */
    struct ask ask; /* to be sent; its strings point into what follows */
    struct err err;
    struct outside_place place;
    struct epoch epoch;
    struct hook_state hook;
    char name[ASK_NAME_MAX + 1];
    char *pattern;
};

/* Does what is asked for. False: there is no such request, or it makes no sense; the child is to be
 * left. What it came to, failures included, is in a->ask. */
bool answer_make(const struct outside *o, const struct packet *p, struct answer *a);
void answer_free(struct answer *a); /* what it holds */

/* Is it a request that is not answered? That is heeded instead; false: it makes no sense. */
bool answer_is_notice(const struct ask *q);
bool answer_heed(const struct outside *o, const struct ask *q);

#endif
