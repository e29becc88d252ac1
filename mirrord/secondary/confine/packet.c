/* Packets with descriptors; see packet.h. What is in them is asks.c's. */
#include "secondary/confine/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union descriptor_room {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

bool packet_send(int socket, const struct ask *a, int fd)
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

bool packet_receive(int socket, struct packet *p)
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
