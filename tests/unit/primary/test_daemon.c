/* The daemon in a process of its own, asked over its socket. Its one secondary never answers; what
 * a secondary that does answer gets is the end-to-end tests' business. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ask.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "primary/daemon/daemon.h"

enum { PATIENCE_MS = 20000, SITES_MAX = 4 };

struct place {
    char top[64];
    char *state, *control;
    struct filter *filter;
    pid_t pid;
    int errors; /* the daemon's standard error */
    uint64_t hour_ms;
};

/* What the child runs: sites a and b of the place, and on a reload those whose roots are there. */
struct setup {
    struct place *p;
    struct daemon_site sites[SITES_MAX];
    struct daemon_plan plan;
    char *roots[SITES_MAX];
};

static const char *const names[SITES_MAX] = {"a", "b", "c", "d"};
static char *const far_command[] = {(char *)"/bin/false", NULL};
static const struct daemon_target target = {.peer = "web2"};
static const struct peer_options peer = {
    .name = "web2",
    .link = {.transport = TRANSPORT_CHILD, .argv = far_command},
    .host = "web1",
};

static void setup_plan(struct setup *s, struct place *p, bool if_there)
{
    s->p = p;
    s->plan = (struct daemon_plan){.state_dir = p->state,
        .control = p->control,
        .self = "web1",
        .hour_ms = p->hour_ms,
        .peers = &peer,
        .peer_count = 1,
        .sites = s->sites};
    for (int i = 0; i < SITES_MAX; i++) {
        struct daemon_site *d = &s->sites[s->plan.site_count];
        char *root = mem_format("%s/%s", p->top, names[i]);
        if (if_there ? access(root, F_OK) != 0 : i > 1) {
            free(root);
            continue;
        }
        s->roots[s->plan.site_count++] = root;
        *d = (struct daemon_site){
            .options = {.name = names[i], .root = root, .state_dir = p->state, .filter = p->filter},
            .targets = &target,
            .target_count = 1,
            .identity = (uint64_t)i,
        };
    }
}

static void setup_free(struct setup *s)
{
    for (size_t i = 0; i < s->plan.site_count; i++)
        free(s->roots[i]);
}

static void on_expand(void *ctx, struct daemon *d)
{
    (void)ctx;
    (void)d;
}

static int on_forget(void *ctx, struct daemon *d, const char *site, struct err *err)
{
    (void)ctx;
    (void)d;
    return err_set(err, ERR_FAILED, "%s", site);
}

static int on_reload(void *ctx, struct daemon *d, struct err *err)
{
    struct setup s = {0};
    struct place *p = ctx;
    char *broken CLEANUP_FREE = mem_format("%s/broken", p->top);
    if (access(broken, F_OK) == 0)
        return err_set(err, ERR_USAGE, "mirrord.conf:7: unknown key");
    setup_plan(&s, p, true);
    int applied = daemon_apply(d, &s.plan, err);
    setup_free(&s);
    return applied;
}

static int run(struct place *p)
{
    struct setup s = {0};
    struct daemon_hooks hooks = {
        .reload = on_reload, .expand = on_expand, .forget = on_forget, .ctx = p};
    struct daemon *d = NULL;
    struct err err = {0};
    setup_plan(&s, p, false);
    int done = daemon_new(&s.plan, &hooks, &d, &err);
    if (done == 0)
        done = daemon_apply(d, &s.plan, &err);
    setup_free(&s);
    if (done == 0)
        done = daemon_run(d, &err);
    daemon_free(d);
    if (done < 0)
        log_error("%s", err.text);
    return done < 0 ? (int)err.code : 0;
}

static void start(struct place *p)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        dup2(pipes[1], 2);
        close(pipes[0]);
        close(pipes[1]);
        int code = run(p);
        filter_free(p->filter);
        _exit(code);
    }
    close(pipes[1]);
    p->errors = pipes[0];
}

static struct place *place_new(void)
{
    struct place *p = mem_alloc(sizeof *p);
    snprintf(p->top, sizeof p->top, "%s/mirrord-daemon-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(p->top));
    p->state = mem_format("%s/state", p->top);
    p->control = mem_format("%s/control", p->top);
    p->filter = filter_new();
    char *a CLEANUP_FREE = mem_format("%s/a", p->top);
    assert_int_equal(mkdir(a, 0755), 0);
    return p;
}

/* Until its standard error has said so; what was said is appended to `said`. */
static void until_said(struct place *p, const char *words, struct buf *said)
{
    uint64_t end = io_now_ms() + PATIENCE_MS;
    while (buf_len(said) == 0 || !memmem(buf_bytes(said), buf_len(said), words, strlen(words))) {
        struct pollfd f = {.fd = p->errors, .events = POLLIN};
        if (io_now_ms() > end || poll(&f, 1, 1000) < 0)
            fail_msg("it never said \"%s\"", words);
        if (!f.revents)
            continue;
        ssize_t n = read(p->errors, buf_room(said, 4096), 4096);
        if (n <= 0)
            fail_msg("it ended without saying \"%s\" but: %.*s", words, (int)buf_len(said),
                (const char *)buf_bytes(said));
        buf_fill(said, (size_t)n);
    }
}

static void start_ready(struct place *p)
{
    struct buf said = {0};
    start(p);
    until_said(p, "mirrord: ready: 2 sites, 1 secondary\n", &said);
    buf_free(&said);
}

static int end_of(struct place *p)
{
    int status;
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status));
    close(p->errors);
    return WEXITSTATUS(status);
}

static void stop(struct place *p)
{
    uint64_t began = io_now_ms();
    kill(p->pid, SIGTERM);
    assert_int_equal(end_of(p), 0);
    assert_true(io_now_ms() - began < 10000);
    assert_int_not_equal(access(p->control, F_OK), 0);
}

static void place_free(struct place *p)
{
    char *command CLEANUP_FREE = mem_format("rm -rf %s", p->top);
    assert_int_equal(system(command), 0);
    filter_free(p->filter);
    free(p->state);
    free(p->control);
    free(p);
}

/* One request on a connection of its own. */
static struct json *ask(struct place *p, const char *request)
{
    char *line CLEANUP_FREE = ask_line(p->control, request);
    struct json *j = json_parse(line, strlen(line));
    assert_non_null(j);
    return j;
}

static const struct json *site_of(const struct json *status, const char *name)
{
    const struct json *sites = json_get(status, "sites");
    for (size_t i = 0; i < json_count(sites); i++)
        if (strcmp(json_get_text(json_at(sites, i), "name", ""), name) == 0)
            return json_at(sites, i);
    return NULL;
}

static void test_status(void **state)
{
    (void)state;
    struct place *p = place_new();
    char *file CLEANUP_FREE = mem_format("%s/a/f", p->top);
    int fd = open(file, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "12345", 5), 5);
    close(fd);
    start_ready(p); /* although b has no root and the secondary is down */
    struct json *j = ask(p, "{\"do\":\"status\"}");
    assert_string_equal(json_get_text(j, "host", ""), "web1");
    assert_true(json_get_bool(j, "ready", false));
    const struct json *web2 = json_at(json_get(j, "secondaries"), 0);
    assert_string_equal(json_get_text(web2, "name", ""), "web2");
    assert_string_not_equal(json_get_text(web2, "state", ""), "up");
    assert_true(strlen(json_get_text(web2, "error", "")) > 0);
    assert_int_equal((int)json_get_number(web2, "sites", 0), 2);
    assert_int_equal((int)json_get_number(web2, "sites_level", 9), 0);
    const struct json *a = site_of(j, "a"), *b = site_of(j, "b");
    assert_string_equal(json_get_text(a, "state", ""), "ok");
    assert_int_equal((int)json_get_number(a, "entries", 0), 1);
    assert_int_equal((int)json_get_number(a, "bytes", 0), 5);
    assert_true(json_get_number(a, "watches", 0) >= 1);
    assert_int_equal(json_count(json_get(a, "secondaries")), 1);
    assert_string_equal(json_get_text(b, "state", ""), "failed");
    assert_non_null(strstr(json_get_text(b, "error", ""), "/b"));
    json_free(j);
    stop(p);
    place_free(p);
}

static void test_flush(void **state)
{
    (void)state;
    struct place *p = place_new();
    start_ready(p);
    /* The secondary is away: named, and not waited for. */
    struct json *j = ask(p, "{\"do\":\"flush\",\"site\":\"a\",\"timeout_ms\":15000}");
    assert_true(json_get_bool(j, "level", false));
    const struct json *w = json_at(json_get(j, "waiting"), 0);
    assert_string_equal(json_get_text(w, "peer", ""), "web2");
    assert_string_equal(json_get_text(w, "site", ""), "a");
    assert_non_null(strstr(json_get_text(w, "why", ""), "down"));
    json_free(j);
    j = ask(
        p, "{\"do\":\"flush\",\"site\":\"a\",\"timeout_ms\":150,\"all\":true,\"paths\":[\"x\"]}");
    assert_false(json_get_bool(j, "level", true));
    assert_int_equal(json_count(json_get(j, "waiting")), 1);
    json_free(j);
    j = ask(p, "{\"do\":\"flush\",\"timeout_ms\":15000}"); /* all sites: b cannot be */
    assert_false(json_get_bool(j, "level", true));
    json_free(j);
    static const char *const wrong[] = {
        "{\"do\":\"flush\",\"site\":\"nosuch\"}",
        "{\"do\":\"flush\",\"site\":\"a\",\"paths\":[\"../x\"]}",
        "{\"do\":\"flush\",\"site\":\"a\",\"paths\":[7]}",
        "{\"do\":\"resync\",\"site\":\"a\",\"hosts\":[\"nosuch\"]}",
        "{\"do\":\"dance\"}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        j = ask(p, wrong[i]);
        assert_int_equal((int)json_get_number(j, "code", 0), ERR_USAGE);
        json_free(j);
    }
    j = ask(p, "{\"do\":\"resync\",\"site\":\"a\",\"hosts\":[\"web2\"]}");
    assert_true(json_get_bool(j, "started", false));
    json_free(j);
    j = ask(p, "{\"do\":\"ping\"}");
    assert_int_equal((int)json_get_number(j, "pid", 0), p->pid);
    json_free(j);
    stop(p);
    place_free(p);
}

static void test_second_daemon(void **state)
{
    (void)state;
    struct place *p = place_new(), second;
    struct buf said = {0};
    start_ready(p);
    second = *p;
    second.control = mem_format("%s/other", p->top);
    start(&second);
    char *pid CLEANUP_FREE = mem_format("pid %d", (int)p->pid);
    until_said(&second, pid, &said);
    assert_int_equal(end_of(&second), ERR_TEMPORARY);
    free(second.control);
    second.control = p->control; /* another state directory, the same socket */
    second.state = mem_format("%s/state2", p->top);
    start(&second);
    until_said(&second, p->control, &said);
    assert_int_equal(end_of(&second), ERR_TEMPORARY);
    free(second.state);
    buf_free(&said);
    struct json *j = ask(p, "{\"do\":\"ping\"}");
    json_free(j);
    /* Killed: lock and socket file do not stop the next one. */
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->errors);
    start_ready(p);
    stop(p);
    place_free(p);
}

static void until_state(struct place *p, const char *site, const char *wanted)
{
    uint64_t end = io_now_ms() + PATIENCE_MS;
    for (;;) {
        struct json *j = ask(p, "{\"do\":\"status\"}");
        const struct json *s = site_of(j, site);
        bool there = s ? wanted && strcmp(json_get_text(s, "state", ""), wanted) == 0 : !wanted;
        json_free(j);
        if (there)
            return;
        if (io_now_ms() > end)
            fail_msg("site %s never is %s", site, wanted ? wanted : "gone");
        usleep(5000);
    }
}

static void test_reload(void **state)
{
    (void)state;
    struct place *p = place_new();
    start_ready(p);
    char *a CLEANUP_FREE = mem_format("%s/a", p->top), *c CLEANUP_FREE = mem_format("%s/c", p->top);
    char *broken CLEANUP_FREE = mem_format("%s/broken", p->top);
    assert_int_equal(mkdir(c, 0755), 0);
    close(open(broken, O_WRONLY | O_CREAT, 0644));
    struct json *j = ask(p, "{\"do\":\"reload\"}");
    assert_non_null(strstr(json_get_text(j, "error", ""), "mirrord.conf:7"));
    json_free(j);
    until_state(p, "b", "failed"); /* the old plan stands */
    unlink(broken);
    j = ask(p, "{\"do\":\"reload\"}");
    assert_true(json_get_bool(j, "reloaded", false));
    json_free(j);
    until_state(p, "c", "ok");
    until_state(p, "b", NULL);
    until_state(p, "a", "ok");
    /* By signal: a leaves, and comes back while its last user may still hold it. */
    char *away CLEANUP_FREE = mem_format("%s/away", p->top);
    assert_int_equal(rename(a, away), 0);
    kill(p->pid, SIGHUP);
    until_state(p, "a", NULL);
    assert_int_equal(rename(away, a), 0);
    kill(p->pid, SIGHUP);
    until_state(p, "a", "ok");
    stop(p);
    place_free(p);
}

static void test_hourly_line(void **state)
{
    (void)state;
    struct place *p = place_new();
    struct buf said = {0};
    p->hour_ms = 20;
    log_set_level(LOG_LEVEL_INFO); /* the child's, too */
    start(p);
    log_set_level(LOG_LEVEL_WARNING);
    until_said(p, "the last hour: 0 changes acknowledged, 0.0 MB; 0 of 1 secondary connected; 0 of",
        &said);
    buf_free(&said);
    stop(p);
    place_free(p);
}

static void test_root_comes_later(void **state)
{
    (void)state;
    struct place *p = place_new();
    start_ready(p);
    char *b CLEANUP_FREE = mem_format("%s/b", p->top);
    assert_int_equal(mkdir(b, 0755), 0);
    until_state(p, "b", "ok");
    stop(p);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_second_daemon),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_hourly_line),
        cmocka_unit_test(test_root_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
