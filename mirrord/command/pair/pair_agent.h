/*
 * What pairing does on one host, here or at the far end of a person's own login: read and replace
 * files, make keys, try a session. A request is a JSON object with "do"; the answer has what was
 * asked for, or "error" and "code". Whoever can ask has the rights of the login it runs in, and is
 * trusted like its owner.
 *
 *   hello                              host, root, version
 *   read        path                   there, text, mode
 *   publish     path, was, text, mode, user      replaces the file, if it still is what it `was`
 *   key         path, comment, make    there, public
 *   move        from, to               a key with its .pub
 *   remove      path                   a key with its .pub
 *   host-keys                          keys: "TYPE BASE64" of this host's sshd
 *   known-name  address, port          name: of that host, as known_hosts has it here (ssh -G)
 *   keys-of     user                   path: where sshd looks for the user's authorized_keys
 *   missing     path                   missing: is there nothing?
 *   make-directory  path               with those above it
 *   try         config, as, to, identity         a session with the host `to`
 *
 * Content of files (text, was) is in base64; a missing file is "".
 */
#ifndef COMMAND_PAIR_PAIR_AGENT_H
#define COMMAND_PAIR_PAIR_AGENT_H

#include "base/json.h"

#define PAIR_AGENT_GREETING                                                                        \
    "mirrord pair agent 1" /* its first line; the number is this protocol's */

enum { PAIR_FILE_MAX = 4 * 1024 * 1024, PAIR_LINE_MAX = 12 * 1024 * 1024 };

/* Does it on this host. The caller frees the answer; the request stays the caller's. */
struct json *pair_agent_do(const struct json *request);

/* Answers requests, a line each, from standard input to standard output until that ends: 0. */
int pair_agent_serve(void);

#endif
