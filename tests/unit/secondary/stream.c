/* Socket pairs; see stream.h. */
#include "stream.h"

#include <sys/socket.h>

int stream_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

void stream_end_sending(int fd)
{
    shutdown(fd, SHUT_WR);
}
