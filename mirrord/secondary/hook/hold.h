/*
 * Commands around the switch of units (on-switch), of all sites of one receiver: one that holds a
 * site's readers, says so, waits until the units are switched, is told what changed, and lets the
 * readers go on. Lives in the process outside of the sandbox. Each of its three parts has the
 * command's time limit; one that takes longer is killed, and what it held goes on. It is no
 * condition of a switch: one that fails is said and switched without.
 */
#ifndef SECONDARY_HOOK_HOLD_H
#define SECONDARY_HOOK_HOLD_H

#include "secondary/hook/hook_note.h"
#include "secondary/receive.h"

#define HOLD_SIGN "ready" /* the line by which it says that it holds the readers */

enum {
    HOLD_TIMEOUT_MS = 3000, /* the default */
    HOLDS_AT_ONCE = 8,      /* of one receiver */
};

enum hold_state {
    HOLD_NONE,  /* nobody is held: there is no command, or it failed */
    HOLD_WAITS, /* for it; ask again */
    HOLD_READY, /* the readers are held */
};

struct holds;

struct holds *holds_new(int epoll); /* borrowed: it becomes readable when there is work */
void holds_free(struct holds *h);   /* NULL is fine; what runs is killed */

/* Takes the site's command. Known again, it changes nothing. */
void holds_know(
    struct holds *h, struct bytes site, const char *root, const struct receive_hook *order);
bool holds_knows(const struct holds *h, struct bytes site);

/* Units of the site are about to be switched: the command is started unless it runs. */
enum hold_state holds_begin(struct holds *h, struct bytes site);

/* They are switched, or will not be: records of what changed (hook_changes.h); with the last of
 * them the readers go on. Fine where nobody is held. False: no records. */
bool holds_end(struct holds *h, struct bytes site, struct bytes records, bool last);

/* Whoever asked for it is gone: all readers go on. */
void holds_let_go(struct holds *h);

void holds_step(struct holds *h);                          /* does what is due; never waits */
uint64_t holds_due(const struct holds *h);                 /* io_now_ms; UINT64_MAX: never */
bool holds_any(const struct holds *h);                     /* one runs */
bool holds_busy(const struct holds *h, struct bytes site); /* the site's does */
void holds_leave(struct holds *h); /* a process that was forked goes on with them */

/* How the site's command fails; NULL: it is not known, or does not. */
const struct hook_failing *holds_failing(const struct holds *h, struct bytes site);

#endif
