/*
 * What libssh2 calls: for memory, for its socket, and with the server's farewell. What it sends is
 * always taken whole into our own buffer, so that no packet is ever partly sent. The library itself
 * is ssh2.c's.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "link/ssh2/kexinit.h"
#include "link/ssh2/ssh2_impl.h"

/* The agent's socket: the library would wait on it for ever. */
static int wait_agent(struct ssh2 *s, int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};
    return s->patience && patience_poll(s->patience, &pfd, 1, NULL) ? -ETIMEDOUT : 0;
}

void *ssh2_on_alloc(size_t n, void **abstract)
{
    struct ssh2 *s = *abstract;
    return heap_alloc(&s->heap, n);
}

void *ssh2_on_realloc(void *p, size_t n, void **abstract)
{
    struct ssh2 *s = *abstract;
    return heap_resize(&s->heap, p, n);
}

void ssh2_on_free(void *p, void **abstract)
{
    struct ssh2 *s = *abstract;
    heap_free(&s->heap, p);
}

ssize_t ssh2_on_send(int fd, const void *p, size_t n, int flags, void **abstract)
{
    struct ssh2 *s = *abstract;
    if (fd == s->sock.fd) {
        sock_put(&s->sock, p, n);
        return (ssize_t)n;
    }
    if (wait_agent(s, fd, POLLOUT))
        return -ETIMEDOUT;
    ssize_t put = send(fd, p, n, flags | MSG_NOSIGNAL);
    return put < 0 ? -errno : put;
}

ssize_t ssh2_on_receive(int fd, void *p, size_t n, int flags, void **abstract)
{
    struct ssh2 *s = *abstract;
    if (fd != s->sock.fd) {
        if (wait_agent(s, fd, POLLIN))
            return -ETIMEDOUT;
        ssize_t got = recv(fd, p, n, flags);
        return got < 0 ? -errno : got;
    }
    if (s->closing)
        return -ENOTCONN;
    ssize_t got = sock_get(&s->sock, p, n);
    if (got > 0 && s->handshaking && buf_len(&s->first) < KEXINIT_MAX)
        buf_append(&s->first, p, (size_t)got);
    return got;
}

void ssh2_on_disconnect(struct _LIBSSH2_SESSION *session, int reason, const char *message,
    int message_len, const char *language, int language_len, void **abstract)
{
    (void)session, (void)reason, (void)language, (void)language_len;
    struct ssh2 *s = *abstract;
    if (message_len > 0)
        tail_add(&s->farewell, message, (size_t)message_len);
}
