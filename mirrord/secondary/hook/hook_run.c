/* Starting, watching and ending the process of one run; see hook_run.h. */
#include "secondary/hook/hook_run.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "link/process/tail.h"

enum {
    GRACE_MS = 5000, /* from SIGTERM to SIGKILL */
    LINES_MAX = 10,  /* of its output in the log, the last ones */
    NOT_STARTED = 126,
};

struct hook_run {
    const char *key, *sign;
    char *site;
    pid_t pid;          /* its guard's, and that of their group */
    int status, output; /* pipes; output -1: closed */
    uint64_t until;     /* io_now_ms: then the next signal is sent */
    unsigned limit_ms;
    bool at_once; /* the first signal is the last */
    bool is_signed;
    int sent;        /* the last signal of ours; 0: none */
    const char *why; /* it was ended before its time was over; NULL: for that */
    struct tail tail;
};

/* As whom it runs; `given` false: as this process does. */
struct who {
    bool given;
    uid_t uid;
    gid_t gid;
    char *name; /* NULL: no name, and no further groups */
};

static int set_who(struct who *w, const struct passwd *p)
{
    *w = (struct who){true, p->pw_uid, p->pw_gid, mem_copy_string(p->pw_name)};
    return 0;
}

static int find_user(const char *user, struct who *w, struct err *err)
{
    const struct passwd *p = getpwnam(user);
    if (!p)
        return err_set(err, ERR_USAGE, "there is no user %s here: correct on-commit-user", user);
    if (geteuid() == 0)
        return set_who(w, p);
    return p->pw_uid == geteuid()
               ? 0
               : err_set(
                     err, ERR_USAGE, "only root could run it as %s: correct on-commit-user", user);
}

/* Root is never meant by what is mirrored: the primary chooses that owner. */
static int find_owner(const char *root, struct who *w, struct err *err)
{
    struct stat st;
    if (geteuid() != 0)
        return 0;
    if (stat(root, &st) < 0)
        return err_sys(err, errno, "%s", root);
    if (st.st_uid == 0)
        return err_set(err, ERR_USAGE,
            "%s belongs to root: say with on-commit-user as whom the command is to run", root);
    const struct passwd *p = getpwuid(st.st_uid);
    if (p)
        return set_who(w, p);
    *w = (struct who){true, st.st_uid, st.st_gid, NULL};
    return 0;
}

/* --- the process --- */

static void reset_signals(void)
{
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int become(const struct who *w)
{
    if (!w->given)
        return 0;
    if (w->name ? initgroups(w->name, w->gid) < 0 : setgroups(0, NULL) < 0)
        return -1;
    return setresgid(w->gid, w->gid, w->gid) < 0 || setresuid(w->uid, w->uid, w->uid) < 0 ? -1 : 0;
}

enum { GUARD_STATUS = 3, GUARD_LOCK };

/* Before it is somebody else's it has nothing of ours any more but its input and output. */
static void be_command(
    const struct hook_run *r, const struct hook_run_what *what, const struct who *w)
{
    const char *root = what->root;
    char **argv = what->order->argv;
    char *site CLEANUP_FREE = mem_format("MIRRORD_SITE=%s", r->site);
    char *place CLEANUP_FREE = mem_format("MIRRORD_ROOT=%s", root);
    char *env[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)"LANG=C", site, place, NULL};
    reset_signals();
    umask(022);
    if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        become(w) < 0 || (chdir(root) < 0 && chdir("/") < 0))
        dprintf(2, "prepare: %m\n");
    else {
        execve(argv[0], argv, env);
        dprintf(2, "%s: %m\n", argv[0]);
    }
    _exit(NOT_STARTED);
}

/* Between us and the command, so that how it ended is to be read by whoever has the pipe: a
 * receiver that is at its end leaves it to another process. It holds the site's lock as long as it
 * runs. */
static void be_guard(const struct hook_run *r, const struct hook_run_what *what,
    const struct who *w, const int ours[5])
{
    int status = NOT_STARTED << 8, moved[5];
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    for (int i = 0; i < 5; i++)
        moved[i] = fcntl(ours[i], F_DUPFD, 5);
    for (int i = 0; i < 5; i++)
        if (dup2(moved[i], i) < 0)
            _exit(1);
    syscall(SYS_close_range, 5u, ~0u, 0u);
    pid_t pid = fork();
    if (pid == 0)
        be_command(r, what, w);
    close(0);
    close(1);
    close(2);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    _exit(io_write_full(GUARD_STATUS, &status, sizeof status) < 0 ? 1 : 0);
}

/* The end to write to; *ours to read from without waiting. -1 with errno. */
static int make_pipe(int *ours)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ours = ends[0];
    io_nonblock(*ours);
    return ends[1];
}

static int launch(
    struct hook_run *r, const struct hook_run_what *what, const struct who *w, struct err *err)
{
    int output CLEANUP_FD = make_pipe(&r->output), status CLEANUP_FD = make_pipe(&r->status);
    int lock = what->lock >= 0 ? what->lock : status;
    if (output < 0 || status < 0)
        return err_sys(err, errno, "prepare its output");
    pid_t pid = fork();
    if (pid == 0)
        be_guard(r, what, w, (const int[]){what->input, output, output, status, lock});
    if (pid < 0)
        return err_sys(err, errno, "fork");
    r->pid = pid;
    return 0;
}

struct hook_run *hook_run_start(const struct hook_run_what *what, struct err *err)
{
    struct who w = {0};
    const struct receive_hook *order = what->order;
    struct hook_run *r = mem_alloc(sizeof *r);
    *r = (struct hook_run){.key = what->key, .sign = what->sign, .status = -1, .output = -1};
    r->site = mem_copy_string(what->site);
    hook_run_limit(r, order->timeout_ms, false);
    int bad =
        hook_check_command(order->argv[0], err) < 0 ||
        (order->user ? find_user(order->user, &w, err) : find_owner(what->root, &w, err)) < 0 ||
        launch(r, what, &w, err) < 0;
    free(w.name);
    if (!bad)
        return r;
    hook_run_free(r);
    return NULL;
}

int hook_run_output(const struct hook_run *r)
{
    return r->output;
}

int hook_run_status(const struct hook_run *r)
{
    return r->status;
}

uint64_t hook_run_due(const struct hook_run *r)
{
    return r->until;
}

bool hook_run_signed(const struct hook_run *r)
{
    return r->is_signed;
}

void hook_run_limit(struct hook_run *r, unsigned ms, bool at_once)
{
    r->limit_ms = ms;
    r->until = io_now_ms() + ms;
    r->at_once = at_once;
}

/* --- its end --- */

static bool is_sign(const struct hook_run *r, const char *line, size_t len)
{
    return r->sign && strlen(r->sign) == len && memcmp(line, r->sign, len) == 0;
}

static void look_for_sign(struct hook_run *r)
{
    for (const char *at = r->tail.text, *end; (end = strchr(at, '\n')); at = end + 1)
        r->is_signed = r->is_signed || is_sign(r, at, (size_t)(end - at));
}

static void read_output(struct hook_run *r)
{
    char text[4096];
    ssize_t n = 1;
    for (unsigned i = 0; r->output >= 0 && i < 16;
         i++) { /* one that never ends has its next turn */
        n = read(r->output, text, sizeof text);
        if (n <= 0)
            break;
        tail_add(&r->tail, text, (size_t)n);
        look_for_sign(r);
    }
    if (r->output >= 0 && (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)))
        close(TAKE_FD(r->output));
}

static void log_output(const struct hook_run *r)
{
    const char *at = r->tail.text + r->tail.len;
    unsigned lines = 0;
    while (at > r->tail.text && lines < LINES_MAX) {
        at--;
        lines += at > r->tail.text && at[-1] == '\n';
    }
    while (*at) {
        size_t n = strcspn(at, "\n");
        if (n && !is_sign(r, at, n))
            log_info("site %s: %s says: %s", r->site, r->key, QUOTED(at, n));
        at += n + (at[n] != '\0');
    }
}

static int say_failure(const struct hook_run *r, int status, struct err *err)
{
    char *last CLEANUP_FREE = tail_last_line(r->tail.text);
    if (is_sign(r, last, strlen(last)))
        *last = '\0';
    const char *between = *last ? ": " : "", *said = last;
    if (r->sent && r->why)
        return err_set(err, ERR_FAILED, "it was ended: %s%s%.256s", r->why, between, said);
    if (r->sent)
        return err_set(err, ERR_FAILED, "it was ended after %g s (%s-timeout)%s%.256s",
            r->limit_ms / 1000.0, r->key, between, said);
    if (WIFSIGNALED(status))
        return err_set(err, ERR_FAILED, "it was ended by signal %d (%s)%s%.256s", WTERMSIG(status),
            strsignal(WTERMSIG(status)), between, said);
    return err_set(
        err, ERR_FAILED, "it ended with exit code %d%s%.256s", WEXITSTATUS(status), between, said);
}

static void send_next(struct hook_run *r, uint64_t now)
{
    r->sent = r->sent || r->at_once ? SIGKILL : SIGTERM;
    kill(-r->pid, r->sent);
    r->until = now + GRACE_MS;
}

/* The guard, where it is ours, is at its end. */
static void reap(struct hook_run *r)
{
    while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    r->pid = 0;
}

int hook_run_step(struct hook_run *r, uint64_t now_ms, struct err *err)
{
    int status = 0;
    read_output(r);
    ssize_t n = read(r->status, &status, sizeof status);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (now_ms >= r->until)
            send_next(r, now_ms);
        return 1;
    }
    read_output(r); /* what came between the two */
    if (r->sent)
        kill(-r->pid, SIGKILL); /* what it left behind */
    reap(r);
    log_output(r);
    if (n != sizeof status)
        status = SIGKILL; /* its guard was ended with it */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && !r->sent ? 0
                                                                     : say_failure(r, status, err);
}

void hook_run_end(struct hook_run *r, const char *why)
{
    if (r->sent)
        return;
    r->why = why;
    r->until = 0;
}

void hook_run_leave(struct hook_run *r)
{
    r->pid = 0;
}

void hook_run_free(struct hook_run *r)
{
    if (!r)
        return;
    if (r->pid > 0) {
        kill(-r->pid, SIGKILL);
        kill(r->pid, SIGKILL); /* should it have no group yet */
        reap(r);
    }
    if (r->status >= 0)
        close(r->status);
    if (r->output >= 0)
        close(r->output);
    free(r->site);
    free(r);
}
