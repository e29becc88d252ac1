/* See ask.h. */
#include "ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"

enum { ANSWER_MAX = 1 << 20 };

char *ask_line(const char *socket_path, const char *request)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char *answer = mem_alloc(ANSWER_MAX + 1);
    size_t len = 0;
    int fd CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(strlen(socket_path) < sizeof a.sun_path);
    strcpy(a.sun_path, socket_path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(io_write_full(fd, request, strlen(request)), 0);
    assert_int_equal(io_write_full(fd, "\n", 1), 0);
    while (len == 0 || answer[len - 1] != '\n') {
        ssize_t n = read(fd, answer + len, ANSWER_MAX - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    return answer;
}
