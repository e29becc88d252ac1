/*
 * A link through a child process: its socket is the stream. Serves the kind `child` (a receiver on
 * this host) and, with another name, `openssh`. Knows nothing of hosts and keys.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "link/conn_impl.h"
#include "link/process/proc.h"

struct child {
    struct conn conn;
    struct proc proc;
    const char *kind;
    bool blocked; /* a write found the socket full: poll for room */
};

static struct child *child_of(const struct conn *c)
{
    return (struct child *)c;
}

static void child_close(struct conn *c)
{
    proc_end(&child_of(c)->proc);
    free(c);
}

static ssize_t child_read(struct conn *c, void *p, size_t n, struct err *err)
{
    struct proc *proc = &child_of(c)->proc;
    for (;;) {
        ssize_t got = recv(proc->stream, p, n, 0);
        if (got > 0)
            return got;
        if (got < 0 && errno == EINTR)
            continue;
        proc_listen(proc); /* only when there is nothing else to do: its 64 KiB are patient */
        if (got == 0 || errno == ECONNRESET)
            return 0;
        return errno == EAGAIN ? CONN_AGAIN : err_sys(err, errno, "read");
    }
}

static ssize_t child_write(struct conn *c, const void *p, size_t n, struct err *err)
{
    struct child *child = child_of(c);
    for (;;) {
        ssize_t put = send(child->proc.stream, p, n, MSG_NOSIGNAL);
        child->blocked = put < 0 ? errno == EAGAIN : (size_t)put < n;
        if (put >= 0)
            return put;
        if (child->blocked)
            return CONN_AGAIN;
        if (errno == EPIPE || errno == ECONNRESET)
            return err_set(err, ERR_TEMPORARY, "the far end has closed the connection");
        if (errno != EINTR)
            return err_sys(err, errno, "write");
    }
}

static int child_flush(struct conn *c, struct err *err)
{
    (void)c;
    (void)err; /* nothing is held back here: what was taken is the kernel's */
    return 0;
}

static size_t child_pending(const struct conn *c)
{
    (void)c;
    return 0;
}

static int child_poll(struct conn *c, struct pollfd fds[2])
{
    const struct proc *proc = &child_of(c)->proc;
    short events = child_of(c)->blocked ? POLLIN | POLLOUT : POLLIN;
    fds[0] = (struct pollfd){.fd = proc->stream, .events = events};
    fds[1] = (struct pollfd){.fd = proc->errors, .events = POLLIN};
    return proc->errors >= 0 ? 2 : 1;
}

static int child_shutdown(struct conn *c, struct err *err)
{
    if (shutdown(child_of(c)->proc.stream, SHUT_WR) < 0 && errno != ENOTCONN)
        return err_sys(err, errno, "shutdown");
    return 0;
}

static const char *child_stderr(struct conn *c)
{
    struct proc *proc = &child_of(c)->proc;
    proc_listen(proc);
    return proc->said.text;
}

static int child_exit_status(struct conn *c)
{
    struct proc *proc = &child_of(c)->proc;
    proc_wait(proc, 0);
    return proc->status;
}

static void child_settle(struct conn *c, int ms)
{
    proc_wait(&child_of(c)->proc, ms);
}

static const char *child_kind(const struct conn *c)
{
    return child_of(c)->kind;
}

static const struct conn_ops child_ops = {
    .close = child_close,
    .read = child_read,
    .write = child_write,
    .flush = child_flush,
    .pending = child_pending,
    .poll = child_poll,
    .shutdown = child_shutdown,
    .stderr_text = child_stderr,
    .exit_status = child_exit_status,
    .settle = child_settle,
    .kind = child_kind,
};

int child_start(char *const *argv, const char *kind, struct conn **out, struct err *err)
{
    struct child *child = mem_alloc(sizeof *child);
    int rc = proc_start(&child->proc, argv, err);
    if (rc) {
        free(child);
        return rc;
    }
    child->conn.ops = &child_ops;
    child->kind = kind;
    *out = &child->conn;
    return 0;
}

int child_open(const struct conn_options *o, struct conn **out, struct err *err)
{
    int rc = child_start(o->argv, "child", out, err);
    if (rc > 0)
        return err_set(err, ERR_FAILED, "%s: there is no such program on this host", o->argv[0]);
    return rc;
}
