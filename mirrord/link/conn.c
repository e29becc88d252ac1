/*
 * The one way to open and use a link: chooses the kind, and passes every call on to it. Knows which
 * kind can do what, nothing of any protocol.
 */
#include "link/conn.h"

#include <pthread.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/set.h"
#include "link/conn_impl.h"
#include "link/reason.h"
#include "link/target.h"

enum { DEFAULT_TIMEOUT_MS = 20000, SETTLE_MS = 1000 };

/* "Said once": what was said in this process, for all its connections. */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;
static struct set *said;

static bool first_time(const char *host, const char *why)
{
    char *key CLEANUP_FREE = mem_format("%s %s", host, why);
    pthread_mutex_lock(&said_lock);
    if (!said)
        said = set_new();
    struct set_item *item = set_add(said, key, strlen(key));
    bool first = !item->value;
    item->value = item;
    pthread_mutex_unlock(&said_lock);
    return first;
}

static int no_ssh(const char *why, struct err *err)
{
    return err_set(err, ERR_FAILED,
        "%s%sthere is no ssh program on this host: install the package openssh-client",
        why ? why : "", why ? "; this needs OpenSSH's client, but " : "");
}

static int open_openssh(const struct conn_options *o, const struct patience *p, const char *why,
    struct conn **out, struct err *err)
{
    if (patience_check(p, err))
        return -1;
    uint64_t now = io_now_ms();
    int rc = openssh_open(o, p->deadline > now ? (unsigned)(p->deadline - now) : 1, out, err);
    if (rc == CONN_NO_SSH)
        return no_ssh(why, err);
    if (rc == 0)
        (*out)->via_ssh = true;
    return rc;
}

static int open_auto(const struct conn_options *o, const struct target *t, const struct patience *p,
    struct conn **out, struct err *err)
{
    if (t->lacks) {
        char *why CLEANUP_FREE =
            mem_format("%s has %s in the ssh configuration", t->name, t->lacks);
        if (first_time(o->host, why))
            log_info("%s: using openssh, since the host has %s", o->host, t->lacks);
        return open_openssh(o, p, why, out, err);
    }
    int rc = ssh_open(t, o->argv, p, out, err);
    if (rc != CONN_NO_ALGORITHM)
        return rc;
    if (first_time(o->host, err->text))
        log_warn("%s: using openssh instead of libssh2: %s", o->host, err->text);
    char *why CLEANUP_FREE = mem_copy_string(err->text);
    return open_openssh(o, p, why, out, err);
}

static int open_libssh2(const struct conn_options *o, const struct target *t,
    const struct patience *p, struct conn **out, struct err *err)
{
    int rc = ssh_open(t, o->argv, p, out, err);
    if (rc != CONN_NO_ALGORITHM)
        return rc;
    char *why CLEANUP_FREE = mem_copy_string(err->text);
    return err_set(err, ERR_FAILED, "%s: try --transport openssh", why);
}

/* The kinds that need to know the target. */
static int open_target(
    const struct conn_options *o, const struct patience *p, struct conn **out, struct err *err)
{
    struct target t;
    if (target_resolve(o, p, &t, err))
        return -1;
    if (t.remark && first_time(o->host, t.remark))
        log_warn("%s: going on without the ssh configuration: ssh -G: %s", o->host, t.remark);
    int rc = o->transport == TRANSPORT_AUTO ? open_auto(o, &t, p, out, err)
                                            : open_libssh2(o, &t, p, out, err);
    target_free(&t);
    return rc;
}

static int check_options(const struct conn_options *o, struct err *err)
{
    if (!o->argv || !o->argv[0])
        return err_set(err, ERR_USAGE, "no command for the far end");
    if (o->transport == TRANSPORT_CHILD)
        return 0;
    if (!o->host || !*o->host || *o->host == '-')
        return err_set(err, ERR_USAGE, "'%s' is not a host name", o->host ? o->host : "");
    if (o->user && (!*o->user || *o->user == '-'))
        return err_set(err, ERR_USAGE, "'%s' is not a user name", o->user);
    if (o->port > 65535)
        return err_set(err, ERR_USAGE, "%u is not a port", o->port);
    return 0;
}

int conn_open(const struct conn_options *o, struct conn **out, struct err *err)
{
    struct err scratch = {0};
    err = err ? err : &scratch;
    if (check_options(o, err))
        return -1;
    struct patience p = patience_for(o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS, o->stop);
    struct conn *c = NULL;
    int rc = -1;
    switch (o->transport) {
    case TRANSPORT_CHILD: rc = child_open(o, &c, err); break;
    case TRANSPORT_OPENSSH: rc = open_openssh(o, &p, NULL, &c, err); break;
    case TRANSPORT_AUTO:
    case TRANSPORT_LIBSSH2: rc = open_target(o, &p, &c, err); break;
    }
    if (rc)
        return -1;
    c->host = o->transport == TRANSPORT_CHILD ? NULL : mem_copy_string(o->host);
    c->command = mem_copy_string(o->argv[0]);
    c->known_hosts = mem_copy_string(o->known_hosts);
    *out = c;
    return 0;
}

void conn_close(struct conn *c)
{
    if (!c)
        return;
    free(c->host);
    free(c->command);
    free(c->known_hosts);
    c->ops->close(c);
}

ssize_t conn_read(struct conn *c, void *p, size_t n, struct err *err)
{
    ssize_t got = c->ops->read(c, p, n, err);
    if (got > 0)
        c->received += (uint64_t)got;
    return got;
}

ssize_t conn_write(struct conn *c, const void *p, size_t n, struct err *err)
{
    ssize_t put = c->ops->write(c, p, n, err);
    if (put > 0)
        c->sent += (uint64_t)put;
    return put;
}

int conn_flush(struct conn *c, struct err *err)
{
    return c->ops->flush(c, err);
}

size_t conn_pending(const struct conn *c)
{
    return c->ops->pending(c);
}

int conn_poll(struct conn *c, struct pollfd fds[2])
{
    return c->ops->poll(c, fds);
}

int conn_shutdown(struct conn *c, struct err *err)
{
    return c->ops->shutdown(c, err);
}

const char *conn_stderr(struct conn *c)
{
    return c->ops->stderr_text(c);
}

int conn_exit_status(struct conn *c)
{
    return c->ops->exit_status(c);
}

int conn_explain(struct conn *c, struct err *err)
{
    c->ops->settle(c, SETTLE_MS);
    struct reason_end end = {.name = c->host,
        .command = c->command,
        .known_hosts = c->known_hosts,
        .via_ssh = c->via_ssh,
        .status = conn_exit_status(c),
        .text = conn_stderr(c)};
    return reason_ended(err, &end);
}

const char *conn_kind(const struct conn *c)
{
    return c->ops->kind(c);
}

void conn_counts(const struct conn *c, uint64_t *sent, uint64_t *received)
{
    if (sent)
        *sent = c->sent;
    if (received)
        *received = c->received;
}
