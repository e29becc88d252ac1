/* The fence of `mirrord receive -c`: what the other end may ask for is what this host's
 * configuration says. A session may be older than that: it is read again when it has changed. */
#ifndef COMMAND_CONFIG_FENCE_H
#define COMMAND_CONFIG_FENCE_H

#include "command/config/config.h"

/* One that could not be read when it had changed is tried again at most so often, however many
 * sites are asked for: what has to be changed in it may be in a file that nothing is known of. */
enum { FENCE_AGAIN_MS = 1000 };

struct fence;

/* Reads it: of this path, or (NULL) the default one; `as` as config_load has it, `path` and `as`
 * are borrowed. -1 with err: it is none, or this host is not in it. */
int fence_open(const char *path, const char *as, struct fence **out, struct err *err);
void fence_close(struct fence *f); /* NULL is fine */

/* What is in force now: until `f` is used again. */
const struct config *fence_config(const struct fence *f);

/* For receive_run; it is used as long as that runs. */
struct receive_fence fence_of(struct fence *f);

#endif
