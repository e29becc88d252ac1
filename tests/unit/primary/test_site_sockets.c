/* The sites' own sockets, of a daemon that has only sites it is a secondary of: what they answer,
 * how often, whose they are, and how they come and go. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ask.h"
#include "base/io.h"
#include "base/mem.h"
#include "primary/daemon/daemon_impl.h"
#include "primary/daemon/site_names.h"

enum { SITES = 2 };

struct bench {
    char top[64];
    char *dir, *roots[SITES];
    struct daemon_idle idle[SITES];
    struct daemon_plan plan;
    struct daemon d;
};

static void apply(struct bench *b, size_t sites)
{
    b->plan.idle_count = sites;
    roles_apply(&b->d, &b->plan);
    site_sockets_apply(&b->d, &b->plan);
}

static struct bench *bench_new(void)
{
    static const char *const names[SITES] = {"one.example", "two.example"};
    struct bench *b = mem_alloc(sizeof *b);
    snprintf(b->top, sizeof b->top, "%s/mirrord-sockets-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(b->top));
    b->dir = mem_format("%s/run/sites", b->top);
    for (int i = 0; i < SITES; i++) {
        b->roots[i] = mem_format("%s/root%d", b->top, i);
        assert_int_equal(mkdir(b->roots[i], 0755), 0);
        b->idle[i] = (struct daemon_idle){.name = names[i], .root = b->roots[i], .primary = "web1"};
    }
    b->plan = (struct daemon_plan){.self = "web2", .site_sockets = b->dir, .idle = b->idle};
    b->d.self = (char *)"web2";
    TAILQ_INIT(&b->d.peers);
    TAILQ_INIT(&b->d.sites);
    TAILQ_INIT(&b->d.waits);
    return b;
}

static void bench_free(struct bench *b)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", b->top);
    site_sockets_free(&b->d);
    roles_free(&b->d);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < SITES; i++)
        free(b->roots[i]);
    free(b->dir);
    free(b);
}

struct question {
    char *path;
    const char *request;
    char *answer;
    atomic_bool done;
};

static void *put_question(void *arg)
{
    struct question *q = arg;
    q->answer = ask_line(q->path, q->request);
    q->done = true;
    return NULL;
}

/* Asked by another thread while this one serves. */
static struct json *ask(struct bench *b, const char *name, const char *request)
{
    struct question q = {.path = mem_format("%s/%s", b->dir, name), .request = request};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, put_question, &q), 0);
    while (!q.done) {
        struct pollfd p = {.fd = site_sockets_fd(&b->d), .events = POLLIN};
        unsigned wait = site_sockets_tick(&b->d);
        if (poll(&p, 1, wait < 10 ? (int)wait : 10) > 0)
            site_sockets_serve(&b->d);
    }
    pthread_join(thread, NULL);
    struct json *j = json_parse(q.answer, strlen(q.answer));
    assert_non_null(j);
    free(q.answer);
    free(q.path);
    return j;
}

static void expect_error(struct bench *b, const char *request, enum err_code code, const char *says)
{
    struct json *j = ask(b, "one.example", request);
    assert_int_equal((int)json_get_number(j, "code", 0), code);
    if (!strstr(json_get_text(j, "error", ""), says))
        fail_msg("%s: %s", request, json_get_text(j, "error", ""));
    json_free(j);
}

static void test_status_of_this_site_alone(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    apply(b, SITES);
    struct json *j = ask(b, "one.example", "{\"do\":\"status\",\"site\":\"two.example\"}");
    char *text CLEANUP_FREE = json_print(j, false);
    assert_string_equal(json_get_text(j, "site", ""), "one.example");
    assert_string_equal(json_get_text(j, "role", ""), "secondary");
    assert_string_equal(json_get_text(j, "primary", ""), "web1");
    assert_string_equal(json_get_text(j, "host", ""), "web2");
    assert_string_equal(json_get_text(j, "root", ""), b->roots[0]);
    assert_null(strstr(text, "two.example"));
    assert_null(strstr(text, b->roots[1]));
    json_free(j);
    /* The same by its root. */
    char *alias CLEANUP_FREE = site_socket_alias(b->roots[1]);
    j = ask(b, alias, "{\"do\":\"status\"}");
    assert_string_equal(json_get_text(j, "site", ""), "two.example");
    json_free(j);
    bench_free(b);
}

static void test_nothing_else(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    apply(b, SITES);
    static const char *const others[] = {"resync", "pause", "resume", "reload", "ping", "dance"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *request CLEANUP_FREE = mem_format("{\"do\":\"%s\"}", others[i]);
        expect_error(b, request, ERR_USAGE, "status and flush");
    }
    expect_error(b, "{\"do\":\"flush\",\"paths\":[\"a\"]}", ERR_REFUSED, "secondary of");
    expect_error(b, "dance", ERR_USAGE, "JSON");
    bench_free(b);
}

static void test_too_often(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    bool busy = false;
    char many[2048] = "{\"do\":\"flush\",\"paths\":[1"; /* paths have their price */
    for (int i = 1; i < 256; i++)
        strcat(many, ",1");
    strcat(many, "]}");
    apply(b, SITES);
    expect_error(b, many, ERR_REFUSED, "secondary");
    while (!busy) {
        struct json *j = ask(b, "one.example", many);
        busy = (int)json_get_number(j, "code", 0) == ERR_TEMPORARY;
        json_free(j);
    }
    /* The others do not notice. */
    struct json *j = ask(b, "two.example", "{\"do\":\"status\"}");
    assert_string_equal(json_get_text(j, "site", ""), "two.example");
    json_free(j);
    bench_free(b);
}

static void expect_owner(struct bench *b, const char *name, uid_t owner, mode_t mode)
{
    struct stat st;
    char *path CLEANUP_FREE = mem_format("%s/%s", b->dir, name);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_uid, owner);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void test_whose_they_are(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct bench *b = bench_new();
    assert_int_equal(chown(b->roots[0], 1, 33), 0);
    assert_int_equal(rmdir(b->roots[1]), 0);
    b->idle[1].socket_user = "daemon";
    mode_t before = umask(077);
    apply(b, SITES);
    umask(before);
    expect_owner(b, "", 0, 0711);
    expect_owner(b, "one.example", 1, 0600);
    expect_owner(b, "two.example", 1, 0600); /* that user's number, everywhere */
    assert_int_equal(chown(b->roots[0], 2, 33), 0);
    apply(b, SITES);
    expect_owner(b, "one.example", 2, 0600);
    b->idle[1].socket_user = NULL;
    apply(b, SITES);
    expect_owner(b, "two.example", 0, 0600); /* there is no root: nobody's yet */
    assert_int_equal(mkdir(b->roots[1], 0755) + chown(b->roots[1], 3, 3), 0);
    site_sockets_tick(&b->d);
    expect_owner(b, "two.example", 3, 0600);
    /* A user that is not there stops nothing. */
    b->idle[0].socket_user = "no such user";
    apply(b, SITES);
    expect_owner(b, "one.example", 0, 0600);
    bench_free(b);
}

static bool is_there(const struct bench *b, const char *name)
{
    struct stat st;
    char *path CLEANUP_FREE = mem_format("%s/%s", b->dir, name);
    return lstat(path, &st) == 0;
}

static void test_they_come_and_go(void **state)
{
    (void)state;
    struct bench *b = bench_new();
    char *alias CLEANUP_FREE = site_socket_alias(b->roots[1]);
    char *two CLEANUP_FREE = mem_format("%s/two.example", b->dir);
    char *one CLEANUP_FREE = mem_format("%s/one.example", b->dir);
    apply(b, 1);
    assert_true(is_there(b, "one.example"));
    assert_false(is_there(b, "two.example"));
    close(open(two, O_WRONLY | O_CREAT, 0644)); /* no socket: it is left alone */
    apply(b, 2);
    struct stat st;
    assert_int_equal(stat(two, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(unlink(two) + unlink(one), 0); /* and what somebody removed comes back */
    apply(b, 2);
    assert_true(is_there(b, "one.example") && is_there(b, "two.example") && is_there(b, alias));
    json_free(ask(b, "one.example", "{\"do\":\"status\"}"));
    apply(b, 1);
    assert_false(is_there(b, "two.example") || is_there(b, alias));
    b->plan.site_sockets = NULL;
    apply(b, 1);
    assert_int_not_equal(access(b->dir, F_OK), 0);
    assert_int_equal(site_sockets_fd(&b->d), -1);
    b->plan.site_sockets = b->dir;
    apply(b, 1);
    json_free(ask(b, "one.example", "{\"do\":\"status\"}"));
    bench_free(b);
}

/* Somebody else could put other sockets there; one that was there before stays as it was. */
static void test_a_directory_of_another_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct bench *b = bench_new();
    char *run CLEANUP_FREE = mem_format("%s/run", b->top);
    assert_int_equal(mkdir(run, 0755) + mkdir(b->dir, 0711) + chown(b->dir, 1, 1), 0);
    apply(b, SITES);
    assert_int_equal(site_sockets_fd(&b->d), -1);
    assert_false(is_there(b, "one.example"));
    assert_int_equal(chown(b->dir, 0, 0) + chmod(b->dir, 0775), 0);
    apply(b, SITES);
    assert_int_equal(site_sockets_fd(&b->d), -1);
    assert_int_equal(chmod(b->dir, 0755), 0);
    apply(b, SITES);
    assert_true(is_there(b, "one.example"));
    expect_owner(b, "", 0, 0755);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_of_this_site_alone),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_too_often),
        cmocka_unit_test(test_whose_they_are),
        cmocka_unit_test(test_they_come_and_go),
        cmocka_unit_test(test_a_directory_of_another_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
