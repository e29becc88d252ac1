/*
 * The socket between the receiver's two processes; see parent.h. A request or an answer is one
 * packet of one struct: both ends are the same program. What the child says is believed only as
 * far as its size and its strings' ends: it may have been taken over by the peer.
 */
#include "secondary/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

enum kind { ASK_ID = 1, ASK_NAME = 2, REPORT = 3, WRITE_MARK = 4 };

struct packet {
    uint32_t kind;
    uint32_t group; /* requests: a group, not a user */
    uint32_t id;
    int32_t result; /* answers: 1 found; report: the child's result */
    int32_t code;   /* report: err.code, err.sys */
    int32_t sys;
    char text[ERR_TEXT_MAX]; /* a name, or the report's words */
};

/* 1 a packet, 0 the other end is gone. */
static int receive_packet(int socket, struct packet *p)
{
    ssize_t n;
    do
        n = recv(socket, p, sizeof *p, 0);
    while (n < 0 && errno == EINTR);
    p->text[sizeof p->text - 1] = '\0';
    return n == (ssize_t)sizeof *p;
}

static bool send_packet(int socket, const struct packet *p)
{
    ssize_t n;
    do
        n = send(socket, p, sizeof *p, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *p;
}

static void answer_id(struct names *names, struct packet *p)
{
    struct bytes name = bytes_of(p->text);
    uid_t uid = 0;
    gid_t gid = 0;
    p->result = p->group ? names_gid(names, name, &gid) : names_uid(names, name, &uid);
    p->id = p->group ? gid : uid;
}

static void answer_name(struct names *names, struct packet *p)
{
    struct bytes name = p->group ? names_group(names, p->id) : names_user(names, p->id);
    p->result = name.len > 0;
    memset(p->text, 0, sizeof p->text);
    memcpy(p->text, name.data ? name.data : "", name.len);
}

/* "NAME MARK": the mark of the root whose state directory has this name. */
static void write_mark(const char *state_dir, struct packet *p)
{
    struct mark m;
    struct err err;
    char *space = strchr(p->text, ' ');
    p->result = -1;
    p->sys = EINVAL;
    if (!space || !mark_parse(space + 1, &m))
        return;
    *space = '\0';
    if (!p->text[0] || p->text[0] == '.' || strchr(p->text, '/'))
        return;
    char *path CLEANUP_FREE = mem_format("%s/roots/%s", state_dir, p->text);
    int dir CLEANUP_FD = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    p->sys = dir < 0 ? errno : 0;
    if (dir >= 0 && mark_write(dir, &m, &err) == 0)
        p->result = 1;
    else if (dir >= 0)
        p->sys = err.sys;
}

/* Keeps a report; answers everything else. False when the child is gone or makes no sense. */
static bool serve_one(int socket, const char *state_dir, struct names *names, struct packet *report)
{
    struct packet p = {0};
    if (!receive_packet(socket, &p))
        return false;
    switch (p.kind) {
    case ASK_ID: answer_id(names, &p); break;
    case ASK_NAME: answer_name(names, &p); break;
    case WRITE_MARK: write_mark(state_dir, &p); break;
    case REPORT: *report = p; return true;
    default: return false;
    }
    return send_packet(socket, &p);
}

static void serve_all(
    int socket, const char *state_dir, int signals, pid_t child, struct packet *report)
{
    struct names *names = names_new(NULL);
    struct pollfd fds[] = {{.fd = socket, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        struct signalfd_siginfo info;
        if (fds[1].revents && read(signals, &info, sizeof info) > 0)
            kill(child, SIGTERM);
        if (fds[0].revents && !serve_one(socket, state_dir, names, report))
            break;
    }
    names_free(names);
}

static int result_of(int status, const struct packet *report, struct err *err)
{
    if (WIFSIGNALED(status))
        return err_set(err, ERR_FAILED, "the receiving process was ended by signal %d (%s)",
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (report->kind != REPORT)
        return err_set(err, ERR_FAILED, "the receiving process ended without a word");
    if (report->result == 0)
        return 0;
    err_set(err, (enum err_code)report->code, "%s", report->text);
    err->sys = report->sys;
    return -1;
}

int parent_serve(int socket, pid_t child, const char *state_dir, struct err *err)
{
    sigset_t watched, before;
    sigemptyset(&watched);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigprocmask(SIG_BLOCK, &watched, &before);
    int signals CLEANUP_FD = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    struct packet report = {0};
    serve_all(socket, state_dir, signals, child, &report);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return result_of(status, &report, err);
}

static int ask(int *socket, struct packet *p)
{
    return send_packet(*socket, p) && receive_packet(*socket, p) && p->result == 1;
}

static int ask_id(void *ctx, bool group, const char *name, unsigned *id)
{
    struct packet p = {.kind = ASK_ID, .group = group};
    snprintf(p.text, sizeof p.text, "%s", name);
    if (!ask(ctx, &p))
        return 0;
    *id = p.id;
    return 1;
}

static int ask_name(void *ctx, bool group, unsigned id, char name[256])
{
    struct packet p = {.kind = ASK_NAME, .group = group, .id = id};
    if (!ask(ctx, &p))
        return 0;
    snprintf(name, 256, "%.255s", p.text);
    return 1;
}

struct names_source parent_names(int *socket)
{
    return (struct names_source){ask_id, ask_name, socket};
}

static int ask_mark(void *ctx, const char *name, const struct mark *m, struct err *err)
{
    struct packet p = {.kind = WRITE_MARK};
    char line[MARK_TEXT_MAX];
    mark_format(m, line);
    if ((size_t)snprintf(p.text, sizeof p.text, "%s %s", name, line) >= sizeof p.text)
        return err_sys(err, ENAMETOOLONG, "write");
    return ask(ctx, &p) ? 0 : err_sys(err, p.sys ? p.sys : EPIPE, "write");
}

struct mark_writer parent_marks(int *socket)
{
    return (struct mark_writer){ask_mark, socket};
}

void parent_report(int socket, int result, const struct err *err)
{
    struct packet p = {.kind = REPORT, .result = result};
    if (result < 0) {
        p.code = (int32_t)err->code;
        p.sys = err->sys;
        snprintf(p.text, sizeof p.text, "%s", err->text);
    }
    send_packet(socket, &p);
}
