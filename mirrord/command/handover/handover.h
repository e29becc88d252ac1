/* Handovers that were interrupted: the intent is a file in the root's state, and whoever finds it
 * there goes on. */
#ifndef COMMAND_HANDOVER_HANDOVER_H
#define COMMAND_HANDOVER_HANDOVER_H

#include "command/config/config.h"

/* One try to go on with the handover of a site that was begun here, if there is one; says what
 * became of it. True: it is not done yet. Beside the command that does the same it does nothing. */
bool handover_resume(const struct config *c, const struct config_site *s, const char *state_dir,
    const char *control);

/* The operator wants something else now. The descriptor is of the root's state directory. */
void handover_forget(int state_dir_fd);

/* A thread that goes on with them: when it starts, when it is told to look, now and then, and after
 * pauses as long as there are any. The strings are borrowed; `as` may be NULL. */
struct handovers;
struct handovers *handovers_start(
    const char *config, const char *as, const char *state_dir, const char *control);
void handovers_look(struct handovers *h);
void handovers_stop(struct handovers *h); /* waits for a try under way; NULL is fine */

#endif
