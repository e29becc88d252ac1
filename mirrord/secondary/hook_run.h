/*
 * One run of a command after a commit: a process of its own session, as another user, with nothing
 * of ours but the changed paths on its standard input. Waits for nothing.
 */
#ifndef SECONDARY_HOOK_RUN_H
#define SECONDARY_HOOK_RUN_H

#include <stdint.h>

#include "secondary/hook.h"

struct hook_run;

/* What it is told is in `changes`; `lock` (borrowed) is held open as long as it runs. NULL with err:
 * it could not be started. */
struct hook_run *hook_run_start(const char *site, const char *root, const struct receive_hook *hook,
    const struct hook_changes *changes, int lock, struct err *err);

/* Descriptors that become readable when there is something for hook_run_step: its output (-1: it was
 * closed), its end. */
int hook_run_output(const struct hook_run *r);
int hook_run_status(const struct hook_run *r);

/* Reads what it says, ends it when its time is over. 1 it runs; 0 it ended well; -1 with err. */
int hook_run_step(struct hook_run *r, uint64_t now_ms, struct err *err);
uint64_t hook_run_due(const struct hook_run *r); /* when to step it in any case */

/* Its time is over now, for this reason (a literal). */
void hook_run_end(struct hook_run *r, const char *why);

/* It is another process's, a copy of this one. */
void hook_run_leave(struct hook_run *r);

/* One that still runs is killed with its group. NULL is fine. */
void hook_run_free(struct hook_run *r);

#endif
