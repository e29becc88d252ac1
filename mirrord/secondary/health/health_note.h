/*
 * What a secondary's host keeps of a site for whoever asks how it is: a small file in the state
 * directory of its root, written by the session that serves the site, read by `mirrord health`
 * without a session or a daemon. And a mark that a commit is under way, which a killed session
 * leaves behind.
 *
 * Times are this host's own: milliseconds since the machine started (io_boot_ms), below 0 for what
 * was before that. So neither another host's clock counts nor a change of this one's.
 */
#ifndef SECONDARY_HEALTH_HEALTH_NOTE_H
#define SECONDARY_HEALTH_HEALTH_NOTE_H

#include "base/err.h"
#include "protocol/msg.h"

enum { HEALTH_TEXT_MAX = 400 };

struct health_note {
    enum {
        HEALTH_OPENING, /* a session looks through it */
        HEALTH_OPEN,
        HEALTH_FAILED, /* the session could not go on with it */
        HEALTH_CLOSED, /* the session has ended */
    } state;
    int64_t since_ms; /* in this state */
    int64_t heard_ms; /* the primary's last word, to within a minute */
    bool trouble;     /* it could not be opened since trouble_ms, and why */
    int64_t trouble_ms;
    char text[HEALTH_TEXT_MAX + 1];
    bool filling; /* it was new or empty, and has never been level since */
    bool told;    /* the primary's word on what follows has come; of before this session only if
                   * something was owed then */
    bool level;
    bool paused; /* by the operator, there */
    uint64_t owed_paths, failing;
    int64_t owed_ms;                /* since when the oldest of them is owed */
    char primary[MSG_HOST_MAX + 1]; /* what it calls itself */
};

/* Not flushed: what is lost with the power, the next session finds out anew. 0, -1. */
int health_note_write(int state_fd, const struct health_note *n, struct err *err);

/* With all times on the clock of this boot. 1; 0 there is none, or none that can be understood;
 * -1. */
int health_note_read(int state_fd, struct health_note *out, struct err *err);

/* The same of the file's text; false: it cannot be understood. What it holds of names has no
 * control bytes, whoever wrote it. */
bool health_note_parse(const char *text, struct health_note *out);

/* The mark: a descriptor (made where it is missing), or -1 with errno. Setting and clearing it is
 * one write of a few bytes; what fails is logged. */
int health_mark_open(int state_fd);
void health_mark_set(int fd);
void health_mark_clear(int fd);
void health_mark_forget(int state_fd); /* clears it where there is one */

/* 1 with *since_ms: a commit is under way, or was when its process ended; 0; -1. */
int health_mark_read(int state_fd, int64_t *since_ms, struct err *err);

#endif
