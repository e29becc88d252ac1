/* A line-by-line server on a Unix socket; see control.h. */
#include "primary/daemon/control.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/listener.h"

enum { EVENTS_MAX = 32, PIECE = 4096 };

struct control_client {
    LIST_ENTRY(control_client) order;
    struct control *home;
    int fd;
    struct buf in, out;
    bool asked;  /* a request is being answered */
    bool ended;  /* it will send no more */
    bool broken; /* to be dropped */
    bool inside; /* in the handler: dropped behind it */
};

struct control {
    struct control_handler handler;
    struct control_limits limits;
    bool owned; /* by this user, so that nobody else is served: */
    uid_t owner;
    struct listener *listener;
    int epoll;
    bool paused; /* as many clients as there may be */
    unsigned count;
    LIST_HEAD(, control_client) clients;
};

/* --- the socket --- */

static int poll_for(struct control *c, int fd, uint32_t events, void *of, int how)
{
    struct epoll_event e = {.events = events, .data.ptr = of};
    return epoll_ctl(c->epoll, how, fd, &e);
}

static int open_parts(struct control *c, const char *path, struct err *err)
{
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0)
        return err_sys(err, errno, "epoll for the socket %s", path);
    if (listener_open(path, &c->listener, err) < 0)
        return -1;
    if (poll_for(c, listener_fd(c->listener), EPOLLIN, NULL, EPOLL_CTL_ADD) < 0)
        return err_sys(err, errno, "epoll for the socket %s", path);
    return 0;
}

int control_open(const char *path, const struct control_limits *limits,
    const struct control_handler *h, struct control **out, struct err *err)
{
    static const struct control_limits none = {.clients = CONTROL_CLIENTS_MAX};
    struct control *c = mem_alloc(sizeof *c);
    c->limits = limits ? *limits : none;
    c->handler = *h;
    c->epoll = -1;
    LIST_INIT(&c->clients);
    if (open_parts(c, path, err) < 0) {
        control_close(c);
        return -1;
    }
    *out = c;
    return 0;
}

int control_own(struct control *c, uid_t owner, gid_t group, struct err *err)
{
    c->owner = owner;
    c->owned = true;
    return listener_own(c->listener, owner, group, err);
}

bool control_stands(const struct control *c)
{
    return listener_stands(c->listener);
}

int control_fd(const struct control *c)
{
    return c->epoll;
}

/* --- clients --- */

static void drop(struct control_client *k)
{
    struct control *c = k->home;
    if (k->asked)
        c->handler.gone(c->handler.ctx, k);
    LIST_REMOVE(k, order);
    c->count--;
    /* A process that is being started holds a copy, with which closing alone would not end events.
     */
    poll_for(c, k->fd, 0, NULL, EPOLL_CTL_DEL);
    close(k->fd);
    buf_free(&k->in);
    buf_free(&k->out);
    free(k);
    if (c->paused)
        c->paused = poll_for(c, listener_fd(c->listener), EPOLLIN, NULL, EPOLL_CTL_MOD) < 0;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    while (!LIST_EMPTY(&c->clients))
        drop(LIST_FIRST(&c->clients));
    listener_close(c->listener);
    if (c->epoll >= 0)
        close(c->epoll);
    free(c);
}

/* Reads while nothing is being answered; writes while there is something to write. */
static void poll_again(struct control_client *k)
{
    bool reads = !k->asked && !k->ended && buf_len(&k->out) == 0;
    uint32_t events = (reads ? EPOLLIN : 0u) | (buf_len(&k->out) ? EPOLLOUT : 0u);
    if (poll_for(k->home, k->fd, events, k, EPOLL_CTL_MOD) < 0)
        k->broken = true;
}

static void write_some(struct control_client *k)
{
    while (buf_len(&k->out)) {
        ssize_t n = send(k->fd, buf_bytes(&k->out), buf_len(&k->out), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            k->broken |= errno != EAGAIN;
            return;
        }
        buf_drain(&k->out, (size_t)n);
    }
}

/* Takes the line over. */
static void answer(struct control_client *k, char *line)
{
    char *text CLEANUP_FREE = line;
    size_t len = strlen(text);
    k->asked = false;
    if (len > CONTROL_REPLY_MAX) {
        k->broken = true;
        return;
    }
    buf_append(&k->out, text, len);
    write_some(k);
}

static char *line_of(const struct json *j)
{
    char *text = json_print(j, false);
    size_t len = strlen(text);
    text[len] = '\n'; /* in the place of the NUL; the line gets its own */
    char *line = mem_copy_bytes(text, len + 1);
    free(text);
    return line;
}

static char *refusal_line(enum err_code code, const char *text)
{
    struct json *j = json_object();
    json_set_text(j, "error", text);
    json_set_number(j, "code", code);
    char *line = line_of(j);
    json_free(j);
    return line;
}

static void refuse(struct control_client *k, enum err_code code, const char *text)
{
    answer(k, refusal_line(code, text));
}

static void ask(struct control_client *k, const char *line, size_t len)
{
    struct json *request = json_parse(line, len);
    k->asked = true;
    if (!request || !json_get_text(request, "do", NULL))
        refuse(k, ERR_USAGE, "a request is one line of JSON with \"do\"");
    else
        k->home->handler.request(k->home->handler.ctx, k, request);
    json_free(request);
}

/* Requests one after the other, as long as they are answered at once. */
static void ask_all(struct control_client *k)
{
    k->inside = true;
    while (!k->asked && !k->broken && buf_len(&k->out) == 0) {
        const char *line = (const char *)buf_bytes(&k->in);
        const char *end = buf_len(&k->in) ? memchr(line, '\n', buf_len(&k->in)) : NULL;
        if (!end)
            break;
        ask(k, line, (size_t)(end - line));
        buf_drain(&k->in, (size_t)(end - line) + 1);
    }
    k->inside = false;
    if (!k->asked && buf_len(&k->in) >= CONTROL_REQUEST_MAX) {
        refuse(k, ERR_USAGE, "the request is too long");
        k->ended = true;
    }
}

static void read_some(struct control_client *k)
{
    ssize_t n = recv(k->fd, buf_room(&k->in, PIECE), PIECE, MSG_DONTWAIT);
    if (n > 0)
        buf_fill(&k->in, (size_t)n);
    else if (n == 0)
        k->ended = true;
    else
        k->broken |= errno != EAGAIN && errno != EINTR;
    if (n > 0)
        ask_all(k);
}

/* After anything that may have changed its state. */
static void settle(struct control_client *k)
{
    bool finished = k->ended && !k->asked && buf_len(&k->out) == 0;
    if (!k->broken && !finished)
        poll_again(k);
    if (k->broken || finished)
        drop(k);
}

static void answered(struct control_client *k)
{
    if (k->inside)
        return;
    ask_all(k);
    settle(k);
}

void control_reply(struct control_client *k, const struct json *reply)
{
    answer(k, line_of(reply));
    answered(k);
}

void control_fail(struct control_client *k, const struct err *err)
{
    refuse(k, err->code, err->text);
    answered(k);
}

static void serve(struct control_client *k, uint32_t events)
{
    if (events & EPOLLOUT) {
        write_some(k);
        ask_all(k);
    }
    if ((events & EPOLLIN) && !k->asked && !k->broken)
        read_some(k);
    else if (events & (EPOLLERR | EPOLLHUP))
        k->broken = true;
    settle(k);
}

/* Why whoever is at this end may not be served; NULL: he may. */
static const char *refusal(const struct control *c, int fd, enum err_code *code)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    *code = ERR_REFUSED;
    if (c->owned && (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
                        (peer.uid != c->owner && peer.uid != 0 && peer.uid != geteuid())))
        return "this socket is another user's";
    *code = ERR_TEMPORARY;
    return c->count >= c->limits.clients ? "busy: too many are asking at once" : NULL;
}

static void add_client(struct control *c, int fd)
{
    struct control_client *k = mem_alloc(sizeof *k);
    k->home = c;
    k->fd = fd;
    LIST_INSERT_HEAD(&c->clients, k, order);
    c->count++;
    if (poll_for(c, fd, EPOLLIN, k, EPOLL_CTL_ADD) < 0)
        drop(k);
}

static void take_client(struct control *c)
{
    if (c->count >= c->limits.clients && !c->limits.turns_away) {
        c->paused = poll_for(c, listener_fd(c->listener), 0, NULL, EPOLL_CTL_MOD) == 0;
        return;
    }
    int fd CLEANUP_FD = accept4(listener_fd(c->listener), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    enum err_code code;
    const char *why = fd < 0 ? NULL : refusal(c, fd, &code);
    if (why) {
        char *line CLEANUP_FREE = refusal_line(code, why);
        send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT); /* fits: it is the first */
    } else if (fd >= 0) {
        add_client(c, TAKE_FD(fd));
    }
}

/* One event a call of epoll_wait: what one handler does may drop the client of another. */
void control_serve(struct control *c)
{
    struct epoll_event e;
    for (int i = 0; i < EVENTS_MAX && epoll_wait(c->epoll, &e, 1, 0) > 0; i++) {
        if (e.data.ptr)
            serve(e.data.ptr, e.events);
        else
            take_client(c);
    }
}
