/* For tests: one line to a control socket, one line back. By itself, since <sys/socket.h> and
 * protocol/msg.h both have a MSG_BEGIN. */
#ifndef TEST_ASK_H
#define TEST_ASK_H

/* The answer with its newline, the caller's to free; the test fails where there is none. */
char *ask_line(const char *socket_path, const char *request);

#endif
