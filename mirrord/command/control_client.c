/* The client's half of the control socket; see control_client.h. It knows no question in
 * particular. */
#include "command/control_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"

enum { REPLY_MAX = 64 * 1024 * 1024, PIECE = 65536 };

static int open_socket(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_USAGE, "%s: is longer than a socket's path can be", path);
    strcpy(address.sun_path, path);
    int fd CLEANUP_FD = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return TAKE_FD(fd);
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
        return err_set(err, ERR_FAILED,
            "no daemon answers at %s: start it with 'systemctl start mirrord' or 'mirrord run'",
            path);
    if (errno == EACCES || errno == EPERM)
        return err_set(err, ERR_FAILED,
            "%s: permission denied: ask as the user the daemon runs as (mostly root)", path);
    return err_sys(err, errno, "connect to the daemon at %s", path);
}

static int send_line(int fd, const struct json *request, struct err *err)
{
    char *text CLEANUP_FREE = json_print(request, false);
    char *line CLEANUP_FREE = mem_format("%s\n", text);
    if (io_write_full(fd, line, strlen(line)))
        return err_sys(err, errno, "ask the daemon");
    return 0;
}

/* 1 when something can be read, 0 when the time is over. */
static int wait_readable(int fd, uint64_t deadline_ms, struct err *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now = io_now_ms();
        if (deadline_ms && now >= deadline_ms)
            return 0;
        int wait = deadline_ms && deadline_ms - now < 60000 ? (int)(deadline_ms - now) : 60000;
        int n = poll(&p, 1, wait);
        if (n > 0)
            return 1;
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for the daemon");
    }
}

/* The line ends the answer, so does the end of the stream. */
static int read_line(int fd, uint64_t deadline_ms, struct buf *line, struct err *err)
{
    for (;;) {
        int ready = wait_readable(fd, deadline_ms, err);
        if (ready < 0)
            return -1;
        if (ready == 0)
            return err_set(err, ERR_TEMPORARY, "the daemon does not answer in time");
        uint8_t *room = buf_room(line, PIECE);
        ssize_t n = read(fd, room, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read the daemon's answer");
        buf_fill(line, (size_t)n);
        if (n == 0 || memchr(room, '\n', (size_t)n))
            return 0;
        if (buf_len(line) > REPLY_MAX)
            return err_set(err, ERR_FAILED, "the daemon's answer does not end");
    }
}

static int understand(const struct buf *line, struct json **reply, struct err *err)
{
    if (buf_len(line) == 0)
        return err_set(err, ERR_TEMPORARY, "the daemon ended before it answered");
    struct json *answer = json_parse((const char *)buf_bytes(line), buf_len(line));
    if (!answer)
        return err_set(err, ERR_FAILED, "the daemon's answer is no JSON: is it another version?");
    const char *error = json_get_text(answer, "error", NULL);
    int code = (int)json_get_number(answer, "code", ERR_FAILED);
    if (error) {
        bool known = code >= ERR_FAILED && code <= ERR_TEMPORARY;
        err_set(err, known ? (enum err_code)code : ERR_FAILED, "%s", error);
        json_free(answer);
        return -1;
    }
    *reply = answer;
    return 0;
}

int control_client_ask(const char *path, const struct json *request, unsigned timeout_ms,
    struct json **reply, struct err *err)
{
    int fd CLEANUP_FD = open_socket(path, err);
    if (fd < 0 || send_line(fd, request, err))
        return -1;
    struct buf line = {0};
    int rc = read_line(fd, timeout_ms ? io_now_ms() + timeout_ms : 0, &line, err);
    if (rc == 0)
        rc = understand(&line, reply, err);
    buf_free(&line);
    return rc;
}
