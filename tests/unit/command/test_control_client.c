/* control_client, status, flush and reload against a daemon that is played by a thread. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/control_client.h"

struct fake {
    char dir[64], path[96];
    int listener;
    pthread_t thread;
    const char *const *answers; /* one a connection; NULL ends the list */
    bool dribble;               /* a byte at a time */
    char *asked[8];
    size_t asked_count;
};

static int make_fake(void **state)
{
    struct fake *f = mem_alloc(sizeof *f);
    strcpy(f->dir, "/dev/shm/mirrord-control-XXXXXX");
    if (!mkdtemp(f->dir)) {
        strcpy(f->dir, "/tmp/mirrord-control-XXXXXX");
        if (!mkdtemp(f->dir))
            return -1;
    }
    snprintf(f->path, sizeof f->path, "%s/control", f->dir);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(f->listener, (struct sockaddr *)&address, sizeof address) || listen(f->listener, 8))
        return -1;
    *state = f;
    return 0;
}

static int remove_fake(void **state)
{
    struct fake *f = *state;
    for (size_t i = 0; i < f->asked_count; i++)
        free(f->asked[i]);
    close(f->listener);
    unlink(f->path);
    int rc = rmdir(f->dir);
    free(f);
    return rc;
}

static void answer_one(struct fake *f, const char *answer)
{
    int fd = accept(f->listener, NULL, NULL);
    char line[4096];
    size_t n = 0;
    while (n < sizeof line - 1 && (n == 0 || line[n - 1] != '\n')) {
        ssize_t got = read(fd, line + n, 1);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    line[n] = '\0';
    f->asked[f->asked_count++] = mem_copy_string(line);
    for (size_t i = 0, step = f->dribble ? 1 : strlen(answer); i < strlen(answer); i += step)
        if (io_write_full(fd, answer + i, step))
            break;
    close(fd);
}

static void *play(void *p)
{
    struct fake *f = p;
    for (const char *const *a = f->answers; *a; a++)
        answer_one(f, *a);
    return NULL;
}

static void start(struct fake *f, const char *const *answers)
{
    f->answers = answers;
    assert_int_equal(pthread_create(&f->thread, NULL, play, f), 0);
}

static int ask(struct fake *f, const char *answer, struct json **reply, struct err *err)
{
    const char *const answers[] = {answer, NULL};
    struct json *request = json_object();
    json_set_text(request, "do", "ping");
    *err = (struct err){0};
    start(f, answers);
    int rc = control_client_ask(f->path, request, 10000, reply, err);
    pthread_join(f->thread, NULL);
    json_free(request);
    return rc;
}

static void test_answers(void **state)
{
    struct fake *f = *state;
    struct json *reply = NULL;
    struct err err;
    assert_int_equal(ask(f, "{\"ok\":true}\n", &reply, &err), 0);
    assert_true(json_get_bool(reply, "ok", false));
    json_free(reply);
    assert_string_equal(f->asked[0], "{\"do\":\"ping\"}\n");
    f->dribble = true;
    assert_int_equal(
        ask(f, "{\"n\": 12}", &reply, &err), 0); /* the end of the stream ends it too */
    assert_true(json_get_number(reply, "n", 0) == 12);
    json_free(reply);
}

static void test_errors(void **state)
{
    struct fake *f = *state;
    struct json *reply = NULL;
    struct err err;
    assert_int_equal(ask(f, "{\"error\":\"conf:3: no\",\"code\":2}\n", &reply, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_string_equal(err.text, "conf:3: no");
    assert_int_equal(ask(f, "{\"error\":\"x\",\"code\":99}\n", &reply, &err), -1);
    assert_int_equal(err.code, ERR_FAILED);
    assert_int_equal(ask(f, "hello\n", &reply, &err), -1);
    assert_non_null(strstr(err.text, "no JSON"));
    assert_int_equal(ask(f, "", &reply, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_null(reply);
}

static void test_no_daemon(void **state)
{
    struct fake *f = *state;
    struct json *request = json_object(), *reply = NULL;
    struct err err;
    char *missing = mem_format("%s/none", f->dir);
    assert_int_equal(control_client_ask(missing, request, 1000, &reply, &err), -1);
    assert_int_equal(err.code, ERR_FAILED);
    assert_non_null(strstr(err.text, "no daemon answers at "));
    close(f->listener); /* a stale socket file */
    f->listener = -1;
    assert_int_equal(control_client_ask(f->path, request, 1000, &reply, &err), -1);
    assert_non_null(strstr(err.text, "no daemon answers at "));
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(control_client_ask(longer, request, 1000, &reply, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    free(missing);
    json_free(request);
}

/* Nobody accepts: the answer never comes. */
static void test_timeout(void **state)
{
    struct fake *f = *state;
    struct json *request = json_object(), *reply = NULL;
    struct err err;
    assert_int_equal(control_client_ask(f->path, request, 50, &reply, &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    json_free(request);
}

/* Runs a command with "--control PATH" behind its name; what it prints goes to `out`. */
static int run(struct fake *f, int (*command)(int, char **), const char *const *answers,
    const char *const *words, char **out)
{
    char *argv[16] = {(char *)words[0], (char *)"--control", f->path};
    int argc = 3;
    for (const char *const *w = words + 1; *w; w++)
        argv[argc++] = (char *)*w;
    start(f, answers);
    fflush(stdout);
    FILE *file = tmpfile();
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    int code = command(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    pthread_join(f->thread, NULL);
    struct stat st;
    fstat(fileno(file), &st);
    *out = mem_alloc((size_t)st.st_size + 1);
    assert_int_equal(io_pread_full(fileno(file), *out, (size_t)st.st_size, 0), st.st_size);
    fclose(file);
    return code;
}

#define LEVEL                                                                                      \
    "{\"host\":\"web1\",\"version\":\"1\",\"ready\":true,\"secondaries\":[],\"sites\":[{\"name\":" \
    "\"s\",\"state\":\"ok\",\"secondaries\":[{\"name\":\"web2\",\"state\":\"level\"}]}]}\n"
#define BEHIND                                                                                     \
    "{\"host\":\"web1\",\"version\":\"1\",\"ready\":true,\"secondaries\":[],\"sites\":[{\"name\":" \
    "\"s\",\"state\":\"ok\",\"secondaries\":[{\"name\":\"web2\",\"state\":\"pushing\"}]}]}\n"

static void test_status(void **state)
{
    struct fake *f = *state;
    char *out;
    assert_int_equal(run(f, command_status, (const char *const[]){LEVEL, NULL},
                         (const char *const[]){"status", NULL}, &out),
        0);
    assert_non_null(strstr(out, "web1: mirrord 1, ready, 1 site to push, all level"));
    free(out);
    assert_int_equal(run(f, command_status, (const char *const[]){BEHIND, NULL},
                         (const char *const[]){"status", "--json", NULL}, &out),
        ERR_BEHIND);
    struct json *j = json_parse(out, strlen(out));
    assert_string_equal(json_get_text(j, "host", ""), "web1");
    json_free(j);
    free(out);
    assert_int_equal(run(f, command_status, (const char *const[]){BEHIND, BEHIND, LEVEL, NULL},
                         (const char *const[]){"status", "--wait", "60", NULL}, &out),
        0);
    assert_int_equal(f->asked_count, 5);
    free(out);
}

static void test_flush(void **state)
{
    struct fake *f = *state;
    char *out;
    assert_int_equal(
        run(f, command_flush, (const char *const[]){"{\"level\":true,\"waiting\":[]}\n", NULL},
            (const char *const[]){"flush", "--all", "shop", "a/b.jpg", NULL}, &out),
        0);
    assert_string_equal(out, "");
    free(out);
    struct json *asked = json_parse(f->asked[0], strlen(f->asked[0]));
    assert_string_equal(json_get_text(asked, "do", ""), "flush");
    assert_string_equal(json_get_text(asked, "site", ""), "shop");
    assert_string_equal(json_text_at(json_get(asked, "paths"), 0), "a/b.jpg");
    assert_true(json_get_number(asked, "timeout_ms", 0) == 60000);
    assert_true(json_get_bool(asked, "all", false));
    json_free(asked);
    assert_int_equal(
        run(f, command_flush,
            (const char *const[]){"{\"level\":false,\"waiting\":[{\"peer\":\"web3\",\"site\":"
                                  "\"shop\",\"path\":\"x\",\"why\":\"down\"}]}\n",
                NULL},
            (const char *const[]){"flush", "-t", "1", NULL}, &out),
        ERR_BEHIND);
    assert_string_equal(out, "web3: shop: x: down\n");
    free(out);
    asked = json_parse(f->asked[1], strlen(f->asked[1]));
    assert_null(json_get(asked, "site"));
    json_free(asked);
}

static void test_flush_of_odd_paths(void **state)
{
    struct fake *f = *state;
    char *out;
    const char *const none[] = {NULL};
    assert_int_equal(
        run(f, command_flush, none, (const char *const[]){"flush", "shop", "caf\xe9", NULL}, &out),
        ERR_USAGE);
    free(out);
    char *config = mem_format("%s/conf", f->dir);
    FILE *file = fopen(config, "w");
    fprintf(file, "host web1 {}\nsite s { root = \"%s\" hosts = {web1} primary = web1 }\n", f->dir);
    fclose(file);
    char *elsewhere[] = {(char *)"flush", (char *)"-c", config, (char *)"/nowhere/x", NULL};
    assert_int_equal(command_flush(4, elsewhere), ERR_USAGE);
    unlink(config);
    free(config);
}

static void test_reload(void **state)
{
    struct fake *f = *state;
    char *out;
    assert_int_equal(run(f, command_reload, (const char *const[]){"{\"ok\":true}\n", NULL},
                         (const char *const[]){"reload", NULL}, &out),
        0);
    assert_string_equal(out, "reloaded\n");
    free(out);
    assert_int_equal(run(f, command_reload,
                         (const char *const[]){"{\"error\":\"conf:1: bad\",\"code\":2}\n", NULL},
                         (const char *const[]){"reload", NULL}, &out),
        ERR_USAGE);
    assert_string_equal(out, "");
    free(out);
}

#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, make_fake, remove_fake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_answers),
        WITH_FAKE(test_errors),
        WITH_FAKE(test_no_daemon),
        WITH_FAKE(test_timeout),
        WITH_FAKE(test_status),
        WITH_FAKE(test_flush),
        WITH_FAKE(test_flush_of_odd_paths),
        WITH_FAKE(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
