/* A private key file: whether it may be used at all, and what it holds. */
#ifndef LINK_KEYFILE_H
#define LINK_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum keyfile_kind {
    KEYFILE_PRIVATE, /* ed25519 or ECDSA, or not told apart */
    KEYFILE_RSA,
    KEYFILE_HARDWARE,  /* sk-…: only a handle, the key is in a token */
    KEYFILE_ENCRYPTED, /* of whatever kind: needs a passphrase */
    KEYFILE_PUBLIC,    /* not a private key at all */
};

struct keyfile {
    char *text; /* NUL-terminated */
    size_t len;
    enum keyfile_kind kind;
};

/* Reads and judges. 1: there is no such file. -1: not to be read, readable by others (with the
 * chmod to type), not a key. Public key files pass whoever may read them. */
int keyfile_load(const char *path, struct keyfile *out, struct err *err);

/* Wipes it. */
void keyfile_free(struct keyfile *k);

#endif
