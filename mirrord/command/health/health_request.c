/*
 * One connection of a load balancer; see health_report.h. By the time its first byte is read
 * everything has been looked at, and the process has given up its rights: whoever reaches the port
 * speaks to a process that can read nothing and change nothing.
 */
#include "command/health/health_report.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

enum { LINGER_MS = 1000, LINGER_MAX = 64 * 1024 };

static int hex_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The site of "/NAME", without a slash or a query behind it; false: it is none's. */
static bool take_site(const char *target, size_t len, char out[256])
{
    size_t n = 0, end = 1;
    while (end < len && target[end] != '?')
        end++;
    if (end > 1 && target[end - 1] == '/')
        end--;
    for (size_t i = 1; i < end; i++) {
        int high = target[i] == '%' && i + 2 < end ? hex_of(target[i + 1]) : -1;
        int low = high >= 0 ? hex_of(target[i + 2]) : -1;
        char c = low >= 0 ? (char)(high * 16 + low) : target[i];
        i += low >= 0 ? 2 : 0;
        if (c == '\0' || n == 255)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

void health_request_parse(const char *head, struct health_request *out)
{
    size_t method = 0;
    *out = (struct health_request){0};
    while (isupper((unsigned char)head[method]))
        method++;
    const char *target = head + method + 1;
    size_t len = head[method] == ' ' ? strcspn(target, " \r\n") : 0;
    if (method == 0 || len == 0 || strncmp(target + len, " HTTP/1.", 8) != 0) {
        out->refused = 400;
        return;
    }
    out->head = method == 4 && strncmp(head, "HEAD", 4) == 0;
    bool good = out->head || (method == 3 && strncmp(head, "GET", 3) == 0) ||
                (method == 7 && strncmp(head, "OPTIONS", 7) == 0);
    if (!good)
        out->refused = 405;
    else if (len == 1 && *target == '*')
        out->site[0] = '\0';
    else if (*target != '/' || !take_site(target, len, out->site))
        out->refused = 400;
}

/* --- the connection --- */

static bool is_whole(const char *head)
{
    return strstr(head, "\r\n\r\n") || strstr(head, "\n\n");
}

/* Waits for input until then. 1, 0 it is over, -1 with errno. */
static int wait_until(int fd, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now = io_now_ms();
        int n = now < until_ms ? poll(&p, 1, (int)(until_ms - now)) : 0;
        if (n >= 0 || errno != EINTR)
            return n > 0 ? 1 : n;
    }
}

/* The head of a request into `head`. 0; 431 where it is too long; -1 with err, and nobody is to be
 * answered. */
static int read_head(int fd, char head[HEALTH_REQUEST_MAX + 1], struct err *err)
{
    uint64_t until = io_now_ms() + HEALTH_REQUEST_MS;
    size_t len = 0;
    head[0] = '\0';
    while (!is_whole(head)) {
        if (len == HEALTH_REQUEST_MAX)
            return 431;
        int ready = wait_until(fd, until);
        if (ready == 0)
            return err_set(
                err, ERR_TEMPORARY, "no whole request came within %d s", HEALTH_REQUEST_MS / 1000);
        ssize_t n = ready < 0 ? -1 : read(fd, head + len, HEALTH_REQUEST_MAX - len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_sys(err, errno, "read the request");
        if (n == 0)
            return err_set(err, ERR_TEMPORARY, "the connection was closed before a request came");
        for (ssize_t i = 0; i < n; i++)
            if (head[len + (size_t)i] == '\0')
                head[len + (size_t)i] = ' ';
        len += (size_t)n;
        head[len] = '\0';
    }
    return 0;
}

/* What was not read when a socket closes makes a reset of the close, which may take the answer away
 * from who has not read it yet. */
static int send_and_close(int in, int out, const char *text, struct err *err)
{
    char rest[4096];
    size_t got = 0;
    ssize_t n;
    uint64_t until = io_now_ms() + LINGER_MS;
    if (io_write_full(out, text, strlen(text)) < 0)
        return err_sys(err, errno, "answer");
    if (shutdown(out, SHUT_WR) < 0) /* no socket: a person's pipe */
        return 0;
    while (got < LINGER_MAX && wait_until(in, until) == 1 && (n = read(in, rest, sizeof rest)) > 0)
        got += (size_t)n;
    return 0;
}

static char *answer(const struct health_report *r, const struct health_request *q)
{
    const struct health_item *item = q->site[0] ? health_find(r, q->site) : NULL;
    int status = q->refused;
    if (!status && q->site[0] && !item && !r->error)
        status = 404;
    if (!status)
        status = (item ? item->health.up : health_is_up(r)) ? 200 : 503;
    char *json CLEANUP_FREE = status == 200 || status == 503
                                  ? health_json(r, item)
                                  : mem_format("{\"healthy\":false,\"error\":\"%s\"}\n",
                                        status == 404   ? "there is no such site on this host"
                                        : status == 405 ? "GET, HEAD or OPTIONS are answered"
                                                        : "this is no request that is understood");
    return health_http(status, json, !q->head);
}

int health_serve_http(const struct health_report *r, int in, int out, struct err *err)
{
    char *head CLEANUP_FREE = mem_alloc(HEALTH_REQUEST_MAX + 1);
    struct health_request q = {0};
    int status = read_head(in, head, err);
    if (status < 0)
        return -1;
    if (status)
        q.refused = status;
    else
        health_request_parse(head, &q);
    char *text CLEANUP_FREE = answer(r, &q);
    return send_and_close(in, out, text, err);
}

int health_serve_agent(const struct health_report *r, int in, int out, struct err *err)
{
    char *text CLEANUP_FREE = health_agent(r);
    return send_and_close(in, out, text, err);
}
