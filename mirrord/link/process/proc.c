/*
 * Child processes: posix_spawn (safe beside threads), one socket for input and output so that
 * the whole child can be polled with two descriptors, and an end that waits on a pidfd. Knows
 * nothing of what runs in them.
 */
#include "link/process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"

extern char **environ;

enum { GRACE_EOF_MS = 300, GRACE_TERM_MS = 2000 };

static int set_attributes(posix_spawnattr_t *attr, bool beside)
{
    sigset_t none, all;
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    int rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, beside ? flags : flags | POSIX_SPAWN_SETPGROUP);
    return rc;
}

static int set_descriptors(posix_spawn_file_actions_t *actions, int stream, int errors)
{
    int rc = posix_spawn_file_actions_adddup2(actions, stream, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, stream, 1);
    if (rc == 0 && errors >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, errors, 2);
    return rc;
}

/* 0, or an errno. errors −1: ours, and our process group. */
static int spawn(char *const *argv, int stream, int errors, pid_t *pid)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t actions;
    int rc = posix_spawnattr_init(&attr);
    if (rc)
        return rc;
    rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = set_attributes(&attr, errors < 0);
        if (rc == 0)
            rc = set_descriptors(&actions, stream, errors);
        if (rc == 0)
            rc = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    posix_spawnattr_destroy(&attr);
    return rc;
}

static void reap_now(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int start(struct proc *p, char *const *argv, bool beside, struct err *err)
{
    int ours CLEANUP_FD = -1, theirs CLEANUP_FD = -1, heard CLEANUP_FD = -1, said CLEANUP_FD = -1;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, errno, "socketpair");
    ours = pair[0];
    theirs = pair[1];
    if (!beside && pipe2(pair, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    heard = beside ? -1 : pair[0];
    said = beside ? -1 : pair[1];
    if (io_nonblock(ours) < 0 || (!beside && io_nonblock(heard) < 0))
        return err_sys(err, errno, "set non-blocking");
    pid_t pid;
    int rc = spawn(argv, theirs, said, &pid);
    if (rc == ENOENT)
        return 1;
    if (rc)
        return err_sys(err, rc, "start %s", argv[0]);
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        rc = errno;
        reap_now(pid);
        return err_sys(err, rc, "pidfd_open");
    }
    *p = (struct proc){.pid = pid,
        .pidfd = pidfd,
        .stream = TAKE_FD(ours),
        .errors = TAKE_FD(heard),
        .status = -1,
        .beside = beside};
    return 0;
}

int proc_start(struct proc *p, char *const *argv, struct err *err)
{
    return start(p, argv, false, err);
}

int proc_start_beside(struct proc *p, char *const *argv, struct err *err)
{
    return start(p, argv, true, err);
}

void proc_listen(struct proc *p)
{
    char text[1024];
    while (p->errors >= 0) {
        ssize_t n = read(p->errors, text, sizeof text);
        if (n > 0) {
            tail_add(&p->said, text, (size_t)n);
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            close(p->errors);
            p->errors = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static bool reap(struct proc *p)
{
    int how;
    pid_t pid = p->pid ? waitpid(p->pid, &how, WNOHANG) : 0;
    if (pid > 0) {
        p->status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        p->pid = 0;
    } else if (pid < 0 && errno == ECHILD) {
        p->pid = 0; /* somebody else has waited for it: how it ended stays unknown */
    }
    return p->pid == 0;
}

bool proc_wait(struct proc *p, int ms)
{
    uint64_t deadline = io_now_ms() + (uint64_t)ms;
    while (!reap(p)) {
        uint64_t now = io_now_ms();
        if (now >= deadline)
            return false;
        struct pollfd fds[2] = {
            {.fd = p->pidfd, .events = POLLIN}, {.fd = p->errors, .events = POLLIN}};
        (void)poll(fds, 2, (int)(deadline - now));
        proc_listen(p);
    }
    proc_listen(p);
    return true;
}

void proc_end(struct proc *p)
{
    if (p->stream >= 0)
        close(p->stream);
    p->stream = -1;
    if (!proc_wait(p, GRACE_EOF_MS)) {
        kill(p->beside ? p->pid : -p->pid, SIGTERM);
        if (!proc_wait(p, GRACE_TERM_MS)) {
            kill(p->beside ? p->pid : -p->pid, SIGKILL);
            while (!proc_wait(p, GRACE_TERM_MS))
                ;
        }
    }
    if (p->errors >= 0)
        close(p->errors);
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->errors = p->pidfd = -1;
}

/* 0 at the end of the output; -1. */
static int collect(
    struct proc *p, size_t max, const struct patience *patience, struct buf *out, struct err *err)
{
    for (;;) {
        struct pollfd fds[2] = {
            {.fd = p->stream, .events = POLLIN}, {.fd = p->errors, .events = POLLIN}};
        if (patience_poll(patience, fds, 2, err))
            return -1;
        proc_listen(p);
        uint8_t *room = buf_room(out, 4096);
        ssize_t n = recv(p->stream, room, 4096, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_sys(err, errno, "read");
        if (n > 0)
            buf_fill(out, (size_t)n);
        if (buf_len(out) > max)
            return err_set(err, ERR_FAILED, "more than %zu bytes of output", max);
    }
}

int proc_capture(char *const *argv, size_t max, const struct patience *patience,
    struct proc_result *out, struct err *err)
{
    struct proc p;
    int rc = proc_start(&p, argv, err);
    if (rc)
        return rc;
    shutdown(p.stream, SHUT_WR);
    struct buf text = {0};
    rc = collect(&p, max, patience, &text, err);
    proc_end(&p);
    if (rc == 0) {
        out->output = mem_copy_bytes(buf_bytes(&text), buf_len(&text));
        out->status = p.status;
        out->said = p.said;
    } else {
        err_prefix(err, "%s", argv[0]);
    }
    buf_free(&text);
    return rc;
}
