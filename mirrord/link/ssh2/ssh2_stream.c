/*
 * An SSH session as a conn: when what the caller writes is handed on, when the socket is written,
 * and what is polled. What the caller writes is staged until the library has it, so that a call
 * that must be repeated is repeated with the same arguments whatever the caller does meanwhile. The
 * library itself is ssh2.c's.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "link/ssh2/ssh2_impl.h"

enum {
    SEND_AT = 128 * 1024, /* conn_write sends by itself */
    WAITING = 256 * 1024, /* the most that may wait */
};

static struct ssh2 *ssh2_of(const struct conn *c)
{
    return (struct ssh2 *)c;
}

static void op_close(struct conn *c)
{
    ssh2_free(ssh2_of(c));
}

/* Hands the stage to the library. 0: it is empty; CONN_AGAIN: the far end's window is full or keys
 * are exchanged; -1. */
static int push_stage(struct ssh2 *s, struct err *err)
{
    while (s->stage_at < s->staged) {
        ssize_t n = ssh2_put(s, s->stage + s->stage_at, s->staged - s->stage_at, err);
        if (n < 0)
            return (int)n;
        s->stage_at += (size_t)n;
    }
    s->stage_at = s->staged = 0;
    return 0;
}

static int check_lost(struct ssh2 *s, struct err *err)
{
    return s->sock.lost ? ssh2_fail(s, 0, "write", err) : 0;
}

/* 0 when the stage is free to be filled. */
static int make_room(struct ssh2 *s, struct err *err)
{
    int rc = push_stage(s, err);
    if (rc == -1)
        return -1;
    if (buf_len(&s->sock.out) >= SEND_AT)
        sock_flush(&s->sock);
    if (check_lost(s, err))
        return -1;
    return rc == 0 && buf_len(&s->sock.out) < WAITING ? 0 : CONN_AGAIN;
}

static ssize_t op_write(struct conn *c, const void *p, size_t n, struct err *err)
{
    struct ssh2 *s = ssh2_of(c);
    if (s->shut)
        return err_set(err, ERR_FAILED, "write after the end of the stream");
    size_t taken = 0;
    int rc = 0;
    while (taken < n && (rc = make_room(s, err)) == 0) {
        s->staged = n - taken < SSH2_STAGE ? n - taken : SSH2_STAGE;
        memcpy(s->stage, (const char *)p + taken, s->staged);
        taken += s->staged;
    }
    if (rc != -1 && taken)
        rc = make_room(s, err);
    if (rc == -1)
        return -1;
    return taken || n == 0 ? (ssize_t)taken : CONN_AGAIN;
}

static int push_eof(struct ssh2 *s, struct err *err)
{
    if (!s->shut || s->eof_sent)
        return 0;
    int rc = ssh2_put_end(s, err);
    s->eof_sent = rc == 0;
    return rc;
}

static int op_flush(struct conn *c, struct err *err)
{
    struct ssh2 *s = ssh2_of(c);
    int rc = push_stage(s, err);
    if (rc == 0)
        rc = push_eof(s, err);
    if (rc == -1)
        return -1;
    bool sent = sock_flush(&s->sock);
    if (check_lost(s, err))
        return -1;
    return rc == 0 && sent ? 0 : CONN_AGAIN;
}

static size_t op_pending(const struct conn *c)
{
    const struct ssh2 *s = ssh2_of(c);
    return s->staged - s->stage_at + buf_len(&s->sock.out);
}

/* The library has input that the caller has not read: the socket will not tell. */
static bool holds_input(const struct ssh2 *s)
{
    return ssh2_has_input(s) || s->sock.lost || (!s->ended && ssh2_has_ended(s));
}

static int op_poll(struct conn *c, struct pollfd fds[2])
{
    struct ssh2 *s = ssh2_of(c);
    bool out = buf_len(&s->sock.out) > 0 && !s->sock.lost;
    fds[0] = (struct pollfd){.fd = s->sock.fd, .events = out ? POLLIN | POLLOUT : POLLIN};
    if (!holds_input(s))
        return 1;
    fds[1] = (struct pollfd){.fd = s->always, .events = POLLIN};
    return 2;
}

static ssize_t op_read(struct conn *c, void *p, size_t n, struct err *err)
{
    struct ssh2 *s = ssh2_of(c);
    ssize_t got = ssh2_get(s, p, n, err);
    if (got == 0)
        s->ended = true;
    return got;
}

static int op_shutdown(struct conn *c, struct err *err)
{
    struct ssh2 *s = ssh2_of(c);
    s->shut = true;
    int rc = op_flush(c, err);
    return rc == CONN_AGAIN ? 0 : rc; /* the rest goes with later flushes */
}

static const char *op_stderr(struct conn *c)
{
    return ssh2_said(ssh2_of(c));
}

static int op_exit_status(struct conn *c)
{
    return ssh2_exit_status(ssh2_of(c));
}

static void op_settle(struct conn *c, int ms)
{
    struct ssh2 *s = ssh2_of(c);
    struct patience p = patience_for((unsigned)ms, NULL);
    char drop[4096];
    for (;;) {
        ssize_t n = op_read(c, drop, sizeof drop, NULL);
        if (n == -1 || (n <= 0 && s->sock.lost) || (n == 0 && op_exit_status(c) >= 0))
            return;
        struct pollfd pfd = {.fd = s->sock.fd, .events = POLLIN};
        if (n <= 0 && patience_poll(&p, &pfd, 1, NULL))
            return;
    }
}

static const char *op_kind(const struct conn *c)
{
    return ssh2_of(c)->kind;
}

static const struct conn_ops ssh2_ops = {
    .close = op_close,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .pending = op_pending,
    .poll = op_poll,
    .shutdown = op_shutdown,
    .stderr_text = op_stderr,
    .exit_status = op_exit_status,
    .settle = op_settle,
    .kind = op_kind,
};

struct conn *ssh2_conn(struct ssh2 *s)
{
    s->conn.ops = &ssh2_ops;
    return &s->conn;
}
