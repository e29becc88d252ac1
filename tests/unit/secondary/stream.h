/* Socket pairs. Apart from the rest, since <sys/socket.h> has a MSG_BEGIN of its own. */
#ifndef TEST_STREAM_H
#define TEST_STREAM_H

int stream_pair(int fds[2]);
void stream_end_sending(int fd);

#endif
