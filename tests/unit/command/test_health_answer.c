/* health_answer and health_request: what a load balancer is told, over real sockets, and what of it
 * is believed that it asks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "command/health/health_report.h"

static struct health_item items[40];

/* "a" is level, "b" is behind and down, the others are orphaned. */
static struct health_report report(size_t count)
{
    static char names[40][8];
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%c%s", (char)('a' + i % 26), i < 26 ? "" : "2");
        items[i] = (struct health_item){.name = names[i],
            .health = {.up = true, .state = i ? HEALTH_IS_ORPHANED : HEALTH_IS_LEVEL}};
    }
    if (count > 1) {
        items[1].health = (struct health){.state = HEALTH_IS_BEHIND,
            .owed_paths = 3,
            .behind_ms = 400000,
            .primary = "web1",
            .why = "it lacks 3 paths\nso"};
    }
    return (struct health_report){.host = "web2", .items = items, .count = count};
}

static void expect_request(const char *head, int refused, bool is_head, const char *site)
{
    struct health_request q;
    health_request_parse(head, &q);
    if (q.refused != refused || q.head != is_head || strcmp(q.site, site) != 0)
        fail_msg("'%s': %d %d '%s'", head, q.refused, q.head, q.site);
}

static void test_requests(void **state)
{
    (void)state;
    expect_request("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, "");
    expect_request("OPTIONS / HTTP/1.0\r\n\r\n", 0, false, "");
    expect_request("OPTIONS * HTTP/1.1\n\n", 0, false, "");
    expect_request("HEAD /example.com HTTP/1.1\r\n\r\n", 0, true, "example.com");
    expect_request("GET /example.com/?a=b HTTP/1.1\r\n\r\n", 0, false, "example.com");
    expect_request("GET /?site HTTP/1.1\r\n\r\n", 0, false, "");
    expect_request("GET /%c3%BCber%2 HTTP/1.1\r\n\r\n", 0, false,
        "\xc3\xbc"
        "ber%2");
    expect_request("GET /%00 HTTP/1.1\r\n\r\n", 400, false, "");
    expect_request("POST / HTTP/1.1\r\n\r\n", 405, false, "");
    expect_request("get / HTTP/1.1\r\n\r\n", 400, false, "");
    expect_request("GET  / HTTP/1.1\r\n\r\n", 400, false, "");
    expect_request("GET /\r\n\r\n", 400, false, "");
    expect_request("GET example.com HTTP/1.1\r\n\r\n", 400, false, "");
    expect_request("GET", 400, false, "");
    expect_request("\r\n\r\n", 400, false, "");
    char *longer = mem_format("GET /%0*d HTTP/1.1\r\n\r\n", 300, 0);
    struct health_request q;
    health_request_parse(longer, &q);
    assert_int_equal(q.refused, 400);
    free(longer);
}

/* What comes back for these bytes, behind which nothing comes. */
static char *ask(
    const struct health_report *r, bool agent, const void *bytes, size_t n, int *result)
{
    int s[2];
    struct err err;
    char *got = mem_alloc(65536);
    size_t len = 0;
    ssize_t more;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    assert_int_equal(io_write_full(s[0], bytes, n), 0);
    shutdown(s[0], SHUT_WR);
    *result =
        agent ? health_serve_agent(r, s[1], s[1], &err) : health_serve_http(r, s[1], s[1], &err);
    close(s[1]);
    while ((more = read(s[0], got + len, 65535 - len)) > 0)
        len += (size_t)more;
    close(s[0]);
    return got;
}

static void expect_answer(
    const struct health_report *r, const char *request, const char *status, const char *words)
{
    int result;
    size_t length = 0;
    char *got = ask(r, false, request, strlen(request), &result);
    const char *body = strstr(got, "\r\n\r\n");
    assert_int_equal(result, 0);
    if (strncmp(got, status, strlen(status)) != 0 || !body || !strstr(got, words))
        fail_msg("%s: %s", request, got);
    assert_non_null(strstr(got, "Connection: close\r\n"));
    assert_int_equal(sscanf(strstr(got, "Content-Length: "), "Content-Length: %zu", &length), 1);
    body += 4;
    if (strncmp(request, "HEAD", 4) == 0)
        assert_string_equal(body, "");
    else
        assert_int_equal(strlen(body), length);
    assert_true(length > 0);
    struct json *j = *body ? json_parse(body, strlen(body)) : json_object();
    assert_non_null(j);
    json_free(j);
    free(got);
}

static void test_over_http(void **state)
{
    (void)state;
    struct health_report r = report(3), one = report(1), none = report(0);
    expect_answer(&r, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "it lacks 3 paths");
    expect_answer(&r, "GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\"state\":\"level\"");
    expect_answer(&r, "GET /b HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "\"behind_ms\":400000");
    expect_answer(&r, "HEAD /b HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "");
    expect_answer(&r, "OPTIONS /c HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\"orphaned\":1");
    expect_answer(&r, "GET /d HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "no such site");
    expect_answer(
        &r, "DELETE / HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ", "Allow: GET, HEAD, OPTIONS\r\n");
    expect_answer(&r, "hello\r\n\r\n", "HTTP/1.1 400 ", "");
    items[0].health.up = true;
    expect_answer(&one, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "\"host\":\"web2\"");
    expect_answer(&none, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "no site");
    none.error = (char *)"mirrord.conf:3: unknown key"; /* is no evidence */
    expect_answer(&none, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "unknown key");
    expect_answer(&none, "GET /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "unknown key");
}

static void test_bad_connections(void **state)
{
    (void)state;
    struct health_report r = report(1);
    int result;
    free(ask(&r, false, "GET / HTTP/1.1\r\n", 16, &result)); /* it was closed */
    assert_int_equal(result, -1);
    free(ask(&r, false, "", 0, &result));
    assert_int_equal(result, -1);
    char *much = mem_alloc(20000);
    memset(much, 'x', 20000);
    memcpy(much, "GET / HTTP/1.1\r\n", 16);
    char *got = ask(&r, false, much, 20000, &result);
    assert_int_equal(strncmp(got, "HTTP/1.1 431 ", 13), 0);
    free(got);
    memset(much, 0, 20000);
    got = ask(&r, false, much, 20000, &result);
    assert_int_equal(strncmp(got, "HTTP/1.1 431 ", 13), 0);
    free(got);
    free(much);
}

static void test_many_sites(void **state)
{
    (void)state;
    struct health_report r = report(40);
    char *text = health_json(&r, NULL);
    struct json *j = json_parse(text, strlen(text));
    assert_true(json_get_number(j, "count", 0) == 40);
    assert_true(json_get_number(j, "unhealthy", 0) == 1);
    assert_true(json_get_number(j, "orphaned", 0) == 38);
    assert_int_equal(json_count(json_get(j, "sites")), 1);
    json_free(j);
    free(text);
}

static void test_the_agent(void **state)
{
    (void)state;
    int result;
    struct health_report r = report(3), one = report(1), none = report(0);
    r = report(3);
    char *got = ask(&r, true, "", 0, &result);
    assert_string_equal(got, "down #b: behind: it lacks 3 paths so\n");
    free(got);
    items[2].health.up = false;
    got = ask(&r, true, "whatever was sent\n", 18, &result);
    assert_string_equal(got, "down #b: behind: it lacks 3 paths so (and 1 sites more)\n");
    free(got);
    got = ask(&one, true, "", 0, &result);
    assert_string_equal(got, "up\n");
    free(got);
    got = ask(&none, true, "", 0, &result);
    assert_int_equal(strncmp(got, "down #no site", 13), 0);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_over_http),
        cmocka_unit_test(test_bad_connections),
        cmocka_unit_test(test_many_sites),
        cmocka_unit_test(test_the_agent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
