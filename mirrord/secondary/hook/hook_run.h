/*
 * One run of a command of this host's configuration (on-commit, on-switch): a process of its own
 * session, as another user, with nothing of ours but its standard input. Waits for nothing.
 */
#ifndef SECONDARY_HOOK_HOOK_RUN_H
#define SECONDARY_HOOK_HOOK_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "secondary/hook/hook.h"

struct hook_run;

/* What is run. All is borrowed, `key` and `sign` for as long as it runs. */
struct hook_run_what {
    const char *key;  /* of the configuration: on-commit */
    const char *sign; /* a line of its output that is for us and not for the log; NULL: none */
    const char *site, *root;
    const struct receive_hook *order;
    int input; /* its standard input */
    int lock;  /* held open as long as it runs; -1: none */
};

/* NULL with err: it could not be started. */
struct hook_run *hook_run_start(const struct hook_run_what *what, struct err *err);

bool hook_run_signed(const struct hook_run *r); /* the sign came */

/* Descriptors that become readable when there is something for hook_run_step: its output (-1: it
 * was closed), its end. */
int hook_run_output(const struct hook_run *r);
int hook_run_status(const struct hook_run *r);

/* Reads what it says, ends it when its time is over. 1 it runs; 0 it ended well; -1 with err. */
int hook_run_step(struct hook_run *r, uint64_t now_ms, struct err *err);
uint64_t hook_run_due(const struct hook_run *r); /* when to step it in any case */

/* From now on it may take so long; beyond that it gets SIGTERM, then SIGKILL, unless `at_once`. */
void hook_run_limit(struct hook_run *r, unsigned ms, bool at_once);

/* Its time is over now, for this reason (a literal). */
void hook_run_end(struct hook_run *r, const char *why);

/* It is another process's, a copy of this one. */
void hook_run_leave(struct hook_run *r);

/* One that still runs is killed with its group. NULL is fine. */
void hook_run_free(struct hook_run *r);

#endif
