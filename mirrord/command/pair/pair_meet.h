/* Which host key a host shows. */
#ifndef COMMAND_PAIR_PAIR_MEET_H
#define COMMAND_PAIR_PAIR_MEET_H

#include "command/pair/pair_end.h"

struct pair_key {
    char *name;        /* of the host, as ssh looks it up in known_hosts */
    char *key;         /* "TYPE BASE64" */
    char *fingerprint; /* "SHA256:… (ED25519)" */
    char *plain;       /* the line of known_hosts */
};

/* Asks the host, by the person's own way to it (through a jump host, too), and does not log in.
 * `scratch` is a directory. ERR_TEMPORARY where it cannot be reached. */
int pair_meet(const struct config_host *host, const struct pair_login *login, const char *scratch,
    struct pair_key *out, struct err *err);

void pair_key_free(struct pair_key *k);

#endif
