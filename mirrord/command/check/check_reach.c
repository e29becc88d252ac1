/*
 * The part of `mirrord check` that tries the secondaries: it runs `mirrord --version` there. A
 * forced command starts the receiver instead, which ends when the stream does: reached as well.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/check/check_report.h"
#include "command/words.h"

enum { ANSWER_MAX = 4096 };

/* Reads the far end's words until it ends. 1 when it did, 0 when the time was over first. */
static int read_answer(struct conn *link, uint64_t deadline_ms, struct buf *answer, struct err *err)
{
    while (io_now_ms() < deadline_ms && buf_len(answer) < ANSWER_MAX) {
        ssize_t n = conn_read(link, buf_room(answer, ANSWER_MAX), ANSWER_MAX, err);
        if (n == 0)
            return 1;
        if (n > 0) {
            buf_fill(answer, (size_t)n);
            continue;
        }
        if (n != CONN_AGAIN || conn_flush(link, err) == -1)
            return -1;
        struct pollfd fds[2];
        int count = conn_poll(link, fds);
        poll(fds, (nfds_t)count, 100);
    }
    return 0;
}

static void print_reached(const struct config_host *h, struct conn *link, const struct buf *answer)
{
    const char *text = (const char *)buf_bytes(answer);
    size_t len = buf_len(answer);
    printf("host %s: reached over %s", h->name, conn_kind(link));
    if (len > 8 && memcmp(text, "mirrord ", 8) == 0) {
        const char *end = memchr(text, '\n', len);
        printf(", %s", QUOTED(text, end ? (size_t)(end - text) : len));
    }
    putchar('\n');
}

/* What the far end's silence means: a receiver behind a forced command ended well; else why not. */
static int judge_silence(struct conn *link, int ended, struct err *err)
{
    if (ended == 0)
        return err_set(err, ERR_TEMPORARY, "it does not answer in time");
    conn_explain(link, err); /* waits for the exit status, too */
    return ended > 0 && conn_exit_status(link) == 0 ? 0 : -1;
}

static int try_host(
    const struct config *c, const struct config_host *h, unsigned timeout_ms, struct err *err)
{
    char **words = words_append(words_split(h->remote_command), /* config_load saw to its quotes */
        (const char *const[]){"--version", NULL});
    const struct conn_options o = {.transport = h->transport,
        .host = h->address,
        .user = h->user,
        .port = h->port,
        .identity = h->identity ? h->identity : c->identity,
        .known_hosts = h->known_hosts ? h->known_hosts : c->known_hosts,
        .argv = words,
        .timeout_ms = timeout_ms};
    struct conn *link = NULL;
    int rc = conn_open(&o, &link, err);
    words_free(words);
    if (rc)
        return -1;
    struct buf answer = {0};
    conn_shutdown(link, NULL); /* a receiver behind a forced command ends then */
    int ended = read_answer(link, io_now_ms() + timeout_ms, &answer, err);
    if (buf_len(&answer) == 0)
        rc = judge_silence(link, ended, err);
    if (rc == 0)
        print_reached(h, link, &answer);
    buf_free(&answer);
    conn_close(link);
    return rc;
}

static bool is_secondary_of_ours(const struct config *c, const char *host)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (strcmp(c->sites[i].primary, c->self) == 0 && config_site_has_host(&c->sites[i], host))
            return true;
    return false;
}

void check_report_reach(struct check_report *r, unsigned timeout_ms)
{
    const struct config *c = r->config;
    for (size_t i = 0; c->self && i < c->host_count; i++) {
        const struct config_host *h = &c->hosts[i];
        struct err err;
        if (strcmp(h->name, c->self) == 0 || !is_secondary_of_ours(c, h->name))
            continue;
        fflush(stdout);
        if (try_host(c, h, timeout_ms, &err) == 0)
            continue;
        char *what CLEANUP_FREE = mem_format("host %s: %s", h->name, err.text);
        check_report_problem(r, h->file, h->line, what,
            "as it says; `mirrord pair` puts keys and host keys in their places");
    }
}
