/*
 * A control socket: many clients at once, a line of JSON each way (protocol/CONTROL.md). Knows
 * nothing of what requests mean. Never blocks: a slow client costs its own connection at most. For
 * one thread.
 */
#ifndef PRIMARY_DAEMON_CONTROL_H
#define PRIMARY_DAEMON_CONTROL_H

#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"

enum {
    CONTROL_REQUEST_MAX = 64 * 1024,
    CONTROL_REPLY_MAX = 32 * 1024 * 1024,
    CONTROL_CLIENTS_MAX = 128,
};

struct control;
struct control_client;

struct control_handler {
    /* Answer with control_reply or control_fail, now or later; exactly once. Until then no further
     * request of this client is read. */
    void (*request)(void *ctx, struct control_client *c, const struct json *request);
    /* The client went away before it was answered: forget it. */
    void (*gone)(void *ctx, struct control_client *c);
    void *ctx;
};

struct control_limits {
    unsigned clients; /* at once; more have to wait in the kernel's queue, */
    bool turns_away;  /* or are told that it is busy and cut off */
};

/* Listens at this path as listener_open says. limits NULL: CONTROL_CLIENTS_MAX that wait. */
int control_open(const char *path, const struct control_limits *limits,
    const struct control_handler *h, struct control **out, struct err *err);
void control_close(struct control *c); /* removes the socket if it still is ours; NULL is fine */

/* Gives the socket to this user and group. From now on whoever is neither that user nor root nor
 * this process's user is told so and cut off, whatever the file's mode lets in. */
int control_own(struct control *c, uid_t owner, gid_t group, struct err *err);
bool control_stands(const struct control *c); /* the socket is still at its path */

int control_fd(const struct control *c); /* readable: call control_serve */

/* Takes and answers what can be without waiting; the handler is called from here. */
void control_serve(struct control *c);

/* The answer, which is copied; who would get one over CONTROL_REPLY_MAX is cut off. The client may
 * be gone after this. */
void control_reply(struct control_client *c, const struct json *reply);
void control_fail(struct control_client *c, const struct err *err); /* {"error", "code"} */

#endif
