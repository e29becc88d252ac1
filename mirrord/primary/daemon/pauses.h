/*
 * What the operator has paused: sites, of which nothing is sent to anybody, and hosts, to which
 * nothing is sent. What happens meanwhile is owed and goes when it is resumed. Kept in a file of
 * the state directory, so that a restart resumes nothing.
 */
#ifndef PRIMARY_DAEMON_PAUSES_H
#define PRIMARY_DAEMON_PAUSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/err.h"

enum { PAUSE_NAME_MAX = 255, PAUSE_REASON_MAX = 200 };

enum pause_kind { PAUSE_SITE, PAUSE_HOST };

struct pause {
    TAILQ_ENTRY(pause) order;
    enum pause_kind kind;
    char name[PAUSE_NAME_MAX + 1];
    char reason[PAUSE_REASON_MAX + 1]; /* one line; may be empty */
    int64_t since, until;              /* CLOCK_REALTIME seconds; until 0: until it is resumed */
};

struct pauses;

/* Reads what there is; a line that is damaged is said in the log and left out. The directory has to
 * exist. -1: the file is there and cannot be read. pauses_free frees *out. */
int pauses_open(const char *state_dir, struct pauses **out, struct err *err);
void pauses_free(struct pauses *p); /* NULL is fine */

/* Durable when it returns. `until` and an over-long or empty name are judged here (ERR_USAGE); a
 * reason is cut, its control bytes become blanks. A pause there is replaced. -1: nothing changed.
 */
int pauses_set(struct pauses *p, enum pause_kind kind, const char *name, int64_t until,
    const char *reason, struct err *err);

/* 1: it was not paused; -1: the file could not be written, and it still is. */
int pauses_end(struct pauses *p, enum pause_kind kind, const char *name, struct err *err);

/* NULL: it is not paused. Valid until the next call that changes something. */
const struct pause *pauses_find(const struct pauses *p, enum pause_kind kind, const char *name);

/* Ends those whose time is over. *next: when the next one's is, or INT64_MAX. True: some ended. */
bool pauses_expire(struct pauses *p, int64_t now, int64_t *next);

#endif
