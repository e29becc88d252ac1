/*
 * The border to libssh2: the steps of opening a session, each of which waits under a patience, and
 * then a conn. Nothing outside ssh2.c sees the library.
 */
#ifndef LINK_SSH2_H
#define LINK_SSH2_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "link/conn_impl.h"
#include "link/keys/keyfile.h"

struct ssh2;

/* A session without a connection yet. `p` serves all steps up to ssh2_exec and must outlive them.
 */
int ssh2_new(struct patience *p, struct ssh2 **out, struct err *err);
void ssh2_free(struct ssh2 *s); /* NULL is fine; before ssh2_conn only */

/* Whether the library signs with RSA keys as servers want since OpenSSH 8.8; and its version. */
bool ssh2_has_rsa_sha2(void);
const char *ssh2_version(void);

/* A known_hash_matches for known_load, arg the session. */
bool ssh2_hash_matches(void *arg, const char *hashed, const char *name);

/* Takes the connected socket and agrees on algorithms and keys; hostkeys are the types wanted
 * first, comma-separated, "" for none. CONN_NO_ALGORITHM with err saying which list had nothing in
 * common. */
int ssh2_handshake(struct ssh2 *s, int fd, const char *hostkeys, struct err *err);

/* What the server shows: type as in known_hosts ("ssh-ed25519"), the key in padded base64, the
 * fingerprint as ssh-keygen prints it. The caller frees both texts. */
struct ssh2_hostkey {
    const char *type;
    char *key, *fingerprint;
};
int ssh2_hostkey(struct ssh2 *s, struct ssh2_hostkey *out, struct err *err);

/* Logs in with a private key: 0 when in, 1 when the server does not take it. */
int ssh2_login_key(struct ssh2 *s, const char *user, const struct keyfile *key, struct err *err);

/* Logs in with what the agent holds: 0 when in; 1 when none was taken or there is no agent. Appends
 * the names of the keys it tried to `tried`; *beyond becomes true when the agent has keys that this
 * library cannot use as servers want. */
int ssh2_login_agent(
    struct ssh2 *s, const char *user, struct buf *tried, bool *beyond, struct err *err);

/* Opens the channel and starts the command. */
int ssh2_exec(struct ssh2 *s, const char *command, struct err *err);

/* The session as a conn, which owns it from here on. */
struct conn *ssh2_conn(struct ssh2 *s);

#endif
