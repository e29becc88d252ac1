/* A host that takes part in a pairing: this one, or another one through a person's own login. */
#ifndef COMMAND_PAIR_PAIR_END_H
#define COMMAND_PAIR_PAIR_END_H

#include <stdbool.h>

#include "base/json.h"
#include "command/config/config.h"

struct pair_login {          /* how the person gets to other hosts */
    const char *ssh_command; /* "ssh"; may hold options, split at blanks, quotes honoured */
    const char *user;        /* NULL: as ssh decides */
    bool sudo;               /* what is started there is started with sudo */
};

struct pair_end;

/* This host: nothing is started. */
struct pair_end *pair_end_here(const struct config_host *host);

/* Logs in, which may ask for a password at the terminal, and starts the agent there. The host has
 * to show a key of the file known_hosts. Fails with a sentence where the login does, where mirrord
 * is missing there, or where another version does not understand this one. */
int pair_end_open(const struct config_host *host, const struct pair_login *login,
    const char *known_hosts, struct pair_end **out, struct err *err);

void pair_end_close(struct pair_end *e); /* NULL is fine */

const char *pair_end_name(const struct pair_end *e);
const struct config_host *pair_end_host(const struct pair_end *e);
bool pair_end_is_here(const struct pair_end *e);

/* A text of its answer to "hello"; "" for this host. */
const char *pair_end_says(const struct pair_end *e, const char *key);

/* Asks the agent; see pair_agent.h. The request is taken over. 0 with the answer, which the caller
 * frees; -1 with "HOST: why". */
int pair_end_ask(struct pair_end *e, struct json *request, struct json **answer, struct err *err);

/* The arguments with which ssh reaches this host: the login's words, options, port, user and
 * address; `options`, and those that hold always, are put behind "-o". The caller adds the command
 * and frees it with words_free. NULL: the login's command has an open quote. */
char **pair_end_ssh(const struct config_host *host, const struct pair_login *login,
    const char *const *options, struct err *err);

/* -1: what to do about there being no such program. */
int pair_end_no_ssh(const char *program, struct err *err);

#endif
