/*
 * Requests and answers between the receiver's two processes; see parent.h. The packets are
 * asks.c's, what is done for them outside.c's. Of what the child says nothing is believed: it may
 * have been taken over by the peer.
 */
#include "secondary/confine/parent.h"

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

#include "base/io.h"
#include "base/mem.h"
#include "secondary/confine/asks.h"
#include "secondary/confine/sandbox.h"
#include "secondary/hook/hold.h"
#include "secondary/hook/hook.h"
#include "secondary/session/session.h"

/* A packet and what its strings point into; fd: a directory that came with it, else -1. */
struct packet {
    struct ask ask;
    int fd;
    uint8_t raw[ASK_PACKET_MAX];
};

union descriptor_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static bool send_ask(int socket, const struct ask *a, int fd)
{
    uint8_t raw[ASK_PACKET_MAX];
    union descriptor_room room = {0};
    struct iovec part = {raw, ask_encode(a, raw)};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &room;
        m.msg_controllen = sizeof room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t n;
    do
        n = part.iov_len ? sendmsg(socket, &m, MSG_NOSIGNAL) : -1;
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)part.iov_len && n > 0;
}

/* The one descriptor that may come, or -1. Of several, for which the room's padding is enough, none
 * stays open, and *several says so; what has no room the kernel closes. */
static int take_descriptor(struct msghdr *m, bool *several)
{
    int fds[(sizeof(union descriptor_room) - CMSG_LEN(0)) / sizeof(int)];
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    bool any = c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS;
    size_t n = any ? (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds : 0;
    if (n)
        memcpy(fds, CMSG_DATA(c), n * sizeof *fds);
    *several = n > 1 || (m->msg_flags & MSG_CTRUNC);
    for (size_t i = 0; *several && i < n; i++)
        close(fds[i]);
    return n == 1 && !*several ? fds[0] : -1;
}

/* False: the other end is gone, or what it sent is no packet. The caller closes p->fd. */
static bool receive_ask(int socket, struct packet *p)
{
    union descriptor_room room = {0};
    struct iovec part = {p->raw, sizeof p->raw};
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room};
    ssize_t n;
    do
        n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    bool several = false;
    p->fd = n < 0 ? -1 : take_descriptor(&m, &several);
    return n > 0 && !several && !(m.msg_flags & MSG_TRUNC) &&
           ask_decode((struct bytes){p->raw, (size_t)n}, &p->ask);
}

/* --- the parent --- */

static struct bytes cut_text(const char *text)
{
    return (struct bytes){text, strnlen(text, ASK_TEXT_MAX)};
}

static void answer_err(struct ask *answer, int result, const struct err *err)
{
    answer->result = result;
    if (result == 0)
        return;
    answer->code = (int32_t)err->code;
    answer->sys = err->sys;
    answer->text = cut_text(err->text);
}

/* What an answer's strings point into. */
struct scratch {
    struct err err;
    struct outside_place place;
    struct epoch epoch;
    struct hook_state hook;
    char name[ASK_NAME_MAX + 1];
    char *pattern;
};

static void answer_number(const struct outside *o, const struct ask *q, struct ask *answer)
{
    char name[ASK_NAME_MAX + 1] = "";
    memcpy(name, q->name.data, q->name.len);
    answer->result = o->names.id_of(o->names.ctx, q->flag, name, &answer->number);
}

static void answer_name(
    const struct outside *o, const struct ask *q, struct ask *answer, struct scratch *s)
{
    answer->result = o->names.name_of(o->names.ctx, q->flag, q->number, s->name);
    answer->name = answer->result ? bytes_of(s->name) : (struct bytes){0};
}

static void answer_mark(
    const struct outside *o, const struct ask *q, struct ask *answer, struct scratch *s)
{
    struct mark m;
    char *line CLEANUP_FREE = mem_copy_bytes(q->text.data, q->text.len);
    char *name CLEANUP_FREE = mem_copy_bytes(q->name.data, q->name.len);
    if (!mark_parse(line, &m))
        answer_err(answer, err_sys(&s->err, EINVAL, "write"), &s->err);
    else
        answer_err(answer, o->marks.write(o->marks.ctx, name, &m, &s->err), &s->err);
}

static void answer_place(const struct outside *o, const struct ask *q,
    const struct outside_site *site, struct ask *answer, struct scratch *s)
{
    answer_err(answer, o->place(o->ctx, site, q->flag, &s->place, &s->err), &s->err);
    if (answer->result)
        return;
    answer->flag = s->place.barred;
    answer->root = bytes_of(s->place.root);
    answer->name = bytes_of(s->place.stage);
    answer->policy = s->place.policy;
}

/* A pattern goes where a root has its room: it may be longer than a text. */
static void answer_exclude(const struct outside *o, const struct ask *q,
    const struct outside_site *site, struct ask *answer, struct scratch *s)
{
    int more = o->exclude(o->ctx, site, q->number, &s->pattern, &s->err);
    answer_err(answer, more < 0 ? -1 : 0, &s->err);
    answer->flag = more == 1;
    answer->root = bytes_of(s->pattern);
}

static void answer_in_place(const struct outside *o, const struct ask *q, struct ask *answer)
{
    char *root CLEANUP_FREE = mem_copy_bytes(q->root.data, q->root.len);
    answer->result = o->in_place(o->ctx, root);
}

static void answer_epoch(const struct outside *o, const struct packet *p,
    const struct outside_site *site, struct ask *answer, struct scratch *s)
{
    const struct ask *q = &p->ask;
    struct epoch presented = {.counter = q->count, .id = q->id};
    size_t len = q->text.len < MSG_HOST_MAX ? q->text.len : MSG_HOST_MAX;
    memcpy(presented.primary, q->text.data ? q->text.data : "", len);
    answer_err(
        answer, o->epoch(o->ctx, site, q->flag, p->fd, &presented, &s->epoch, &s->err), &s->err);
    answer->count = s->epoch.counter;
    answer->id = s->epoch.id;
    answer->other = s->epoch.role;
    answer->name = bytes_of(s->epoch.primary);
}

/* Through a directory that the child has open: how far that reaches is the sandbox's. */
static void answer_change(const struct outside *o, const struct packet *p, struct ask *answer)
{
    const struct ask *q = &p->ask;
    char name[ASK_NAME_MAX + 1] = "";
    struct timespec mtime = {q->seconds, q->nanoseconds};
    memcpy(name, q->name.data ? q->name.data : "", q->name.len);
    answer->result = q->kind == ASK_LINK
                         ? o->set_link(o->ctx, p->fd, name, q->number, q->other, &mtime)
                         : o->loosen(o->ctx, p->fd, name);
    answer->sys = answer->result < 0 ? errno : 0;
}

static void answer_hook_state(const struct outside *o, const struct outside_site *site,
    const struct ask *q, struct ask *answer, struct hook_state *now)
{
    answer->result = o->hook_state(o->ctx, site, q->flag, now);
    if (answer->result < 0)
        return;
    answer->flag = now->pending;
    answer->number = now->failing.count;
    answer->count = (uint64_t)now->failing.since;
    answer->text = bytes_of(now->failing.text);
}

/* False: there is no such request. */
static bool answer_one(
    const struct outside *o, const struct packet *p, struct ask *answer, struct scratch *s)
{
    const struct ask *q = &p->ask;
    struct outside_site site = {q->name, q->root};
    switch (q->kind) {
    case ASK_NUMBER_OF: answer_number(o, q, answer); return true;
    case ASK_NAME_OF: answer_name(o, q, answer, s); return true;
    case ASK_MARK: answer_mark(o, q, answer, s); return true;
    case ASK_PLACE: answer_place(o, q, &site, answer, s); return true;
    case ASK_EXCLUDE: answer_exclude(o, q, &site, answer, s); return true;
    case ASK_IN_PLACE: answer_in_place(o, q, answer); return true;
    case ASK_MAKE:
        answer_err(answer, o->make(o->ctx, &site, q->flag, &s->err), &s->err);
        return true;
    case ASK_EPOCH: answer_epoch(o, p, &site, answer, s); return true;
    case ASK_YIELD: o->yield(o->ctx, &site, &q->id); return true;
    case ASK_LINK:
    case ASK_LOOSEN: answer_change(o, p, answer); return true;
    case ASK_HOOK_STATE: answer_hook_state(o, &site, q, answer, &s->hook); return true;
    case ASK_TOLD: answer->flag = o->told(o->ctx, &site, q->count, &answer->count); return true;
    case ASK_HOLD: answer->number = o->hold(o->ctx, &site); return true;
    default: return false;
    }
}

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
    word->result = a->result;
    word->call = (int)a->number;
    err_set(&word->err, (enum err_code)a->code, "%.*s", (int)a->text.len,
        a->text.len ? (const char *)a->text.data : "");
    word->err.sys = a->sys;
}

/* Of what changed: it is not answered. False: it is no records. */
static bool take_records(const struct outside *o, const struct ask *q)
{
    struct outside_site site = {q->name, q->root};
    return q->kind == ASK_HOOK ? o->hook(o->ctx, &site, q->records)
                               : o->let_go(o->ctx, &site, q->records, q->flag);
}

/* False when the child is gone or makes no sense. */
static bool serve_one(int socket, const struct outside *o, struct last_word *word)
{
    struct packet p;
    struct scratch s = {0};
    struct ask answer = {.kind = ASK_ANSWER};
    bool good = receive_ask(socket, &p);
    if (good && (p.ask.kind == ASK_REPORT || p.ask.kind == ASK_REFUSED))
        keep_word(&p.ask, word);
    else if (good && (p.ask.kind == ASK_HOOK || p.ask.kind == ASK_LET_GO))
        good = take_records(o, &p.ask);
    else if (good)
        good = answer_one(o, &p, &answer, &s) && send_ask(socket, &answer, -1);
    if (p.fd >= 0)
        close(p.fd);
    free(s.place.root);
    free(s.pattern);
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

/* --- the child --- */

/* True: it was answered. */
static bool ask(int *socket, const struct ask *question, int fd, struct packet *answer)
{
    return send_ask(*socket, question, fd) && receive_ask(*socket, answer) &&
           answer->ask.kind == ASK_ANSWER;
}

/* The same, and what the answer says of success: its result, or -1 with err. */
static int ask_for(
    int *socket, const struct ask *question, int fd, struct packet *answer, struct err *err)
{
    if (!ask(socket, question, fd, answer))
        return err_set(err, ERR_FAILED, "the receiver's parent does not answer");
    const struct ask *a = &answer->ask;
    if (a->result == 0)
        return 0;
    err_set(err, (enum err_code)a->code, "%.*s", (int)a->text.len, (const char *)a->text.data);
    err->sys = a->sys;
    return a->result;
}

static int ask_number(void *ctx, bool group, const char *name, unsigned *id)
{
    struct packet p;
    struct ask q = {.kind = ASK_NUMBER_OF, .flag = group, .name = bytes_of(name)};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 1)
        return 0;
    *id = p.ask.number;
    return 1;
}

static int ask_name(void *ctx, bool group, unsigned id, char name[256])
{
    struct packet p;
    struct ask q = {.kind = ASK_NAME_OF, .flag = group, .number = id};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 1)
        return 0;
    snprintf(name, 256, "%.*s", (int)p.ask.name.len, (const char *)p.ask.name.data);
    return 1;
}

static int ask_mark(void *ctx, const char *name, const struct mark *m, struct err *err)
{
    struct packet p;
    char line[MARK_TEXT_MAX];
    mark_format(m, line);
    struct ask q = {.kind = ASK_MARK, .name = bytes_of(name), .text = bytes_of(line)};
    return ask_for(ctx, &q, -1, &p, err);
}

static int ask_place(
    void *ctx, const struct outside_site *s, bool make, struct outside_place *out, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_PLACE, .flag = make, .name = s->name, .root = s->asked};
    *out = (struct outside_place){0};
    if (ask_for(ctx, &q, -1, &p, err))
        return -1;
    out->barred = p.ask.flag;
    out->policy = p.ask.policy;
    out->root = mem_copy_bytes(p.ask.root.data, p.ask.root.len);
    snprintf(out->stage, sizeof out->stage, "%.*s", (int)p.ask.name.len,
        p.ask.name.len ? (const char *)p.ask.name.data : "");
    return 0;
}

static int ask_exclude(
    void *ctx, const struct outside_site *s, unsigned number, char **pattern, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_EXCLUDE, .number = number, .name = s->name, .root = s->asked};
    if (ask_for(ctx, &q, -1, &p, err))
        return -1;
    if (p.ask.flag)
        *pattern = mem_copy_bytes(p.ask.root.data, p.ask.root.len);
    return p.ask.flag;
}

static int ask_in_place(void *ctx, const char *root)
{
    struct packet p;
    struct ask q = {.kind = ASK_IN_PLACE, .root = bytes_of(root)};
    return ask(ctx, &q, -1, &p) && p.ask.result == 0 ? 0 : -1;
}

static int ask_make(void *ctx, const struct outside_site *s, bool away, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_MAKE, .flag = away, .name = s->name, .root = s->asked};
    return ask_for(ctx, &q, -1, &p, err);
}

static int ask_epoch(void *ctx, const struct outside_site *s, bool take, int lock,
    const struct epoch *presented, struct epoch *now, struct err *err)
{
    struct packet p;
    struct ask q = {.kind = ASK_EPOCH,
        .flag = take,
        .name = s->name,
        .root = s->asked,
        .count = presented->counter,
        .id = presented->id,
        .text = bytes_of(presented->primary)};
    int result = ask_for(ctx, &q, lock, &p, err);
    *now = (struct epoch){0};
    if (result < 0)
        return -1;
    now->counter = p.ask.count;
    now->id = p.ask.id;
    now->role = (enum epoch_role)p.ask.other;
    snprintf(now->primary, sizeof now->primary, "%.*s", (int)p.ask.name.len,
        p.ask.name.len ? (const char *)p.ask.name.data : "");
    return result;
}

static void ask_yield(void *ctx, const struct outside_site *s, const struct digest *owner)
{
    struct packet p;
    struct ask q = {.kind = ASK_YIELD, .name = s->name, .root = s->asked, .id = *owner};
    ask(ctx, &q, -1, &p);
}

static int ask_change(void *ctx, const struct ask *q, int dirfd)
{
    struct packet p;
    if (!ask(ctx, q, dirfd, &p))
        errno = EIO;
    else if (p.ask.result == 0)
        return 0;
    else
        errno = p.ask.sys;
    return -1;
}

static int ask_link(
    void *ctx, int dirfd, const char *name, uid_t uid, gid_t gid, const struct timespec *mtime)
{
    struct ask q = {.kind = ASK_LINK,
        .name = bytes_of(name),
        .number = uid,
        .other = gid,
        .seconds = mtime->tv_sec,
        .nanoseconds = (uint32_t)mtime->tv_nsec};
    return ask_change(ctx, &q, dirfd);
}

static int ask_loosen(void *ctx, int dirfd, const char *name)
{
    struct ask q = {.kind = ASK_LOOSEN, .name = bytes_of(name)};
    return ask_change(ctx, &q, dirfd);
}

static bool ask_hook(void *ctx, const struct outside_site *s, struct bytes records)
{
    struct ask q = {.kind = ASK_HOOK, .name = s->name, .root = s->asked, .records = records};
    return send_ask(*(int *)ctx, &q, -1);
}

static int ask_hook_state(
    void *ctx, const struct outside_site *s, bool opened, struct hook_state *out)
{
    struct packet p;
    struct ask q = {.kind = ASK_HOOK_STATE, .flag = opened, .name = s->name, .root = s->asked};
    if (!ask(ctx, &q, -1, &p) || p.ask.result != 0)
        return -1;
    *out = (struct hook_state){.pending = p.ask.flag};
    out->failing.count = p.ask.number;
    out->failing.since = (int64_t)p.ask.count;
    snprintf(out->failing.text, sizeof out->failing.text, "%.*s", (int)p.ask.text.len,
        p.ask.text.len ? (const char *)p.ask.text.data : "");
    return 0;
}

static bool ask_told(void *ctx, const struct outside_site *s, uint64_t ticket, uint64_t *now)
{
    struct packet p;
    struct ask q = {.kind = ASK_TOLD, .name = s->name, .root = s->asked, .count = ticket};
    bool answered = ask(ctx, &q, -1, &p);
    *now = answered ? p.ask.count : 0;
    return answered && p.ask.flag;
}

/* A parent that is gone held them: this process is to die with it, and switches nothing meanwhile.
 */
static unsigned ask_hold(void *ctx, const struct outside_site *s)
{
    struct packet p;
    struct ask q = {.kind = ASK_HOLD, .name = s->name, .root = s->asked};
    return ask(ctx, &q, -1, &p) ? p.ask.number : HOLD_WAITS;
}

static bool ask_let_go(void *ctx, const struct outside_site *s, struct bytes records, bool last)
{
    struct ask q = {
        .kind = ASK_LET_GO, .flag = last, .name = s->name, .root = s->asked, .records = records};
    return send_ask(*(int *)ctx, &q, -1);
}

struct outside parent_outside(int *socket)
{
    return (struct outside){.names = {ask_number, ask_name, socket},
        .marks = {ask_mark, socket},
        .place = ask_place,
        .exclude = ask_exclude,
        .in_place = ask_in_place,
        .make = ask_make,
        .epoch = ask_epoch,
        .yield = ask_yield,
        .set_link = ask_link,
        .loosen = ask_loosen,
        .hook = ask_hook,
        .hook_state = ask_hook_state,
        .told = ask_told,
        .hold = ask_hold,
        .let_go = ask_let_go,
        .ctx = socket};
}

void parent_report(int socket, int result, const struct err *err)
{
    struct ask word = {.kind = ASK_REPORT, .result = result};
    if (result < 0)
        answer_err(&word, result, err);
    send_ask(socket, &word, -1);
}

void parent_refused(int socket, int call)
{
    unsigned n = (unsigned)call;
    uint8_t word[] = {ASK_REFUSED, n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, (uint8_t)(n >> 24)};
    if (send(socket, word, sizeof word, MSG_NOSIGNAL) < 0) {
        /* nobody is left to be told */
    }
}
