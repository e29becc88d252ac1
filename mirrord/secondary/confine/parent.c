/* The parent's life, until the child's ends; see parent.h. What it does for the child is
 * answer.c's.
 */
#include "secondary/confine/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/confine/answer.h"
#include "secondary/confine/sandbox.h"
#include "secondary/session/session.h"

/* What the child said last; its result is 0, 1 (another is to take its place) or -1. */
struct last_word {
    int kind; /* 0: nothing */
    int result, call;
    struct err err;
};

/* Of a refused call nothing that comes after it takes the place. */
static void keep_word(const struct ask *a, struct last_word *word)
{
    if (word->kind == ASK_REFUSED)
        return;
    word->kind = a->kind;
    word->call = (int)a->number;
    word->result = ask_get_result(a, &word->err);
}

/* False when the child is gone or makes no sense. */
static bool serve_one(int socket, const struct outside *o, struct last_word *word)
{
    struct packet p;
    struct answer answer = {0};
    bool good = packet_receive(socket, &p);
    if (good && (p.ask.kind == ASK_REPORT || p.ask.kind == ASK_REFUSED))
        keep_word(&p.ask, word);
    else if (good && answer_is_notice(&p.ask))
        good = answer_heed(o, &p.ask);
    else if (good)
        good = answer_make(o, &p, &answer) && packet_send(socket, &answer.ask, -1);
    if (p.fd >= 0)
        close(p.fd);
    answer_free(&answer);
    return good;
}

static void serve_all(
    int socket, const struct outside *o, int signals, pid_t child, struct last_word *word)
{
    struct hooks *h = o->hooks;
    struct pollfd fds[] = {{.fd = socket, .events = POLLIN}, {.fd = signals, .events = POLLIN},
        {.fd = h ? hooks_fd(h) : -1, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 3, h ? hooks_due_ms(h) : -1) < 0 && errno != EINTR)
            break;
        if (h)
            hooks_step(h);
        struct signalfd_siginfo info;
        if (fds[1].revents && read(signals, &info, sizeof info) > 0)
            kill(child, SIGTERM);
        if (fds[0].revents && (!serve_one(socket, o, word) || word->kind == ASK_REPORT))
            break;
    }
}

static int result_of(int status, const struct last_word *word, struct err *err)
{
    if (word->kind == ASK_REFUSED) {
        char *name CLEANUP_FREE = sandbox_call_name(word->call);
        return err_set(err, ERR_FAILED,
            "the receiving process was ended: it made the system call %s, which its sandbox does "
            "not allow; if no attack, then this is a fault of mirrord's: please report it",
            name);
    }
    if (WIFSIGNALED(status))
        return err_set(err, ERR_FAILED, "the receiving process was ended by signal %d (%s)",
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (word->kind != ASK_REPORT)
        return err_set(err, ERR_FAILED, "the receiving process ended without a word");
    if (word->result >= 0)
        return word->result;
    *err = word->err;
    return -1;
}

void parent_leave(int fd)
{
    int null CLEANUP_FD = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, fd) < 0)
        close(fd);
}

int parent_serve(int socket, pid_t child, const struct outside *outside, int out, struct err *err)
{
    sigset_t before;
    int signals CLEANUP_FD = io_take_ends(&before);
    struct last_word word = {0};
    serve_all(socket, outside, signals, child, &word);
    /* Who waits for the stream's end need not for the child's. */
    if (word.kind == ASK_REPORT && word.result != SESSION_RENEW && out >= 0)
        parent_leave(out);
    if (word.kind == ASK_REPORT && word.result == 0)
        parent_leave(STDERR_FILENO);
    int status = 0;
    shutdown(socket, SHUT_RDWR); /* one that makes no sense is not answered any more */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return result_of(status, &word, err);
}
