/* A session of two messages; see claim.h. What a claim means is secondary/site/fencing.c's and the
 * commands' that send it. */
#include "command/handover/claim.h"

#include <poll.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/far.h"
#include "command/words.h"
#include "tree/state/state.h"

enum { CONNECT_MS = 5000, ANSWER_MS = 15000, READ_SIZE = 16 * 1024 };

struct claim {
    struct conn *link;
    struct buf in;
    struct wire_writer out;
    size_t out_at;
    uint64_t until;
};

static int transmit(struct claim *a, struct err *err)
{
    while (a->out_at < a->out.len) {
        ssize_t n = conn_write(a->link, a->out.data + a->out_at, a->out.len - a->out_at, err);
        if (n == CONN_AGAIN)
            break;
        if (n < 0)
            return -1;
        a->out_at += (size_t)n;
    }
    return conn_flush(a->link, err) == -1 ? -1 : 0;
}

/* The next frame, left in the buffer: *len bytes of it. */
static int receive(struct claim *a, struct frame *f, size_t *len, struct err *err)
{
    for (;;) {
        int n = frame_next(buf_bytes(&a->in), buf_len(&a->in), f);
        if (n < 0)
            return err_set(err, ERR_FAILED, "what answers is not mirrord");
        *len = (size_t)n;
        if (n > 0)
            return 0;
        if (transmit(a, err) < 0)
            return -1;
        ssize_t got = conn_read(a->link, buf_room(&a->in, READ_SIZE), READ_SIZE, err);
        if (got == 0 || got == -1)
            return conn_explain(a->link, err);
        if (got > 0) {
            buf_fill(&a->in, (size_t)got);
            continue;
        }
        if (io_now_ms() > a->until)
            return err_set(err, ERR_TEMPORARY, "it does not answer in time");
        struct pollfd fds[2];
        poll(fds, (nfds_t)conn_poll(a->link, fds), 100);
    }
}

static int expect(struct claim *a, uint8_t type, struct frame *f, size_t *len, struct err *err)
{
    struct msg_error e;
    if (receive(a, f, len, err) < 0)
        return -1;
    if (f->type == type)
        return 0;
    if (f->type == MSG_ERROR && msg_get_error(f->payload, &e))
        return err_set(err, ERR_FAILED, "%s", QUOTED(e.text.data, e.text.len));
    return err_set(err, ERR_FAILED, "it answered with %s", msg_name(f->type));
}

static int greet(struct claim *a, const char *self, const char *state_dir, struct err *err)
{
    struct msg_hello m = {.magic = MSG_MAGIC,
        .oldest = MSG_VERSION_OLDEST,
        .newest = MSG_VERSION,
        .software = bytes_of("mirrord " MIRRORD_VERSION),
        .host = bytes_of(self)};
    struct frame f;
    size_t len = 0;
    io_random(&m.session, sizeof m.session);
    if (state_host_id(state_dir, &m.host_id, err) < 0)
        return -1;
    msg_put_hello(&a->out, &m);
    if (expect(a, MSG_HELLO, &f, &len, err) < 0)
        return -1;
    buf_drain(&a->in, len);
    return 0;
}

int claim_put(struct claim *a, const char *site, const struct epoch *e, bool take,
    struct epoch *now, struct err *err)
{
    struct msg_claim m = {.request = 1,
        .name = bytes_of(site),
        .epoch = e->counter,
        .epoch_id = e->id,
        .take = take,
        .primary = bytes_of(e->primary)};
    struct msg_claimed answer;
    struct frame f;
    size_t len = 0;
    a->until = io_now_ms() + ANSWER_MS;
    msg_put_claim(&a->out, &m);
    msg_put_bye(&a->out);
    if (expect(a, MSG_CLAIMED, &f, &len, err) < 0)
        return -1;
    if (!msg_get_claimed(f.payload, &answer))
        return err_set(err, ERR_FAILED, "a malformed answer");
    *now = (struct epoch){.counter = answer.epoch, .id = answer.epoch_id};
    log_name(now->primary, sizeof now->primary, answer.primary.data, answer.primary.len);
    if (answer.reason == REASON_NONE)
        return 0;
    err_set(err, ERR_REFUSED, "%s", QUOTED(answer.text.data, answer.text.len));
    return 1;
}

int claim_open(const struct config *c, const struct config_host *h, const char *state_dir,
    struct claim **out, struct err *err)
{
    struct peer_options peer;
    struct digest nobody = {0};
    char **argv = far_peer_options(c, h, &nobody, &peer, err);
    if (!argv)
        return -1;
    struct claim *a = mem_alloc(sizeof *a);
    a->until = io_now_ms() + ANSWER_MS;
    peer.link.timeout_ms = CONNECT_MS;
    int r = conn_open(&peer.link, &a->link, err);
    words_free(argv);
    if (r == 0)
        r = greet(a, c->self, state_dir, err);
    if (r < 0) {
        claim_close(a);
        return -1;
    }
    *out = a;
    return 0;
}

void claim_close(struct claim *a)
{
    if (!a)
        return;
    conn_close(a->link);
    buf_free(&a->in);
    wire_free(&a->out);
    free(a);
}
