/*
 * Commands after a commit, of all sites of one receiver: what is due, when it runs, how it ended.
 * Lives in the process outside of the sandbox. A site's command runs once at a time, starts at most
 * once a second, and is told what changed since it started last; at most HOOKS_AT_ONCE run at once
 * over this state directory, whoever started them. One that failed is tried again with growing
 * pauses, then for everything, and its failure is known until it ends well.
 */
#ifndef SECONDARY_HOOK_HOOK_H
#define SECONDARY_HOOK_HOOK_H

#include "base/err.h"
#include "secondary/hook/hook_changes.h"
#include "secondary/hook/hook_note.h"
#include "secondary/receive.h"

enum {
    HOOK_TIMEOUT_MS = 60 * 1000, /* the default */
    HOOKS_AT_ONCE = 8,
    HOOKS_BYTES_MAX = 64 * 1024 * 1024, /* of changes of all sites; then they are "everything" */
};

struct hooks;
struct holds;

struct hooks *hooks_new(const char *state_dir); /* -1 of descriptors is an error when needed */
void hooks_free(struct hooks *h);               /* NULL is fine; what runs is killed */

/* Takes the site's command and what is noted of it in the state directory of its root (a
 * descriptor, borrowed): what is due there becomes due here. Known again, it changes nothing but
 * that. */
void hooks_know(struct hooks *h, struct bytes site, const char *root,
    const struct receive_hook *hook, int state_dir);
bool hooks_knows(const struct hooks *h, struct bytes site);
void hooks_look_again(struct hooks *h, struct bytes site); /* at the note */

/* Changes of a site that is known (others: nothing happens). False: no records. */
bool hooks_add(struct hooks *h, struct bytes site, struct bytes records);

/* Its commands around the switch of units (hold.h), which are stepped with these. */
struct holds *hooks_holds(const struct hooks *h);

struct hook_state {
    bool pending; /* it runs, or is about to */
    struct hook_failing failing;
};
void hooks_state(const struct hooks *h, struct bytes site, struct hook_state *out);

/* Is the command through, and well, with all that had this ticket or a lower one? *now: the ticket
 * of what came last, by hooks_add or as a note. True for a site that is not known. */
bool hooks_told(const struct hooks *h, struct bytes site, uint64_t ticket, uint64_t *now);

/* A descriptor that is readable when hooks_step has work, and milliseconds until it has in any
 * case; -1: never. */
int hooks_fd(const struct hooks *h);
int hooks_due_ms(const struct hooks *h);
void hooks_step(struct hooks *h);

/* Runs what changed and is not done, for max_ms at most or until SIGTERM; 0: as long as the
 * commands may take. What is left is noted. */
void hooks_finish(struct hooks *h, unsigned max_ms);
void hooks_leave(struct hooks *h); /* a process that was forked does so */
bool hooks_pending(const struct hooks *h);

/* Is this a command that may be run: an executable file that nobody but root and this user can
 * change? 0, -1 with err. */
int hook_check_command(const char *path, struct err *err);

void receive_hook_clear(struct receive_hook *hook); /* frees its texts */
struct receive_hook receive_hook_copy(const struct receive_hook *from);

#endif
