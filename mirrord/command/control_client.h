/* One question to the running daemon over its control socket: a line of JSON each way. */
#ifndef COMMAND_CONTROL_CLIENT_H
#define COMMAND_CONTROL_CLIENT_H

#include "base/err.h"
#include "base/json.h"

/* Sends the request and waits up to timeout_ms (0: for ever) for the answer, which the caller
 * frees. No daemon there is ERR_FAILED and says how to start one; an answer with "error" is an
 * error with its text and "code". */
int control_client_ask(const char *path, const struct json *request, unsigned timeout_ms,
    struct json **reply, struct err *err);

#endif
