/* Messages about the session itself: HELLO, ERROR, PING, BYE, RENEW; see session_impl.h. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "secondary/session/session_impl.h"
#include "secondary/site/replica.h"

enum { PONGS_MAX = 1024 }; /* that are put off */

static int answer_hello(
    struct session *s, const struct msg_hello *m, uint16_t version, struct err *err)
{
    const struct receive_options *o = s->tools.options;
    struct msg_hello answer = {
        .magic = MSG_MAGIC,
        .oldest = version,
        .newest = version,
        .session = m->session,
        .software = bytes_of("mirrord " MIRRORD_VERSION),
        .host = bytes_of(o->host),
    };
    s->tools.reason = REASON_IO;
    if (s->tools.self->failed) {
        *err = s->tools.self->err;
        return -1;
    }
    answer.host_id = s->tools.self->id;
    s->tools.version = version;
    s->tools.peer = m->host_id;
    s->tools.peer_host = (struct bytes){mem_copy_bytes(m->host.data, m->host.len), m->host.len};
    s->phase = AFTER_HELLO;
    msg_put_hello(&s->tools.out.writer, &answer);
    outbox_put(&s->tools.out);
    log_debug("session with %s", QUOTED(m->host.data, m->host.len));
    return 0;
}

int on_hello(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_hello m;
    if (!msg_get_hello(payload, &m) || m.magic != MSG_MAGIC)
        return UNREADABLE;
    uint16_t version = m.newest < MSG_VERSION ? m.newest : MSG_VERSION;
    if (version >= m.oldest && version >= MSG_VERSION_OLDEST)
        return answer_hello(s, &m, version, err);
    s->tools.reason = REASON_VERSION;
    return err_set(err, ERR_FAILED,
        "no common version of the protocol: this end (mirrord " MIRRORD_VERSION
        ") speaks %d to %d, the other end %u to %u: bring both to neighbouring releases",
        MSG_VERSION_OLDEST, MSG_VERSION, m.oldest, m.newest);
}

int on_error(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_error m;
    if (!msg_get_error(payload, &m))
        return UNREADABLE;
    s->phase = ENDED; /* nothing is answered to an ERROR */
    return err_set(err, ERR_FAILED, "the other end ended the session (%s): %s",
        msg_reason_name(m.reason), QUOTED(m.text.data, m.text.len));
}

void on_session_pong(struct session *s)
{
    if (s->tools.patching && s->phase != RENEWING &&
        buf_len(&s->pongs) < PONGS_MAX * sizeof(uint64_t))
        return;
    while (buf_len(&s->pongs)) {
        struct msg_ping m;
        memcpy(&m.token, buf_bytes(&s->pongs), sizeof m.token);
        buf_drain(&s->pongs, sizeof m.token);
        msg_put_pong(&s->tools.out.writer, &m);
        outbox_put(&s->tools.out);
    }
}

int on_ping(struct session *s, struct bytes payload, struct err *err)
{
    struct msg_ping m;
    (void)err;
    if (!msg_get_ping(payload, &m))
        return UNREADABLE;
    buf_append(&s->pongs, &m.token, sizeof m.token);
    on_session_pong(s);
    return 0;
}

int on_bye(struct session *s, struct bytes payload, struct err *err)
{
    (void)err;
    if (!msg_get_bye(payload))
        return UNREADABLE;
    s->phase = ENDED;
    return 0;
}

/* A dry run has nothing that another process could go on with. */
static void fail_dry_runs(struct session *s)
{
    struct err why;
    err_set(&why, ERR_TEMPORARY, "a dry run ends where the receiver is renewed: run it again");
    for (struct set_item *i = set_first(s->tools.replicas); i; i = i->next) {
        struct replica *r = i->value;
        if ((r->flags & OPEN_DRY_RUN) && r->state != REPLICA_FAILED)
            replica_fail(r, REASON_YIELD, &why);
    }
}

int on_renew(struct session *s, struct bytes payload, struct err *err)
{
    (void)err;
    if (!msg_get_renew(payload))
        return UNREADABLE;
    fail_dry_runs(s);
    s->phase = RENEWING;
    return 0;
}
