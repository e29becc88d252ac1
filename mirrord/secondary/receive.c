/* The receiver's processes; see receive.h. What is served is session/'s, what the parent does
 * parent.c's. */
#include "secondary/receive.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "secondary/confine/child.h"
#include "secondary/confine/grounds.h"
#include "secondary/confine/parent.h"
#include "secondary/confine/renewal.h"
#include "secondary/confine/sandbox.h"
#include "secondary/hook/hook.h"
#include "secondary/session/session.h"
#include "tree/state/state.h"

/* What an unprivileged process may ask for. In the usual 64 KiB sshd and the receiver wait for one
 * another all the time, and what does not fit sshd keeps, at a page fault for each 4 KiB of it. */
enum { PIPE_SIZE = 1 << 20 };

/* What both processes have, from before they are two. */
struct common {
    const struct receive_options *options;
    struct receive_self self;
    struct sandbox *box;
    struct grounds *grounds;
};

static void be_child(struct common *c, int socket, pid_t parent)
{
    struct err err;
    err_clear(&err);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    grounds_leave(c->grounds);
    const struct sandbox_alarm alarm = {child_refused, socket};
    struct outside outside = child_outside(&socket);
    FAULT("sandbox"); /* what a build for tests opens, it opens here */
    int result = sandbox_enter(c->box, SANDBOX_ALL, &alarm, &err);
    c->self.lacks = sandbox_lacking(c->box);
    c->self.enclosed = sandbox_encloses(c->box);
    if (c->self.lacks && c->self.left < 0)
        log_warn("this receiver is not confined by %s", sandbox_lacks(c->box));
    if (result == 0)
        result = session_run(c->options, &outside, &c->self, &err);
    child_report(socket, result, &err);
    /* The end takes its time where large files are being freed; the stream ends now. */
    close(c->options->out);
    close(STDERR_FILENO);
    _exit(result < 0 ? 1 : 0);
}

/* Nobody is to wait for commands that still run: sshd lets the session end when this process has,
 * and nothing of it holds the stream. What they say from here on is in the note alone. */
static void be_finisher(struct hooks *hooks)
{
    int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(nothing, fd);
    setsid();
    hooks_finish(hooks, 0);
    hooks_free(hooks);
    _exit(0);
}

static void finish_hooks(const struct common *c, struct hooks *hooks)
{
    pid_t pid = hooks_pending(hooks) ? fork() : -1;
    if (pid == 0) {
        close(c->options->in);
        close(c->options->out);
        grounds_leave(c->grounds);
        be_finisher(hooks);
    }
    if (pid > 0)
        hooks_leave(hooks);
    hooks_free(hooks);
}

static int be_parent(struct common *c, int socket, pid_t child, struct err *err)
{
    struct outside_direct direct = {
        .options = c->options, .grounds = c->grounds, .names = names_new(NULL)};
    direct.hooks = hooks_new(c->options->state_dir);
    struct outside outside = outside_direct(&direct);
    int result = parent_serve(socket, child, &outside, c->options->out, err);
    finish_hooks(c, direct.hooks);
    names_free(direct.names);
    return result;
}

static int split(struct common *c, struct err *err)
{
    int sockets[2];
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return err_sys(err, errno, "socketpair");
    int ours CLEANUP_FD = sockets[0];
    int theirs CLEANUP_FD = sockets[1];
    pid_t child = fork();
    if (child < 0)
        return err_sys(err, errno, "fork");
    if (child == 0) {
        close(TAKE_FD(ours));
        be_child(c, theirs, parent);
    }
    close(TAKE_FD(theirs));
    return be_parent(c, ours, child, err);
}

/* One child's life, with the grounds as they are by now. As parent_serve. */
static int serve_child(struct common *c, struct err *err)
{
    c->box = sandbox_new();
    c->grounds = grounds_prepare(c->options, c->box);
    c->self.leave = renewal_file(err);
    int result = c->self.leave < 0 ? -1 : split(c, err);
    grounds_free(c->grounds);
    sandbox_free(c->box);
    return result;
}

/* The next child gets what this one left, and the configuration as it is now, if it is one. */
static void pass_on(struct common *c)
{
    const struct receive_fence *f = c->options->fence;
    if (c->self.left >= 0)
        close(c->self.left);
    c->self.left = TAKE_FD(c->self.leave);
    while (waitpid(-1, NULL, WNOHANG) > 0) /* who finished commands after an earlier renewal */
        continue;
    err_clear(&c->self.config);
    if (f->reload && f->reload(f->ctx, &c->self.config) < 0)
        log_warn("the configuration stays as it was: %s", c->self.config.text);
}

/* The root directory and the current one of the child are others than the parent's. */
static char *absolute(const char *path)
{
    char *here CLEANUP_FREE = path[0] == '/' ? NULL : realpath(".", NULL);
    return here ? mem_format("%s/%s", here, path) : mem_copy_string(path);
}

int receive_run(const struct receive_options *asked, struct err *err)
{
    char *state_dir CLEANUP_FREE = absolute(asked->state_dir);
    struct receive_options own = *asked, *o = &own;
    o->state_dir = state_dir;
    struct common c = {.options = o, .self = {.left = -1, .leave = -1}};
    int result;
    (void)fcntl(o->in, F_SETPIPE_SZ, PIPE_SIZE); /* not a pipe, or not allowed: so be it */
    c.self.failed = state_host_id(o->state_dir, &c.self.id, &c.self.err);
    /* A link that is cut must not end the parent, and with it a commit. */
    void (*hangup)(int) = signal(SIGHUP, SIG_IGN);
    while ((result = serve_child(&c, err)) == SESSION_RENEW)
        pass_on(&c);
    signal(SIGHUP, hangup);
    if (c.self.left >= 0)
        close(c.self.left);
    if (c.self.leave >= 0)
        close(c.self.leave);
    return result;
}
