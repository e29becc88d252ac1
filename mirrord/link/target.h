/*
 * Where to connect and with what: the caller's options over what `ssh -G` says about the host over
 * the defaults.
 */
#ifndef LINK_TARGET_H
#define LINK_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "link/net/patience.h"

struct words {
    char **word;
    size_t count;
};

struct target {
    char *name; /* the host as the user knows it */
    char *host; /* where to connect */
    char *user;
    unsigned port;
    int family;               /* AF_UNSPEC, AF_INET, AF_INET6 */
    char *key_name;           /* the host in known_hosts */
    struct words identities;  /* private key files, best first */
    bool identity_given;      /* by the caller: nothing else is tried */
    bool identities_default;  /* the usual names, which may be missing: the agent comes first */
    bool agent;               /* may be asked */
    struct words known_hosts; /* files; the first is where a new key belongs */
    char *lacks;              /* what of the host's ssh configuration libssh2 cannot do, or NULL */
    char *remark;             /* why the ssh configuration could not be read, or NULL */
};

struct conn_options;

/* `ssh` is run under this patience, for at most 10 s; where it is missing or fails, the rest
 * serves. */
int target_resolve(
    const struct conn_options *o, const struct patience *p, struct target *out, struct err *err);
void target_free(struct target *t);

/* The host as known_hosts names it: "web2", "[web2]:2222", or its HostKeyAlias. The caller frees
 * it. */
char *target_known_name(const struct target *t);

#endif
