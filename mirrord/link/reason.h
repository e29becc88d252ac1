/*
 * Why a link could not be had, in sentences that say what to do. All kinds of link use the same
 * words and codes. `name` is the host as the user knows it. All return -1.
 */
#ifndef LINK_REASON_H
#define LINK_REASON_H

#include <stdbool.h>

#include "base/err.h"

/* ERR_TEMPORARY. */
int reason_unreachable(struct err *err, const char *name, const char *port, const char *why);

struct reason_key {
    const char *name;        /* as known_hosts has it */
    unsigned port;           /* of the server */
    const char *type;        /* "ssh-ed25519"; NULL: not known */
    const char *fingerprint; /* "SHA256:…"; NULL: not known */
    const char *file;        /* known_hosts file it should be in, or that disagrees; or NULL */
    unsigned line;           /* of the disagreeing entry; 0: not known */
};

int reason_unknown_key(struct err *err, const struct reason_key *k); /* ERR_FAILED */
int reason_changed_key(struct err *err, const struct reason_key *k); /* ERR_REFUSED */
int reason_revoked_key(struct err *err, const struct reason_key *k); /* ERR_REFUSED */

/* The server takes none of the keys; `tried` lists them for people. ERR_FAILED. */
int reason_denied(struct err *err, const char *user, const char *name, const char *tried);

/* Best sentence for a stream that ended too early. `status` as conn_exit_status, `text` what the
 * far end (or ssh itself: via_ssh) said on standard error. */
struct reason_end {
    const char *name;        /* host, or NULL for a local process */
    const char *command;     /* what was to run there */
    const char *known_hosts; /* the file given for it, or NULL */
    bool via_ssh;            /* status and text may be the ssh client's */
    int status;
    const char *text;
};
int reason_ended(struct err *err, const struct reason_end *e);

#endif
