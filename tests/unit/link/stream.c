/* Stream helpers of the link tests; see stream.h. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stream.h"

enum { STALL_MS = 60000, CHUNK = 65536 + 17 };

/* A byte that depends on its place, with no period near a packet's size. */
static unsigned char pattern(uint64_t at)
{
    uint64_t x = at * 0x9e3779b97f4a7c15u;
    return (unsigned char)(x >> 56);
}

struct conn *stream_open(const struct conn_options *o)
{
    struct conn *c = NULL;
    struct err err = {0};
    if (conn_open(o, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

static void wait_ready(struct conn *c)
{
    struct pollfd fds[2];
    int n = conn_poll(c, fds);
    assert_in_range(n, 1, 2);
    assert_true(poll(fds, (nfds_t)n, STALL_MS) > 0);
}

/* True when something moved. */
static bool write_some(struct conn *c, uint64_t *at, uint64_t n, unsigned char *chunk)
{
    struct err err = {0};
    size_t want = n - *at < CHUNK ? (size_t)(n - *at) : CHUNK;
    for (size_t i = 0; i < want; i++)
        chunk[i] = pattern(*at + i);
    ssize_t put = want ? conn_write(c, chunk, want, &err) : CONN_AGAIN;
    if (put == -1)
        fail_msg("write: %s", err.text);
    if (put == CONN_AGAIN)
        return false;
    assert_in_range(put, 1, want);
    *at += (uint64_t)put;
    assert_true(conn_pending(c) < 512 * 1024);
    return true;
}

static bool read_some(struct conn *c, uint64_t *at, bool *ended, unsigned char *chunk)
{
    struct err err = {0};
    ssize_t got = *ended ? CONN_AGAIN : conn_read(c, chunk, CHUNK, &err);
    if (got == -1)
        fail_msg("read: %s", err.text);
    if (got == CONN_AGAIN)
        return false;
    *ended = got == 0;
    for (ssize_t i = 0; i < got; i++)
        if (chunk[i] != pattern(*at + (uint64_t)i))
            fail_msg("byte %llu differs", (unsigned long long)(*at + (uint64_t)i));
    *at += (uint64_t)got;
    return true;
}

void stream_echo(struct conn *c, uint64_t n)
{
    unsigned char *chunk = malloc(CHUNK);
    assert_non_null(chunk);
    struct err err = {0};
    uint64_t written = 0, got = 0;
    bool shut = false, ended = false;
    while (!ended) {
        bool moved = write_some(c, &written, n, chunk);
        moved |= read_some(c, &got, &ended, chunk);
        if (written == n && !shut) {
            assert_int_equal(conn_shutdown(c, &err), 0);
            shut = true;
        }
        if (conn_flush(c, &err) == -1)
            fail_msg("flush: %s", err.text);
        if (!moved && !ended)
            wait_ready(c);
    }
    assert_true(written == n);
    assert_true(got == n);
    uint64_t sent, received;
    conn_counts(c, &sent, &received);
    assert_true(sent == n && received == n);
    free(chunk);
}

int stream_read_all(struct conn *c, char *text, size_t size)
{
    struct err err = {0};
    size_t len = 0;
    for (;;) {
        ssize_t got = conn_read(c, text + len, size - 1 - len, &err);
        if (got == 0 || got == -1) {
            text[len] = 0;
            return (int)got;
        }
        if (got > 0)
            len += (size_t)got;
        else
            wait_ready(c);
        assert_int_not_equal(conn_flush(c, &err), -1);
    }
}
