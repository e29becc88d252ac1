/* The socket beneath an SSH session. Knows bytes, not packets. */
#include "link/net/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

void sock_put(struct sock *s, const void *p, size_t n)
{
    if (!s->lost)
        buf_append(&s->out, p, n);
}

bool sock_flush(struct sock *s)
{
    while (!s->lost && buf_len(&s->out)) {
        ssize_t n = send(s->fd, buf_bytes(&s->out), buf_len(&s->out), MSG_NOSIGNAL);
        if (n >= 0)
            buf_drain(&s->out, (size_t)n);
        else if (errno == EAGAIN)
            return false;
        else if (errno != EINTR)
            s->lost = errno;
    }
    return true;
}

ssize_t sock_get(struct sock *s, void *p, size_t n)
{
    if (s->lost)
        return -EAGAIN;
    ssize_t got;
    do
        got = recv(s->fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        s->lost = got == 0 ? ENOTCONN : errno;
    if (got <= 0)
        return -EAGAIN;
    if (s->hasty) {
        int on = 1; /* the kernel forgets it, so again after each receive */
        (void)setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    }
    return got;
}
