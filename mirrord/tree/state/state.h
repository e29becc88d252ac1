/*
 * The state directory: what mirrord remembers of a root outside the root.
 *
 *   STATE/host-id                   who this host is (16 random bytes in hex)
 *   STATE/epochs/NAME-HASH/         epochs.h
 *   STATE/roots/NAME-HASH/path      the root this is about, for people and for secondary/confine
 *   STATE/roots/NAME-HASH/lock      held by the one process that may write here
 *   STATE/roots/NAME-HASH/manifest/ LMDB
 *   STATE/roots/NAME-HASH/cookies/  flush's cookie files
 *   STATE/roots/NAME-HASH/outlines/ of large files that were sent (primary/push/send/base_files.h)
 *
 * HASH is the digest of the root's resolved path, so that a one-shot resync and the daemon share a
 * manifest and two secondaries on one machine do not meet.
 */
#ifndef TREE_STATE_STATE_H
#define TREE_STATE_STATE_H

#include <stdbool.h>

#include "base/err.h"
#include "protocol/entry.h"

#define STATE_PATH_FILE "path"

struct state;

/* The default: /var/lib/mirrord for root, else $XDG_STATE_HOME/mirrord or ~/.local/state/mirrord.
 * The caller frees it. */
char *state_default_dir(void);

/* Reads the host's id, making directory and file where they are missing. */
int state_host_id(const char *state_dir, struct digest *out, struct err *err);

enum { STATE_LOCKED = 1 };

/* Opens (makes) the state of the root at this resolved absolute path and takes its lock, waiting up
 * to wait_ms. `owner` names the primary on whose behalf this is (zeros: nobody's). STATE_LOCKED
 * with err (ERR_TEMPORARY, names the holder's pid) when it was not had in time; a state directory
 * on a network filesystem is refused. The lock is a POSIX record lock: not inherited by fork, so
 * open after the fork. */
int state_open(const char *state_dir, const char *root_path, const struct digest *owner,
    unsigned wait_ms, struct state **out, struct err *err);
void state_close(struct state *s);

/* When the lock of the root at this resolved path is held by a process of the same owner, that one
 * is asked to yield (SIGTERM, which it defers to the end of a commit). */
void state_ask_to_yield(const char *state_dir, const char *root_path, const struct digest *owner);

/* Does a process hold the lock of the root whose state directory this is (any descriptor of it)? It
 * is neither waited for nor taken. 1, 0, -1 with errno. */
int state_is_held(int state_fd);

/* A state directory for one look, beside the true one: what it learns is nobody's, and nothing that
 * runs is in its way. The caller frees the path and removes it with state_discard. NULL with err.
 */
char *state_scratch(const char *state_dir, struct err *err);
void state_discard(const char *scratch);

/* The directory of this root's state, without its lock, for a look: a descriptor (O_PATH) that the
 * caller closes. STATE_NONE where there is none; -1 with err. */
enum { STATE_NONE = -2 };
int state_open_dir(const char *state_dir, const char *root_path, struct err *err);

/* The same for a path that is resolved already, and not looked at again. */
int state_open_resolved(const char *state_dir, const char *root_path, struct err *err);

/* As that one, made where it is missing, and for nobody else to pass through. */
int state_make_dir(const char *state_dir, const char *root_path, struct err *err);

/* Its path, for this resolved root. The caller frees it. */
char *state_root_dir(const char *state_dir, const char *root_path);

/* Removes what is remembered of this root, which need not be there any more, but for the epoch that
 * says who its primary is. Not while this process has it open. 0, also where there was nothing;
 * STATE_LOCKED or -1 with err. */
int state_forget(const char *state_dir, const char *root_path, struct err *err);

int state_fd(const struct state *s);           /* the directory of this root */
const char *state_path(const struct state *s); /* its path */
const char *state_manifest_dir(const struct state *s);
const char *state_cookie_dir(const struct state *s);

#endif
