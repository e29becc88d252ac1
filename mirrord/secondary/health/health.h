/*
 * How a site is on this secondary, for a load balancer and for people: judged from what is on the
 * disk and what the session noted (health_note.h), without a daemon, without waiting for anybody,
 * and changing nothing. It needs the right to read the state directory and to reach the root.
 *
 * A site is down by evidence only. That the primary is gone is none: nobody has anything newer
 * then.
 */
#ifndef SECONDARY_HEALTH_HEALTH_H
#define SECONDARY_HEALTH_HEALTH_H

#include "secondary/health/health_note.h"

enum health_state {
    HEALTH_IS_LEVEL,
    HEALTH_IS_BEHIND,    /* something is owed, or not all is well: the primary's word */
    HEALTH_IS_COMPARING, /* a session looks through it, and the primary has said nothing yet */
    HEALTH_IS_ORPHANED,  /* no session serves it */
    HEALTH_IS_FILLING,   /* never level since it was empty */
    HEALTH_IS_FAILED,    /* it cannot be opened for writing */
    HEALTH_IS_FENCED,    /* it was the primary, and holds what the new one has not seen */
    HEALTH_IS_HALF,      /* a commit was not finished */
    HEALTH_IS_LOST,      /* the root is missing, or another one */
    HEALTH_IS_PRIMARY,
};

const char *health_state_name(enum health_state state);

#define HEALTH_NEVER UINT64_MAX

enum health_role { HEALTH_SECONDARY, HEALTH_PRIMARY, HEALTH_FENCED };

struct health_limits {
    uint64_t lag_ms;      /* what is owed for longer is evidence */
    uint64_t orphaned_ms; /* so is being alone for longer; HEALTH_NEVER */
};

struct health {
    enum health_state state;
    bool up;
    char why[512]; /* a sentence; what to type where that helps; "" where all is well */
    bool known;    /* what follows is: a session has been there */
    bool told;     /* the primary has said how things stand */
    bool level;    /* by its last word */
    uint64_t owed_paths, failing;
    uint64_t behind_ms; /* age of the oldest of them, by now */
    uint64_t away_ms;   /* without a session for so long; 0: there is one, or never was */
    char primary[MSG_HOST_MAX + 1];
};

/* `role` is the stored one, or the configured. 0; -1 with err where it cannot be looked at. */
int health_look(const char *state_dir, const char *root, enum health_role role,
    const struct health_limits *limits, struct health *out, struct err *err);

#endif
