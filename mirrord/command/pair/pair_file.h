/* Files that pairing reads and replaces on the host it runs on. */
#ifndef COMMAND_PAIR_PAIR_FILE_H
#define COMMAND_PAIR_PAIR_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct pair_file_content {
    char *text; /* "" where the file is not there; a NUL stands behind it */
    size_t len;
    bool there;
    unsigned mode;
};

/* Reads a regular file of at most `max` bytes. The caller frees out->text. */
int pair_file_read(const char *path, size_t max, struct pair_file_content *out, struct err *err);

/* Replaces it by a rename, durably. An existing file keeps its owner and mode; a new one gets the
 * mode and, where a user is named, that owner, as does its directory, which is made. Nothing is
 * done through a symbolic link in the last two components where a user is named, since that is the
 * user's directory. -1 also where the file is not `was` any more ("" for none). */
struct pair_file_change {
    const char *path, *was, *user; /* user NULL or "": nobody in particular */
    const char *text;
    size_t was_len, len;
    unsigned mode;
};
int pair_file_replace(const struct pair_file_change *f, size_t max, struct err *err);

/* The user's authorized_keys as sshd looks for it by default. The caller frees it. NULL with err:
 * no such user. */
char *pair_file_keys_of(const char *user, struct err *err);

#endif
