/* Keys, by way of ssh-keygen: made, read, named. Paths are on this host. */
#ifndef COMMAND_PAIR_PAIR_KEYS_H
#define COMMAND_PAIR_PAIR_KEYS_H

#include "base/err.h"

/* "TYPE BASE64" of the private key in this file. 1: there is no such file. The caller frees *out.
 */
int pair_keys_public(const char *path, char **out, struct err *err);

/* Makes an Ed25519 key without a passphrase, mode 0600, and its .pub; the directory, too. Fails
 * where the file is there. */
int pair_keys_make(const char *path, const char *comment, struct err *err);

/* "SHA256:… (ED25519)" of "TYPE BASE64". The caller frees *out. */
int pair_keys_fingerprint(const char *key, char **out, struct err *err);

/* A line of known_hosts with its name hashed. `scratch` is a directory for a file. The caller frees
 * *out, which has no newline. */
int pair_keys_hash(const char *scratch, const char *line, char **out, struct err *err);

#endif
