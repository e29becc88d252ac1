/* A line-by-line server on a Unix socket; see control.h. */
#include "primary/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"

enum { BACKLOG = 64, EVENTS_MAX = 32, PIECE = 4096 };

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
    char *path, *name; /* name: the last component */
    int dir;           /* the directory above the socket */
    int listener, epoll;
    ino_t inode; /* of our socket file */
    bool paused; /* as many clients as there may be */
    unsigned count;
    LIST_HEAD(, control_client) clients;
};

/* --- the socket --- */

/* The address through the directory's descriptor: paths over 107 bytes work too. */
static struct sockaddr_un address_of(int dir, const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dir, name);
    return a;
}

static int open_directory(struct control *c, struct err *err)
{
    char *above CLEANUP_FREE = mem_copy_string(c->path);
    char *slash = strrchr(above, '/');
    c->name = mem_copy_string(slash ? slash + 1 : above);
    if (!*c->name || strlen(c->name) > 64)
        return err_set(err, ERR_USAGE, "%s: not a name for a socket", c->path);
    if (slash)
        slash[slash == above] = '\0';
    const char *dir = slash ? above : ".";
    if (slash && slash != above && io_make_path(dir, 0755, err) < 0)
        return -1;
    c->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return c->dir < 0 ? err_sys(err, errno, "open %s", dir) : 0;
}

/* Whatever stands at the path must be a socket that nobody serves. */
static int check_stale(struct control *c, struct err *err)
{
    struct stat st;
    struct sockaddr_un a = address_of(c->dir, c->name);
    if (fstatat(c->dir, c->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s", c->path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_USAGE, "%s is there and is not a socket", c->path);
    int fd CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EAGAIN)
        return errno == ECONNREFUSED || errno == ENOENT ? 0 : err_sys(err, errno, "%s", c->path);
    return err_set(err, ERR_TEMPORARY, "another daemon answers at the control socket %s", c->path);
}

/* It appears under its name only when it listens and nobody else may connect. */
static int publish(struct control *c, struct err *err)
{
    struct stat st;
    uint64_t random;
    io_random(&random, sizeof random);
    char *fresh CLEANUP_FREE = mem_format(".new-%016llx", (unsigned long long)random);
    struct sockaddr_un a = address_of(c->dir, fresh);
    mode_t before = umask(0177);
    int bound = bind(c->listener, (struct sockaddr *)&a, sizeof a);
    int failed = bound < 0 ? errno : 0;
    umask(before);
    if (!failed &&
        (listen(c->listener, BACKLOG) < 0 || fstatat(c->dir, fresh, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            renameat(c->dir, fresh, c->dir, c->name) < 0))
        failed = errno;
    if (failed) {
        if (bound == 0)
            unlinkat(c->dir, fresh, 0);
        return err_sys(err, failed, "control socket %s", c->path);
    }
    c->inode = st.st_ino;
    return 0;
}

static int poll_for(struct control *c, int fd, uint32_t events, void *of, int how)
{
    struct epoll_event e = {.events = events, .data.ptr = of};
    return epoll_ctl(c->epoll, how, fd, &e);
}

static int open_parts(struct control *c, struct err *err)
{
    if (open_directory(c, err) < 0 || check_stale(c, err) < 0)
        return -1;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->epoll < 0 || c->listener < 0)
        return err_sys(err, errno, "control socket");
    if (publish(c, err) < 0)
        return -1;
    if (poll_for(c, c->listener, EPOLLIN, NULL, EPOLL_CTL_ADD) < 0)
        return err_sys(err, errno, "control socket");
    return 0;
}

int control_open(
    const char *path, const struct control_handler *h, struct control **out, struct err *err)
{
    struct control *c = mem_alloc(sizeof *c);
    c->handler = *h;
    c->path = mem_copy_string(path);
    c->dir = c->listener = c->epoll = -1;
    LIST_INIT(&c->clients);
    if (open_parts(c, err) < 0) {
        control_close(c);
        return -1;
    }
    *out = c;
    return 0;
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
        c->paused = poll_for(c, c->listener, EPOLLIN, NULL, EPOLL_CTL_MOD) < 0;
}

void control_close(struct control *c)
{
    struct stat st;
    if (!c)
        return;
    while (!LIST_EMPTY(&c->clients))
        drop(LIST_FIRST(&c->clients));
    if (c->inode && fstatat(c->dir, c->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_ino == c->inode)
        unlinkat(c->dir, c->name, 0);
    if (c->listener >= 0)
        close(c->listener);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->dir >= 0)
        close(c->dir);
    free(c->path);
    free(c->name);
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

static void answer(struct control_client *k, const struct json *reply)
{
    char *text CLEANUP_FREE = json_print(reply, false);
    size_t len = strlen(text);
    k->asked = false;
    if (len > CONTROL_REPLY_MAX) {
        k->broken = true;
        return;
    }
    text[len] = '\n';
    buf_append(&k->out, text, len + 1);
    write_some(k);
}

static void refuse(struct control_client *k, enum err_code code, const char *text)
{
    struct json *j = json_object();
    json_set_text(j, "error", text);
    json_set_number(j, "code", code);
    answer(k, j);
    json_free(j);
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
    answer(k, reply);
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

static void take_client(struct control *c)
{
    if (c->count >= CONTROL_CLIENTS_MAX) {
        c->paused = poll_for(c, c->listener, 0, NULL, EPOLL_CTL_MOD) == 0;
        return;
    }
    int fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct control_client *k = mem_alloc(sizeof *k);
    k->home = c;
    k->fd = fd;
    LIST_INSERT_HEAD(&c->clients, k, order);
    c->count++;
    if (poll_for(c, fd, EPOLLIN, k, EPOLL_CTL_ADD) < 0)
        drop(k);
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
