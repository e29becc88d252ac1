/* The control socket against clients that are quick, slow, many, rude, or gone. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/control.h"

struct server {
    char top[64];
    char *path;
    const struct control_limits *limits;
    struct control *control;
    struct control_client *later; /* asked "later", not answered yet */
    unsigned requests, gone;
};

static void on_request(void *ctx, struct control_client *c, const struct json *request)
{
    struct server *s = ctx;
    const char *what = json_get_text(request, "do", "");
    struct json *reply = json_object();
    struct err err;
    s->requests++;
    json_set_text(reply, "echo", what);
    if (strcmp(what, "later") == 0) {
        s->later = c;
    } else if (strcmp(what, "fail") == 0) {
        err_set(&err, ERR_BEHIND, "no");
        control_fail(c, &err);
    } else if (strcmp(what, "much") == 0) {
        char *text CLEANUP_FREE = mem_alloc(1000001);
        memset(text, 'x', 1000000);
        json_set_text(reply, "text", text);
        control_reply(c, reply);
    } else {
        control_reply(c, reply);
    }
    json_free(reply);
}

static void on_gone(void *ctx, struct control_client *c)
{
    struct server *s = ctx;
    assert_ptr_equal(c, s->later);
    s->later = NULL;
    s->gone++;
}

static int open_at(struct server *s, const char *path, struct err *err)
{
    struct control_handler h = {on_request, on_gone, s};
    return control_open(path, s->limits, &h, &s->control, err);
}

static struct server *server_new(void)
{
    struct server *s = mem_alloc(sizeof *s);
    struct err err;
    snprintf(s->top, sizeof s->top, "%s/mirrord-control-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(s->top));
    s->path = mem_format("%s/run/mirrord/control", s->top);
    if (open_at(s, s->path, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

static void server_free(struct server *s)
{
    control_close(s->control);
    assert_int_not_equal(access(s->path, F_OK), 0);
    char *command CLEANUP_FREE = mem_format("rm -rf %s", s->top);
    assert_int_equal(system(command), 0);
    free(s->path);
    free(s);
}

static int client_of(struct server *s)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", s->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static void serve(struct server *s)
{
    struct pollfd p = {.fd = control_fd(s->control), .events = POLLIN};
    while (poll(&p, 1, 50) > 0)
        control_serve(s->control);
}

/* The next line that comes, while the server works. */
static struct json *hear(struct server *s, int fd)
{
    struct buf line = {0};
    struct json *j = NULL;
    uint64_t end = io_now_ms() + 10000;
    while (!j) {
        assert_true(io_now_ms() < end);
        control_serve(s->control);
        ssize_t n = recv(fd, buf_room(&line, 1), 1, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n < 0)
            continue;
        if (*(buf_bytes(&line) + buf_len(&line)) == '\n')
            j = json_parse((const char *)buf_bytes(&line), buf_len(&line));
        buf_fill(&line, 1);
    }
    buf_free(&line);
    return j;
}

static void expect_echo(struct server *s, int fd, const char *what)
{
    struct json *j = hear(s, fd);
    assert_non_null(j);
    assert_string_equal(json_get_text(j, "echo", ""), what);
    json_free(j);
}

static void expect_error(struct server *s, int fd, enum err_code code)
{
    struct json *j = hear(s, fd);
    assert_non_null(j);
    assert_true(strlen(json_get_text(j, "error", "")) > 0);
    assert_int_equal((int)json_get_number(j, "code", 0), code);
    json_free(j);
}

static void test_requests(void **state)
{
    (void)state;
    struct server *s = server_new();
    int fd = client_of(s);
    say(fd, "{\"do\":\"one\"}\n");
    expect_echo(s, fd, "one");
    say(fd, "{\"do\":\"two\"}\n{\"do\":\"three\"}\n{\"do\":\"fo");
    expect_echo(s, fd, "two");
    expect_echo(s, fd, "three");
    say(fd, "ur\"}\n");
    expect_echo(s, fd, "four");
    say(fd, "{\"do\":\"fail\"}\n");
    expect_error(s, fd, ERR_BEHIND);
    close(fd);
    server_free(s);
}

static void test_nonsense(void **state)
{
    (void)state;
    struct server *s = server_new();
    int fd = client_of(s);
    say(fd, "hello\n");
    expect_error(s, fd, ERR_USAGE);
    say(fd, "[1]\n{}\n");
    expect_error(s, fd, ERR_USAGE);
    expect_error(s, fd, ERR_USAGE);
    say(fd, "{\"do\":\"fine\"}\n");
    expect_echo(s, fd, "fine");
    close(fd);
    /* A line that does not end. */
    fd = client_of(s);
    char *piece CLEANUP_FREE = mem_alloc(CONTROL_REQUEST_MAX + 1);
    memset(piece, 'x', CONTROL_REQUEST_MAX);
    say(fd, piece);
    expect_error(s, fd, ERR_USAGE);
    assert_null(hear(s, fd)); /* and it is cut off */
    close(fd);
    assert_int_equal(s->requests, 1);
    server_free(s);
}

static void test_later(void **state)
{
    (void)state;
    struct server *s = server_new();
    int one = client_of(s), two = client_of(s);
    say(one, "{\"do\":\"later\"}\n{\"do\":\"next\"}\n");
    say(two, "{\"do\":\"now\"}\n");
    expect_echo(s, two, "now");
    serve(s);
    assert_non_null(s->later);
    assert_int_equal(s->requests, 2); /* one thing at a time */
    struct json *reply = json_object();
    json_set_text(reply, "echo", "done");
    control_reply(s->later, reply);
    json_free(reply);
    expect_echo(s, one, "done");
    expect_echo(s, one, "next");
    /* One that shuts its end down for writing still gets its answer, one that leaves is forgotten.
     */
    say(one, "{\"do\":\"later\"}\n");
    shutdown(one, SHUT_WR);
    serve(s);
    assert_non_null(s->later);
    assert_int_equal(s->gone, 0);
    close(one);
    serve(s);
    assert_null(s->later);
    assert_int_equal(s->gone, 1);
    say(two, "{\"do\":\"still\"}\n");
    expect_echo(s, two, "still");
    close(two);
    server_free(s);
}

static void test_slow_client(void **state)
{
    (void)state;
    struct server *s = server_new();
    int slow = client_of(s), quick = client_of(s);
    for (int i = 0; i < 20; i++)
        say(slow, "{\"do\":\"much\"}\n"); /* and does not read */
    serve(s);
    assert_true(s->requests < 20);
    say(quick, "{\"do\":\"quick\"}\n");
    expect_echo(s, quick, "quick");
    for (int i = 0; i < 20; i++) {
        struct json *j = NULL;
        char *line CLEANUP_FREE = mem_alloc(1100000);
        size_t len = 0;
        uint64_t end = io_now_ms() + 10000;
        while (len == 0 || line[len - 1] != '\n') {
            assert_true(io_now_ms() < end);
            control_serve(s->control);
            /* Never beyond the line: the next answer is made when this one has been read. */
            ssize_t n = recv(slow, line + len, 1100000 - len, MSG_DONTWAIT | MSG_PEEK);
            if (n <= 0)
                continue;
            char *newline = memchr(line + len, '\n', (size_t)n);
            size_t take = newline ? (size_t)(newline - line - len) + 1 : (size_t)n;
            assert_int_equal(recv(slow, line + len, take, 0), (ssize_t)take);
            len += take;
        }
        j = json_parse(line, len);
        assert_int_equal(strlen(json_get_text(j, "text", "")), 1000000);
        json_free(j);
    }
    close(slow);
    close(quick);
    server_free(s);
}

static void test_many_clients(void **state)
{
    (void)state;
    struct server *s = server_new();
    int fds[CONTROL_CLIENTS_MAX + 20];
    enum { COUNT = sizeof fds / sizeof *fds };
    for (int i = 0; i < COUNT; i++)
        fds[i] = client_of(s), serve(s);
    for (int i = 0; i < COUNT; i++) {
        say(fds[i], "{\"do\":\"hi\"}\n");
        expect_echo(s, fds[i], "hi");
        close(fds[i]);
    }
    server_free(s);
}

/* Where nobody has to wait in the kernel's queue: the answer comes at once, whatever was asked. */
static void test_turned_away(void **state)
{
    (void)state;
    static const struct control_limits two = {.clients = 2, .turns_away = true};
    struct server *s = server_new();
    struct err err;
    control_close(s->control);
    s->limits = &two;
    assert_int_equal(open_at(s, s->path, &err), 0);
    int one = client_of(s), other = client_of(s), third = client_of(s);
    say(third, "{\"do\":\"hi\"}\n");
    expect_error(s, third, ERR_TEMPORARY);
    assert_null(hear(s, third));
    close(third);
    say(one, "{\"do\":\"hi\"}\n");
    expect_echo(s, one, "hi");
    close(one);
    serve(s);
    third = client_of(s);
    say(third, "{\"do\":\"hi\"}\n");
    expect_echo(s, third, "hi");
    close(third);
    close(other);
    server_free(s);
}

/* Its owner, root, and whoever runs the daemon; not others, even where the mode lets them in. */
static void test_another_users(void **state)
{
    (void)state;
    struct server *s = server_new();
    struct stat st;
    struct err err;
    if (geteuid() != 0) {
        server_free(s);
        skip();
    }
    assert_int_equal(control_own(s->control, 1, 33, &err), 0);
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_uid, 1);
    assert_int_equal(st.st_gid, 33);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chmod(s->path, 0666), 0);
    char *run CLEANUP_FREE = mem_format("%s/run", s->top);
    assert_int_equal(chmod(s->top, 0755) + chmod(run, 0755), 0);
    for (uid_t user = 1; user <= 2; user++) {
        assert_int_equal(seteuid(user), 0);
        int fd = client_of(s);
        assert_int_equal(seteuid(0), 0);
        say(fd, "{\"do\":\"hi\"}\n");
        if (user == 1)
            expect_echo(s, fd, "hi");
        else
            expect_error(s, fd, ERR_REFUSED);
        close(fd);
    }
    int fd = client_of(s);
    say(fd, "{\"do\":\"root\"}\n");
    expect_echo(s, fd, "root");
    close(fd);
    assert_true(control_stands(s->control));
    assert_int_equal(unlink(s->path), 0);
    assert_false(control_stands(s->control));
    server_free(s);
}

static void test_socket_file(void **state)
{
    (void)state;
    struct server *s = server_new();
    struct server other = {0};
    struct stat st;
    struct err err;
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(open_at(&other, s->path, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_non_null(strstr(err.text, s->path));
    control_close(s->control);
    s->control = NULL;
    /* One that a killed daemon left. */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", s->path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof a), 0);
    close(dead);
    if (open_at(s, s->path, &err) < 0)
        fail_msg("%s", err.text);
    int fd = client_of(s);
    say(fd, "{\"do\":\"hi\"}\n");
    expect_echo(s, fd, "hi");
    close(fd);
    /* What is not a socket is not touched. */
    char *file CLEANUP_FREE = mem_format("%s/file", s->top);
    close(open(file, O_WRONLY | O_CREAT, 0644));
    assert_int_equal(open_at(&other, file, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    /* The socket of a successor stays. */
    unlink(s->path);
    if (open_at(&other, s->path, &err) < 0)
        fail_msg("%s", err.text);
    control_close(s->control);
    assert_int_equal(access(s->path, F_OK), 0);
    s->control = other.control;
    server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_turned_away),
        cmocka_unit_test(test_another_users),
        cmocka_unit_test(test_socket_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
